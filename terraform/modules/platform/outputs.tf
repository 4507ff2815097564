output "helm_values" {
  description = "The chart's values that come from here; none is secret."
  value = {
    store    = { url = "gs://${module.storage.bucket}/store" }
    database = module.database.connection
    gke      = { databaseSecret = module.database.password_version }
    maxCores = var.max_cores
    # The control plane's address, and the first of the services', which stands for it.
    network = { apiServer = ["${module.cluster.private_endpoint}/32", "${cidrhost(module.network.service_range, 1)}/32"] }
  }
}

output "registry" {
  description = "What images are named by."
  value       = module.registry.url
}

output "cluster" {
  description = "Where the chart goes."
  value       = { name = module.cluster.name, location = module.cluster.location, project = var.project }
}

output "github" {
  description = "Variables of the repository's environments."
  value       = module.identity.github
}

output "ui_address" {
  description = "What the UI's name must resolve to, and the chart's value gke.ingress.address."
  value       = { name = one(google_compute_global_address.ui[*].name), address = one(google_compute_global_address.ui[*].address) }
}
