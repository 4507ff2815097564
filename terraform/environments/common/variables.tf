# What an operator gives: in a file terraform.tfvars of the environment, or as TF_VAR_project and so on.

variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Where everything is; near the archive of meteorology, if it is a bucket."
  type        = string
  default     = "us-central1"
}

variable "max_cores" {
  description = "Most cores of runs in progress, and so the most a scene can cost an hour; by default the environment's."
  type        = number
  default     = null
}

variable "spot_family" {
  description = "Machines of the spot pools, without their number of cores; n2d-standard has four times the memory."
  type        = string
  default     = "n2d-highcpu"
}

variable "database_password" {
  description = "Made up by terraform/apply, and used when database_password_version is raised."
  type        = string
  default     = null
  sensitive   = true
}

variable "database_password_version" {
  description = "Raise it to rotate the password."
  type        = number
  default     = 1
}

variable "ingress" {
  description = "Whether the UI is reached through a load balancer with Identity-Aware Proxy."
  type        = bool
  default     = false
}

variable "retrieval_buckets" {
  description = "Buckets granules land in."
  type        = list(string)
  default     = []
}

variable "run_buckets" {
  description = "Buckets runs read: archives of meteorology, fields of background."
  type        = list(string)
  default     = []
}

variable "operators" {
  description = "Members who register scenes and read results, such as group:stilt@example.org."
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
  description = "In the account's currency; by default the environment's."
  type        = number
  default     = null
}
