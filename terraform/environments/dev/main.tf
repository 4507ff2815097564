# dev: one zone, one small node that stays, the smallest database that holds 20 runs at once; may be torn down.

module "platform" {
  source      = "../../modules/platform"
  environment = "dev"
  project     = var.project
  region      = var.region
  max_cores   = coalesce(var.max_cores, 50)
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
  monthly_budget    = coalesce(var.monthly_budget, 300)

  location  = "${var.region}-b" # the one letter every region has
  core      = { machine_type = "e2-standard-2", disk_gb = 150, min = 1, max = 3 }
  database  = { tier = "db-g1-small", max_connections = 100, point_in_time_recovery = false, retained_backups = 3 }
  protected = false
  flow_logs = false
}
