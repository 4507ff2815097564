output "connection" {
  description = "What the chart's value `database` is."
  value = {
    host = google_sql_database_instance.this.private_ip_address
    port = 5432
    name = google_sql_database.dagster.name
    user = google_sql_user.dagster.name
    ca   = join("\n", google_sql_database_instance.this.server_ca_cert[*].cert) # two, while one is being replaced
  }
}

output "password_version" {
  description = "The version of the secret that is the password, the chart's value `gke.databaseSecret`."
  value       = google_secret_manager_secret_version.password.name
}
