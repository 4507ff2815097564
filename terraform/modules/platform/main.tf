# All of one environment. What dev and prod have otherwise is in environments/.

# Of an empty project: what Terraform asks about the project, and about each service, goes through this one.
resource "google_project_service" "first" {
  project            = var.project
  service            = "cloudresourcemanager.googleapis.com"
  disable_on_destroy = false
}

data "google_project" "this" {
  project_id = var.project
  depends_on = [google_project_service.first]
}

locals {
  name   = "stilt-${var.environment}"
  labels = { app = "stilt", environment = var.environment, managed-by = "terraform" }
}

resource "google_project_service" "this" {
  for_each = toset([
    "artifactregistry", "billingbudgets", "compute", "container", "iam", "iamcredentials",
    "logging", "monitoring", "secretmanager", "servicenetworking", "sqladmin", "storage", "sts",
  ])
  project            = var.project
  service            = "${each.value}.googleapis.com"
  disable_on_destroy = false # something else may use it
  depends_on         = [google_project_service.first]
}

module "network" {
  source     = "../network"
  name       = local.name
  region     = var.region
  flow_logs  = var.flow_logs
  labels     = local.labels
  depends_on = [google_project_service.this]
}

module "cluster" {
  source      = "../cluster"
  project     = var.project
  name        = local.name
  location    = var.location
  network     = module.network.network
  subnetwork  = module.network.subnetwork
  core        = var.core
  max_cores   = var.max_cores
  spot_family = var.spot_family
  ingress     = var.ingress
  protected   = var.protected
  labels      = local.labels
  depends_on  = [google_project_service.this]
}

module "database" {
  source                 = "../database"
  name                   = local.name
  region                 = var.region
  network                = module.network.network
  tier                   = var.database.tier
  max_connections        = var.database.max_connections
  point_in_time_recovery = var.database.point_in_time_recovery
  retained_backups       = var.database.retained_backups
  password               = var.database_password
  password_version       = var.database_password_version
  secret_reader          = module.identity.secret_reader
  protected              = var.protected
  labels                 = local.labels
  depends_on             = [google_project_service.this]
}

module "storage" {
  source     = "../storage"
  name       = "${var.project}-${local.name}"
  region     = var.region
  labels     = local.labels
  depends_on = [google_project_service.this]
}

module "registry" {
  source     = "../registry"
  name       = local.name
  region     = var.region
  reader     = module.cluster.node_member
  labels     = local.labels
  depends_on = [google_project_service.this]
}

module "identity" {
  source            = "../identity"
  project           = var.project
  project_number    = data.google_project.this.number
  workload_pool     = module.cluster.workload_pool
  name              = local.name
  environment       = var.environment
  region            = var.region
  bucket            = module.storage.bucket
  state_bucket      = "${var.project}-${local.name}-state"
  registry          = module.registry.repository
  retrieval_buckets = var.retrieval_buckets
  run_buckets       = var.run_buckets
  operators         = var.operators
  github_repository = var.github_repository
  depends_on        = [google_project_service.this]
}

module "alerts" {
  source          = "../alerts"
  name            = local.name
  project_number  = data.google_project.this.number
  emails          = var.alert_emails
  billing_account = var.billing_account
  monthly_budget  = var.monthly_budget
  depends_on      = [google_project_service.this]
}

# The UI's address, for the name its certificate is made for.
resource "google_compute_global_address" "ui" {
  count      = var.ingress ? 1 : 0
  name       = "${local.name}-ui"
  labels     = local.labels
  depends_on = [google_project_service.this]
}
