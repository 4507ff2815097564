# Dagster's metadata: Postgres with a private address, encrypted, with a password that nothing here can read.

resource "google_sql_database_instance" "this" {
  #checkov:skip=CKV_GCP_6:ENCRYPTED_ONLY refuses what is not encrypted; a client certificate would be one more secret in each pod
  #checkov:skip=CKV2_GCP_13:the duration of every statement is a log line for each of a run's hundred events
  #checkov:skip=CKV_GCP_111:text of every statement would put metadata of runs into logs; that of failed ones is there, and connections, locks, errors
  name                = var.name
  region              = var.region
  database_version    = "POSTGRES_18"
  deletion_protection = var.protected

  settings {
    tier                        = var.tier
    edition                     = "ENTERPRISE"
    availability_type           = "ZONAL" # runs go on without it for minutes; a standby would double its price
    disk_type                   = "PD_SSD"
    disk_size                   = 10
    disk_autoresize             = true
    disk_autoresize_limit       = 200
    deletion_protection_enabled = var.protected
    user_labels                 = var.labels

    ip_configuration {
      ipv4_enabled    = false
      private_network = var.network
      ssl_mode        = "ENCRYPTED_ONLY"
    }
    backup_configuration {
      enabled                        = true
      start_time                     = "01:00"
      location                       = var.region
      point_in_time_recovery_enabled = var.point_in_time_recovery
      transaction_log_retention_days = var.point_in_time_recovery ? 7 : null
      backup_retention_settings {
        retained_backups = var.retained_backups
      }
    }
    maintenance_window {
      day          = 7
      hour         = 3
      update_track = "stable"
    }
    insights_config {
      query_insights_enabled = true
    }

    database_flags {
      name  = "max_connections"
      value = tostring(var.max_connections)
    }
    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }
    database_flags {
      name  = "log_connections"
      value = "on"
    }
    database_flags {
      name  = "log_disconnections"
      value = "on"
    }
    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }
    database_flags {
      name  = "log_hostname"
      value = "on"
    }
    database_flags {
      name  = "log_statement"
      value = "ddl"
    }
    database_flags {
      name  = "log_min_messages"
      value = "error"
    }
    database_flags {
      name  = "log_min_error_statement"
      value = "error"
    }
    database_flags {
      name  = "cloudsql.enable_pgaudit"
      value = "on"
    }
  }

  lifecycle {
    ignore_changes = [settings[0].disk_size] # it grows by itself
  }
}

resource "google_sql_database" "dagster" {
  name     = "dagster"
  instance = google_sql_database_instance.this.name
}

# The password passes through: it is in no state and no plan, and is written again only when its version is raised.
resource "google_sql_user" "dagster" {
  name                = "dagster"
  instance            = google_sql_database_instance.this.name
  password_wo         = var.password
  password_wo_version = var.password_version
}

resource "google_secret_manager_secret" "password" {
  secret_id = "${var.name}-database"
  labels    = var.labels
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "password" {
  secret                 = google_secret_manager_secret.password.id
  secret_data_wo         = var.password
  secret_data_wo_version = var.password_version

  lifecycle {
    create_before_destroy = true
  }
}

# GKE's synchronisation reads it in the name of this account, which no pod has.
resource "google_secret_manager_secret_iam_member" "reader" {
  secret_id = google_secret_manager_secret.password.id
  role      = "roles/secretmanager.secretAccessor"
  member    = var.secret_reader
}
