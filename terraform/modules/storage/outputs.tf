output "bucket" {
  description = "Its name."
  value       = google_storage_bucket.this.name
}
