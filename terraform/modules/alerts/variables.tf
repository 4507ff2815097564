variable "name" {
  description = "Of the platform, with its environment, and of its cluster."
  type        = string
}

variable "project_number" {
  description = "The project whose bill is watched."
  type        = string
}

variable "emails" {
  description = "Who is told."
  type        = list(string)
}

variable "billing_account" {
  description = "The account that pays; empty: no budget, for whoever may not see it."
  type        = string
}

variable "monthly_budget" {
  description = "In the account's currency."
  type        = number
}
