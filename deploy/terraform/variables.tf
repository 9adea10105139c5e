# Everything that differs from one installation to the next. What has no default must be said.

variable "project" {
  description = "The id of the Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project's id has 6 to 30 small letters, digits and hyphens, such as example-hotels."
  }
}

variable "region" {
  description = "Where everything runs. The stores' standbys are in other zones of it."
  type        = string
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region and not a zone, such as europe-west1."
  }
}

variable "service" {
  description = "The name of the Cloud Run service (deploy/cloudrun/service.yaml)."
  type        = string
  default     = "bff-backoffice"
}

variable "host" {
  description = "The name that desks know, such as backoffice.example.com."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.host))
    error_message = "A full name in small letters, without a dot at its end."
  }
}

variable "fallback_host" {
  description = "The name that desks try next, in a domain of another registrar than host's (F-25)."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.fallback_host))
    error_message = "A full name in small letters, without a dot at its end."
  }

  validation {
    # The last two labels: a fallback below the same domain falls with it.
    condition     = join(".", slice(reverse(split(".", var.fallback_host)), 0, 2)) != join(".", slice(reverse(split(".", var.host)), 0, 2))
    error_message = "The fallback must be in another domain than host, or one mistake takes both (F-25)."
  }
}

variable "dns_zone" {
  description = "The domain of the Cloud DNS zone that host is in, such as example.com."
  type        = string
}

variable "fallback_dns_zone" {
  description = "The same for fallback_host."
  type        = string
}

variable "max_instances" {
  description = "The most instances of the server (F-39). maxScale of the service is this, too."
  type        = number
  default     = 20

  validation {
    condition     = var.max_instances >= 2 && var.max_instances <= 100
    error_message = "From 2 to 100: below two there is no second one, above a hundred somebody has mistyped."
  }
}

variable "min_instances" {
  description = "Instances that are always there. minScale of the service is this, too."
  type        = number
  default     = 2

  validation {
    condition     = var.min_instances >= 2
    error_message = "At least 2: with one, a desk notices each restart (F-37)."
  }
}

variable "armor_stage" {
  description = "How far the rules of Cloud Armor have come: soak (they are logged and let pass) or enforce (F-24)."
  type        = string
  default     = "soak"

  validation {
    condition     = contains(["soak", "enforce"], var.armor_stage)
    error_message = "It should be soak or enforce."
  }
}

variable "requests_per_minute" {
  description = "What one address may ask in a minute. A hotel is one address: of all its desks together (F-26)."
  type        = number
  default     = 6000

  validation {
    condition     = var.requests_per_minute >= 600
    error_message = "At least 600: below that a hotel with twenty desks is refused on a busy morning (F-24)."
  }
}

variable "session_memory_gb" {
  description = "Memory of the session tier. Nothing in it is evicted, so it is as large as what must be known (F-41)."
  type        = number
  default     = 5

  validation {
    condition     = var.session_memory_gb >= 1 && var.session_memory_gb <= 300
    error_message = "From 1 to 300."
  }
}

variable "cache_memory_gb" {
  description = "Memory of the cache tier."
  type        = number
  default     = 2
}

variable "database_tier" {
  description = "The machine of Cloud SQL."
  type        = string
  default     = "db-custom-2-8192"
}

variable "connector_range" {
  description = "A /28 of the network that nothing else has, for the connector of Cloud Run."
  type        = string
  default     = "10.8.0.0/28"

  validation {
    condition     = can(cidrhost(var.connector_range, 0)) && endswith(var.connector_range, "/28")
    error_message = "A connector takes a /28."
  }
}

variable "platform_publishers" {
  description = "Service accounts of the platform that may tell desks something (publish to bff-platform-events)."
  type        = list(string)
  default     = []
}

variable "pagers" {
  description = "Notification channels that call somebody (P1), by their full names."
  type        = list(string)

  validation {
    condition     = length(var.pagers) > 0
    error_message = "At least one: an alert that nobody hears is none."
  }
}

variable "mailboxes" {
  description = "Notification channels for what can wait till the morning (P2, P3)."
  type        = list(string)
  default     = []
}
