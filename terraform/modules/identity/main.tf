# Who may do what. Pods are known by their Kubernetes service account: no Google service account between, and no key.

locals {
  pod = { for name in ["web", "daemon", "code", "run", "secrets"] : name =>
    "principal://iam.googleapis.com/projects/${var.project_number}/locations/global/workloadIdentityPools/${var.workload_pool}/subject/ns/stilt/sa/stilt-${name}"
  }
  objects = "projects/_/buckets/${var.bucket}/objects"

  # Prefixes each may read and write. Listing is asked of the bucket, not of its objects, and tells names alone.
  reads = {
    web  = ["compute-logs/"]
    code = ["store/"]
    run  = ["store/"]
  }
  writes = {
    code = ["store/scenes/", "store/sources/", "compute-logs/"]
    run = [
      "store/receptors/", "store/meteorology_aggregate/", "store/trajectories/", "store/footprints/",
      "store/background/", "store/jacobian/", "store/report/", "store/costs/", "compute-logs/",
    ]
  }
  operator_writes = ["store/scenes/", "store/sources/", "store/domains/", "store/campaigns/", "store/prices.yaml"]

  within = { for prefix in distinct(flatten([values(local.reads), values(local.writes), local.operator_writes])) :
    prefix => "resource.name.startsWith(\"${local.objects}/${prefix}\")"
  }
  # Buckets of others: granules are read by the code server, which makes scenes of them, and by nobody else.
  foreign = merge(
    { for bucket in var.retrieval_buckets : "code ${bucket}" => { who = "code", bucket = bucket } },
    { for bucket in var.run_buckets : "run ${bucket}" => { who = "run", bucket = bucket } },
    { for bucket in var.run_buckets : "code ${bucket}" => { who = "code", bucket = bucket } },
  )
}

resource "google_storage_bucket_iam_member" "reads" {
  for_each = local.reads
  bucket   = var.bucket
  role     = "roles/storage.objectViewer"
  member   = local.pod[each.key]
  condition {
    title       = "stilt-${each.key} reads"
    description = join(", ", each.value)
    expression = join(" || ", concat(
      ["resource.type == \"storage.googleapis.com/Bucket\""], [for prefix in each.value : local.within[prefix]]
    ))
  }
}

resource "google_storage_bucket_iam_member" "writes" {
  for_each = local.writes
  bucket   = var.bucket
  role     = "roles/storage.objectUser"
  member   = local.pod[each.key]
  condition {
    title       = "stilt-${each.key} writes"
    description = "What it makes."
    expression  = join(" || ", [for prefix in each.value : local.within[prefix]])
  }
}

resource "google_storage_bucket_iam_member" "foreign" {
  for_each = local.foreign
  bucket   = each.value.bucket
  role     = "roles/storage.objectViewer"
  member   = local.pod[each.value.who]
}

# People register scenes with `stilt-dagster scene add`, and read all there is.
resource "google_storage_bucket_iam_member" "operators_read" {
  for_each = toset(var.operators)
  bucket   = var.bucket
  role     = "roles/storage.objectViewer"
  member   = each.value
}

resource "google_storage_bucket_iam_member" "operators_write" {
  for_each = toset(var.operators)
  bucket   = var.bucket
  role     = "roles/storage.objectUser"
  member   = each.value
  condition {
    title       = "operators write"
    description = "Scenes, sources, domains."
    expression  = join(" || ", [for prefix in local.operator_writes : local.within[prefix]])
  }
}

# -- CI: GitHub says who it is, for minutes at a time -----------------------------------------------------------------

resource "google_iam_workload_identity_pool" "github" {
  count                     = var.github_repository == "" ? 0 : 1
  workload_identity_pool_id = "${var.name}-github"
  display_name              = "GitHub, for ${var.name}"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  #checkov:skip=CKV_GCP_125:the condition names both subjects whole; the scan reads none that is put together
  count                              = length(google_iam_workload_identity_pool.github)
  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  attribute_mapping = {
    "google.subject" = "assertion.sub"
  }
  attribute_condition = join(" || ", [for who, subject in local.github : "(assertion.sub == \"${subject}\" && ${local.github_when[who]})"])
  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

locals {
  # A subject names the repository and the environment of the job: deploys come from one whose rules guard it, plans
  # from another that may only look.
  github = var.github_repository == "" ? {} : {
    deploy = "repo:${var.github_repository}:environment:${var.environment}"
    plan   = "repo:${var.github_repository}:environment:${var.environment}-plan"
  }
  # Said here too, lest a branch's own workflow be let in where the environment's rules are not set.
  github_when = {
    deploy = "assertion.ref == \"refs/heads/main\""
    plan   = "assertion.event_name == \"pull_request\""
  }
  github_roles = {
    deploy = ["roles/container.developer"]
    plan   = ["roles/viewer", "roles/iam.securityReviewer"]
  }
}

resource "google_service_account" "github" {
  for_each     = local.github
  account_id   = "${var.name}-${each.key}"
  display_name = "${var.name}: ${each.key} from GitHub"
}

resource "google_service_account_iam_member" "github" {
  for_each           = local.github
  service_account_id = google_service_account.github[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/subject/${each.value}"
}

resource "google_project_iam_member" "github" {
  #checkov:skip=CKV_GCP_117:roles/viewer is what a plan needs: it reads every resource, and can change none
  for_each = { for pair in flatten([for who in keys(local.github) : [for role in local.github_roles[who] : { who = who, role = role }]]) :
    "${pair.who} ${pair.role}" => pair
  }
  project = var.project
  role    = each.value.role
  member  = google_service_account.github[each.value.who].member
}

# What container.developer leaves out of what a chart has. Kubernetes lets nobody give rights they have not themselves.
resource "google_project_iam_custom_role" "chart" {
  count       = length(local.github) > 0 ? 1 : 0
  role_id     = replace("${var.name}_chart", "-", "_")
  title       = "${var.name}: roles and priorities of the chart"
  description = "Beside roles/container.developer, for deploys."
  permissions = [for pair in setproduct(["roles", "roleBindings", "priorityClasses"], ["create", "delete", "get", "list", "update"]) :
    "container.${pair[0]}.${pair[1]}"
  ]
}

resource "google_project_iam_member" "chart" {
  count   = length(google_project_iam_custom_role.chart)
  project = var.project
  role    = google_project_iam_custom_role.chart[0].name
  member  = google_service_account.github["deploy"].member
}

resource "google_artifact_registry_repository_iam_member" "deploy" {
  for_each   = { for who, subject in local.github : who => subject if who == "deploy" }
  repository = var.registry
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.github[each.key].member
}

resource "google_storage_bucket_iam_member" "state" {
  for_each = local.github
  bucket   = var.state_bucket
  role     = "roles/storage.objectViewer" # a deploy reads outputs, a plan the state; neither changes it
  member   = google_service_account.github[each.key].member
}
