# A private cluster: nodes without addresses of their own, a control plane reached by name, with IAM at the door.

locals {
  # Two sizes of machine, so that a small scene does not have a large one made for it. Together never more than max_cores.
  # Disks hold what a pod of all the machine's cores asks for at 1000 particles and 72 h (stilt_dagster/kubernetes/pod_sizes.py).
  small_nodes = min(2, floor(var.max_cores / 8))
  large_nodes = floor((var.max_cores - 8 * local.small_nodes) / 32)
  spot_pools = {
    small = { machine_type = "${var.spot_family}-8", nodes = local.small_nodes, disk_gb = 50 }
    large = { machine_type = "${var.spot_family}-32", nodes = local.large_nodes, disk_gb = 150 }
  }
}

resource "google_service_account" "nodes" {
  account_id   = "${var.name}-nodes"
  display_name = "Nodes of ${var.name}: logs, metrics, images, and nothing that pods do"
}

resource "google_project_iam_member" "nodes" {
  project = var.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = google_service_account.nodes.member
}

resource "google_container_cluster" "this" {
  #checkov:skip=CKV_GCP_12:Dataplane V2 holds network policies; the add-on asked for is the one before it
  #checkov:skip=CKV_GCP_65:RBAC by Google Groups needs a Workspace domain; rights inside are three service accounts'
  #checkov:skip=CKV_GCP_66:images are pinned by digest, and their signatures checked where they are deployed from; an attestor would be one more key
  #checkov:skip=CKV_GCP_20:the control plane has no public address to restrict; its name is guarded by IAM
  name                = var.name
  location            = var.location
  deletion_protection = var.protected
  resource_labels     = var.labels

  network           = var.network
  subnetwork        = var.subnetwork
  networking_mode   = "VPC_NATIVE"
  datapath_provider = "ADVANCED_DATAPATH" # holds network policies
  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }
  default_max_pods_per_node   = 32
  enable_intranode_visibility = true

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = true # for nodes and pods; people and CI come by name, below
  }
  control_plane_endpoints_config {
    dns_endpoint_config {
      allow_external_traffic = true
    }
  }
  master_authorized_networks_config {
    gcp_public_cidrs_access_enabled = false
  }

  min_master_version = "1.34" # the first that makes Secrets of Secret Manager's
  release_channel {
    channel = "REGULAR"
  }
  maintenance_policy {
    recurring_window {
      start_time = "2026-01-03T02:00:00Z"
      end_time   = "2026-01-03T08:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  # Nodes are of the pools below: none is made by itself, in a size and number nobody chose.
  cluster_autoscaling {
    enabled             = false
    autoscaling_profile = "OPTIMIZE_UTILIZATION" # an idle node goes after minutes
  }
  remove_default_node_pool = true
  initial_node_count       = 1
  node_config {
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    metadata        = { disable-legacy-endpoints = "true" }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }
  secret_sync_config {
    enabled = true
  }
  enable_shielded_nodes = true
  enable_legacy_abac    = false
  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }
  security_posture_config {
    mode               = "BASIC"
    vulnerability_mode = "VULNERABILITY_DISABLED" # the registry looks at images
  }
  rbac_binding_config {
    enable_insecure_binding_system_authenticated   = false
    enable_insecure_binding_system_unauthenticated = false
  }

  addons_config {
    http_load_balancing {
      disabled = !var.ingress
    }
    horizontal_pod_autoscaling {
      disabled = true # the queue decides what runs
    }
    gce_persistent_disk_csi_driver_config {
      enabled = false # nothing has a disk: what is kept is in the bucket and in the database
    }
    dns_cache_config {
      enabled = true
    }
  }

  # What is logged and measured is paid for by volume.
  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "WORKLOADS"]
  }
  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS"]
    managed_prometheus {
      enabled = false
    }
  }
  cost_management_config {
    enabled = true # the bill by namespace and label
  }

  lifecycle {
    ignore_changes = [node_config, initial_node_count] # of the pool that is removed
  }
}

# Webserver, daemon, code server, and runs that are short or must not be interrupted.
resource "google_container_node_pool" "core" {
  name     = "core"
  cluster  = google_container_cluster.this.id
  location = var.location

  autoscaling {
    total_min_node_count = var.core.min
    total_max_node_count = var.core.max
    location_policy      = "BALANCED"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  upgrade_settings {
    max_surge       = 1
    max_unavailable = 0
  }
  node_config {
    machine_type    = var.core.machine_type
    image_type      = "COS_CONTAINERD"
    disk_type       = "pd-balanced"
    disk_size_gb    = var.core.disk_gb
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = { "stilt/pool" = "core" }
    resource_labels = var.labels
    metadata        = { disable-legacy-endpoints = "true" }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    gcfs_config {
      enabled = true
    }
  }
}

# Trajectories and footprints: all they finish is kept, so their nodes may go at any moment, for a third of the price.
resource "google_container_node_pool" "spot" {
  for_each = { for size, pool in local.spot_pools : size => pool if pool.nodes > 0 }
  name     = "spot-${each.key}"
  cluster  = google_container_cluster.this.id
  location = var.location

  initial_node_count = 0
  autoscaling {
    total_min_node_count = 0
    total_max_node_count = each.value.nodes
    location_policy      = "ANY" # the zone that has spare machines
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    spot            = true
    machine_type    = each.value.machine_type
    image_type      = "COS_CONTAINERD"
    disk_type       = "pd-balanced"
    disk_size_gb    = each.value.disk_gb
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = { "stilt/pool" = "spot" }
    resource_labels = var.labels
    metadata        = { disable-legacy-endpoints = "true" }
    taint {
      key    = "cloud.google.com/gke-spot"
      value  = "true"
      effect = "NO_SCHEDULE"
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    gcfs_config {
      enabled = true # a pod starts before all of its image has come
    }
  }
  lifecycle {
    ignore_changes = [initial_node_count]
  }
}
