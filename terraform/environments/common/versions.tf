terraform {
  required_version = ">= 1.11"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "8.7.0"
    }
  }
  # One object of a versioned bucket of the environment's own, which terraform/apply makes; writes to it are locked.
  backend "gcs" {
    prefix = "platform"
  }
}

provider "google" {
  project               = var.project
  region                = var.region
  user_project_override = true
  billing_project       = var.project
}
