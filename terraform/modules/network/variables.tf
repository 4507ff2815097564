variable "name" {
  description = "Of everything here."
  type        = string
}

variable "region" {
  description = "Where nodes are."
  type        = string
}

variable "ranges" {
  description = "CIDRs of nodes, pods and services. A node takes 64 addresses of the pods' (32 pods and as many to spare)."
  type        = object({ nodes = string, pods = string, services = string })
  default     = { nodes = "10.10.0.0/22", pods = "10.64.0.0/16", services = "10.10.16.0/22" }
}

variable "flow_logs" {
  description = "Whether a tenth of the flows are logged, to be looked at after an incident."
  type        = bool
}

variable "labels" {
  description = "Labels of what takes them."
  type        = map(string)
}
