# The two tiers, as two instances: what is evicted in one must never be evicted in the other.

locals {
  # 10 % of the memory stays free for what Redis needs beside its data (copy on write while it takes a snapshot).
  reserved = 0.9
}

# The session tier: jti, sessions, revocations, the log of events.
resource "google_redis_instance" "session" {
  name           = "bff-session"
  region         = var.region
  memory_size_gb = var.session_memory_gb
  redis_version  = "REDIS_7_2"

  # F-18, F-19: a standby in another zone takes over within 30 s at the same address, by itself, with the sessions.
  tier                    = "STANDARD_HA"
  authorized_network      = google_compute_network.private.id
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  redis_configs = {
    # F-28, F-41: full is an error that is seen. A jti that was evicted would be a replay that passes unseen.
    "maxmemory-policy" = "noeviction"
    "maxmemory-gb"     = var.session_memory_gb * local.reserved
  }

  # A failover takes both nodes from an older snapshot only if both are gone; RPO is 5 min, this is as near as it comes.
  persistence_config {
    persistence_mode    = "RDB"
    rdb_snapshot_period = "ONE_HOUR"
  }

  # In the small hours of the hotels, and not on a change of shifts.
  maintenance_policy {
    weekly_maintenance_window {
      day = "TUESDAY"
      start_time {
        hours   = 2
        minutes = 0
      }
    }
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_service_networking_connection.services]
}

# The cache tier: copies of what services said, which may go at any moment (F-17).
resource "google_redis_instance" "cache" {
  name                    = "bff-cache"
  region                  = var.region
  memory_size_gb          = var.cache_memory_gb
  redis_version           = "REDIS_7_2"
  tier                    = "BASIC"
  authorized_network      = google_compute_network.private.id
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  redis_configs = {
    "maxmemory-policy" = "allkeys-lru"
  }

  depends_on = [google_service_networking_connection.services]
}
