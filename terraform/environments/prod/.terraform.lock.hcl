# The one version that is used. Its hashes are added by the first init, and are to be committed by whoever runs that:
# terraform providers lock -platform=linux_amd64 -platform=darwin_arm64

provider "registry.terraform.io/hashicorp/google" {
  version     = "8.7.0"
  constraints = "8.7.0, ~> 8.7"
}
