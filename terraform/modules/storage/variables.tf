variable "name" {
  description = "Of the bucket."
  type        = string
}

variable "region" {
  description = "That of the nodes: reading across regions is paid for."
  type        = string
}

variable "days" {
  description = "After how many days what lies below a prefix is deleted."
  type        = map(number)
  default = {
    "store/trajectories/"          = 30
    "store/meteorology_aggregate/" = 30
    "store/footprints/"            = 90
    "compute-logs/"                = 30
  }
  validation {
    condition     = alltrue([for prefix in keys(var.days) : endswith(prefix, "/") && length(prefix) > 1])
    error_message = "days: each is of a prefix that ends with a slash, or what merely begins alike would be deleted too."
  }
  validation {
    condition = !anytrue([
      for prefix in keys(var.days) : anytrue([
        for kept in [
          "store/jacobian/", "store/report/", "store/scenes/", "store/receptors/", "store/sources/", "store/domains/",
        ] :
        startswith(kept, prefix)
      ])
    ])
    error_message = "days: jacobians, reports, scenes, receptors, sources and domains stay; name what is to be deleted more narrowly."
  }
}

variable "labels" {
  description = "Labels of what takes them."
  type        = map(string)
}
