output "network" {
  description = "The network, for what is to be private in it."
  value       = google_compute_network.this.id
  depends_on  = [google_service_networking_connection.services] # a private database is made after it
}

output "subnetwork" {
  description = "The subnetwork of nodes."
  value       = google_compute_subnetwork.this.id
}

output "service_range" {
  description = "CIDR of the cluster's services."
  value       = var.ranges.services
}
