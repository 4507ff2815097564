variable "name" {
  description = "Of the instance."
  type        = string
}

variable "region" {
  description = "Where it is."
  type        = string
}

variable "network" {
  description = "The network it has its address in."
  type        = string
}

variable "tier" {
  description = "Machine."
  type        = string
}

variable "max_connections" {
  description = "Connections: two a run, and 40 for webserver, daemon and code server; 10 MB each."
  type        = number
}

variable "point_in_time_recovery" {
  description = "Whether it can be restored to any moment of the last week, and not to last night only."
  type        = bool
}

variable "retained_backups" {
  description = "Nightly backups that are kept."
  type        = number
}

variable "password" {
  description = "Of the user dagster."
  type        = string
  sensitive   = true
}

variable "password_version" {
  description = "Raise it to write the password given."
  type        = number
}

variable "secret_reader" {
  description = "Who may read the password."
  type        = string
}

variable "protected" {
  description = "Whether Terraform, and the API, refuse to delete it."
  type        = bool
}

variable "labels" {
  description = "Labels of what takes them."
  type        = map(string)
}
