variable "project" {
  description = "Project id."
  type        = string
}

variable "project_number" {
  description = "Its number, which identities are named by."
  type        = string
}

variable "workload_pool" {
  description = "The cluster's pool of identities; a right of one of its accounts cannot be given before there is a cluster."
  type        = string
}

variable "name" {
  description = "Of the platform, with its environment."
  type        = string
}

variable "environment" {
  description = "dev or prod."
  type        = string
}

variable "region" {
  description = "Of the registry."
  type        = string
}

variable "bucket" {
  description = "The bucket of store and logs."
  type        = string
}

variable "state_bucket" {
  description = "The bucket of Terraform's state."
  type        = string
}

variable "registry" {
  description = "The repository of images."
  type        = string
}

variable "retrieval_buckets" {
  description = "Buckets granules land in."
  type        = list(string)
}

variable "run_buckets" {
  description = "Buckets runs read: archives of meteorology, fields of background."
  type        = list(string)
}

variable "operators" {
  description = "People, as user:, group: or domain members, who register scenes and read results."
  type        = list(string)
  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(user|group|serviceAccount|domain):", member))])
    error_message = "operators: members such as group:name@example.org; never allUsers."
  }
}

variable "github_repository" {
  description = "owner/name of the repository whose workflows plan and deploy; empty: none."
  type        = string
  validation {
    condition     = can(regex("^$|^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.github_repository))
    error_message = "github_repository: owner/name."
  }
}
