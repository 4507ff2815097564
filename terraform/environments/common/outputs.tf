output "helm_values" {
  description = "The chart's values that come from here."
  value       = module.platform.helm_values
}

output "registry" {
  description = "What images are named by."
  value       = module.platform.registry
}

output "cluster" {
  description = "Where the chart goes."
  value       = module.platform.cluster
}

output "github" {
  description = "Variables of the repository's environments."
  value       = module.platform.github
}

output "ui_address" {
  description = "What the UI's name must resolve to."
  value       = module.platform.ui_address
}
