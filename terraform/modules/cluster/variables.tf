variable "project" {
  description = "Project id."
  type        = string
}

variable "name" {
  description = "Of the cluster."
  type        = string
}

variable "location" {
  description = "A zone, or a region for a control plane and core nodes in three zones."
  type        = string
}

variable "network" {
  description = "The network."
  type        = string
}

variable "subnetwork" {
  description = "The subnetwork of nodes, with secondary ranges pods and services."
  type        = string
}

variable "core" {
  description = "The core pool: machine, disk (a pod that cuts 24 h of HRRR asks for 46 GiB, and GKE lends less than half of a disk), nodes in all."
  type        = object({ machine_type = string, disk_gb = number, min = number, max = number })
}

variable "spot_family" {
  description = "Machines of the spot pools, without their number of cores; x86-64, as hycs_std is."
  type        = string
  validation {
    condition     = !can(regex("^(t2a|c4a|n4a|a4x)", var.spot_family))
    error_message = "spot_family: hycs_std runs on x86-64, and this family is ARM: choose another, such as n2d-highcpu."
  }
}

variable "max_cores" {
  description = "Most cores of the spot pools, and so of runs in progress."
  type        = number
  validation {
    condition     = var.max_cores >= 8 && var.max_cores <= 500 && floor(var.max_cores) == var.max_cores
    error_message = "max_cores: a whole number from 8 (one small machine) to 500."
  }
}

variable "ingress" {
  description = "Whether the UI is to be reached through a load balancer with Identity-Aware Proxy."
  type        = bool
}

variable "protected" {
  description = "Whether Terraform refuses to delete it."
  type        = bool
}

variable "labels" {
  description = "Labels of what takes them."
  type        = map(string)
}
