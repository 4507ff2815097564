# The bucket of the store and of logs. What can be made again ages out; what was paid for in CPU hours stays.

resource "google_storage_bucket" "this" {
  #checkov:skip=CKV_GCP_78:soft delete keeps what is deleted or overwritten for a week; versions would do the same for longer, and twice
  #checkov:skip=CKV_GCP_62:access logs of a bucket with millions of small reads cost more than the bucket; audit logs of writes can be turned on
  name                        = var.name
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false
  labels                      = var.labels

  soft_delete_policy {
    retention_duration_seconds = 7 * 24 * 3600
  }

  dynamic "lifecycle_rule" {
    for_each = var.days
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
        # Of an aggregate its data alone: what it was made of says which results are still of this day's scene.
        matches_suffix = lifecycle_rule.key == "store/meteorology_aggregate/" ? [".arl"] : []
      }
    }
  }
  lifecycle_rule {
    action {
      type          = "SetStorageClass"
      storage_class = "NEARLINE"
    }
    condition {
      age            = 90
      matches_prefix = ["store/jacobian/"]
    }
  }
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 2
    }
  }
}
