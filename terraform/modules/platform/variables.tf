variable "project" {
  description = "Project id."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: a project id, such as my-project-123, and not its name or number."
  }
}

variable "environment" {
  description = "dev or prod; part of every name."
  type        = string
}

variable "region" {
  description = "Where everything is."
  type        = string
}

variable "location" {
  description = "The cluster's: a zone of the region, or the region."
  type        = string
}

variable "core" {
  description = "The core pool."
  type        = object({ machine_type = string, disk_gb = number, min = number, max = number })
}

variable "max_cores" {
  description = "Most cores of runs in progress: of the spot pools, of the queue, of the namespace's quota."
  type        = number
}

variable "spot_family" {
  description = "Machines of the spot pools, without their number of cores."
  type        = string
}

variable "database" {
  description = "The database's size and backups."
  type = object({
    tier                   = string
    max_connections        = number
    point_in_time_recovery = bool
    retained_backups       = number
  })
}

variable "database_password" {
  description = "Written only where database_password_version is raised; terraform/apply makes one up each time."
  type        = string
  default     = null
  sensitive   = true
  validation {
    condition     = var.database_password == null || try(length(var.database_password) >= 24, false)
    error_message = "database_password: at least 24 characters."
  }
}

variable "database_password_version" {
  description = "Raise it to rotate the password."
  type        = number
}

variable "ingress" {
  description = "Whether the UI is reached through a load balancer with Identity-Aware Proxy."
  type        = bool
}

variable "protected" {
  description = "Whether cluster and database refuse to be deleted."
  type        = bool
}

variable "flow_logs" {
  description = "Whether a tenth of the network's flows are logged."
  type        = bool
}

variable "retrieval_buckets" {
  description = "Buckets granules land in; who owns them must let this project grant it, or grant it themselves."
  type        = list(string)
  default     = []
}

variable "run_buckets" {
  description = "Buckets runs read: archives of meteorology, fields of background."
  type        = list(string)
  default     = []
}

variable "operators" {
  description = "Members who register scenes and read results."
  type        = list(string)
  default     = []
}

variable "github_repository" {
  description = "owner/name of the repository whose workflows plan and deploy; empty: none."
  type        = string
  default     = ""
}

variable "alert_emails" {
  description = "Who is told of the bill and of stuck scenes."
  type        = list(string)
  default     = []
}

variable "billing_account" {
  description = "The account that pays; empty: no budget."
  type        = string
  default     = ""
}

variable "monthly_budget" {
  description = "In the account's currency."
  type        = number
}
