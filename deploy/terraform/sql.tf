# The ledger: keys, the outbox, the audit trail. What is acknowledged is in it.

resource "google_sql_database_instance" "ledger" {
  name                = "bff-ledger"
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = true

  settings {
    tier    = var.database_tier
    edition = "ENTERPRISE"

    # F-20: a standby in another zone, synchronous by its disk, takes over in about 60 s at the same address.
    availability_type = "REGIONAL"

    disk_type             = "PD_SSD"
    disk_autoresize       = true
    disk_autoresize_limit = 500

    # RPO 5 min, against what a standby cannot help with: a wrong statement is replicated, too. Any second of the last
    # week can be gone back to, into a new instance.
    backup_configuration {
      enabled                        = true
      start_time                     = "02:30"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7
      backup_retention_settings {
        retained_backups = 30
      }
    }

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.private.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    maintenance_window {
      day          = 2
      hour         = 2
      update_track = "stable"
    }

    # 10 connections of each instance at the most (bff/stores/postgres_line.py), twice over while one revision takes
    # another's place, and some for people.
    database_flags {
      name  = "max_connections"
      value = tostring(var.max_instances * 10 * 2 + 50)
    }

    insights_config {
      query_insights_enabled = true
    }
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_service_networking_connection.services]
}

resource "google_sql_database" "bff" {
  name     = "bff"
  instance = google_sql_database_instance.ledger.name

  # A `destroy` forgets it; it does not drop it.
  deletion_policy = "ABANDON"
}

# The roles and their passwords are made by hand (README): a password in here would be in the state.
