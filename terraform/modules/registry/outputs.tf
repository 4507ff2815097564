output "repository" {
  description = "Its name, for rights on it."
  value       = google_artifact_registry_repository.this.name
}

output "url" {
  description = "What images are named by."
  value       = google_artifact_registry_repository.this.registry_uri
}
