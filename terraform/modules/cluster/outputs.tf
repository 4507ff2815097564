output "name" {
  description = "Of the cluster."
  value       = google_container_cluster.this.name
}

output "location" {
  description = "Zone or region."
  value       = google_container_cluster.this.location
}

output "private_endpoint" {
  description = "Address pods reach the control plane at."
  value       = google_container_cluster.this.private_cluster_config[0].private_endpoint
}

output "node_member" {
  description = "The nodes' identity, for what they may pull."
  value       = google_service_account.nodes.member
}

output "workload_pool" {
  description = "What pods' identities are named by; there is none before a project's first cluster."
  value       = google_container_cluster.this.workload_identity_config[0].workload_pool
}
