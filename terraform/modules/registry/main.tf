# Images, by digest and for as long as a rollback may want them.

resource "google_artifact_registry_repository" "this" {
  #checkov:skip=CKV_GCP_84:Google's own keys encrypt it; a key of ours would have to be guarded too, for what is public code
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  description   = "Images of stilt_dagster"
  labels        = var.labels

  docker_config {
    immutable_tags = true # a commit's image is that commit's image
  }
  vulnerability_scanning_config {
    enablement_config = "INHERITED"
  }
  cleanup_policy_dry_run = false
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "${90 * 24 * 3600}s"
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "nodes" {
  repository = google_artifact_registry_repository.this.name
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = var.reader
}
