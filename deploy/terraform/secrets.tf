# Names for secrets, and who may read them. What is in them never comes through here: it would be in the state.

resource "google_secret_manager_secret" "server" {
  for_each = toset([
    "bff-postgres-url", "bff-postgres-admin-url", "bff-redis-session-url", "bff-redis-cache-url", "bff-audit-key",
    "bff-redis-session-ca", "bff-redis-cache-ca", "bff-run-monitoring",
  ])
  secret_id = each.key

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.needed]
}

# The server reads what it serves with. Not the admin's URL: whoever takes over the server cannot change the schema, nor
# a row of the audit trail (F-27).
resource "google_secret_manager_secret_iam_member" "server_reads" {
  for_each  = { for name, one in google_secret_manager_secret.server : name => one if name != "bff-postgres-admin-url" }
  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.server.member
}
