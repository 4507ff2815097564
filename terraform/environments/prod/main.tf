# prod: a control plane and core nodes in three zones, a database for 200 runs at once that can go back to any minute of
# a week, nothing that can be deleted by mistake.

module "platform" {
  source      = "../../modules/platform"
  environment = "prod"
  project     = var.project
  region      = var.region
  max_cores   = coalesce(var.max_cores, 500)
  spot_family = var.spot_family
  ingress     = var.ingress

  database_password         = var.database_password
  database_password_version = var.database_password_version

  retrieval_buckets = var.retrieval_buckets
  run_buckets       = var.run_buckets
  operators         = var.operators
  github_repository = var.github_repository
  alert_emails      = var.alert_emails
  billing_account   = var.billing_account
  monthly_budget    = coalesce(var.monthly_budget, 3000)

  location  = var.region
  core      = { machine_type = "e2-standard-4", disk_gb = 200, min = 2, max = 12 }
  database  = { tier = "db-custom-2-7680", max_connections = 500, point_in_time_recovery = true, retained_backups = 14 }
  protected = true
  flow_logs = true
}
