output "secret_reader" {
  description = "Who may read the database's password."
  value       = local.pod.secrets
}

output "github" {
  description = "What workflows are told: the provider, and the account of each job."
  value = {
    provider = one(google_iam_workload_identity_pool_provider.github[*].name)
    accounts = { for who, account in google_service_account.github : who => account.email }
  }
}
