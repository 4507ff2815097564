variable "name" {
  description = "Of the repository."
  type        = string
}

variable "region" {
  description = "That of the nodes."
  type        = string
}

variable "reader" {
  description = "Who pulls: the nodes."
  type        = string
}

variable "labels" {
  description = "Labels of what takes them."
  type        = map(string)
}
