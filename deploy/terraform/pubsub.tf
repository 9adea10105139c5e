# Three topics: two that the server publishes to, and one by which the platform tells desks something.

resource "google_pubsub_topic" "events" {
  for_each = toset(["bff-domain-events", "bff-telemetry"])
  name     = each.key

  # Not only for what comes: a subscription that was made too late can be wound back by seven days (F-22, F-38).
  message_retention_duration = "604800s"
  depends_on                 = [google_project_service.needed]
}

resource "google_pubsub_topic_iam_member" "server_publishes" {
  for_each = google_pubsub_topic.events
  topic    = each.value.name
  role     = "roles/pubsub.publisher"
  member   = google_service_account.server.member
}

# force-logout, alerts, a tenant's status: pushed to the server (CONTRACT, section 5).
resource "google_pubsub_topic" "platform" {
  name       = "bff-platform-events"
  depends_on = [google_project_service.needed]
}

resource "google_pubsub_topic_iam_member" "platform_publishes" {
  for_each = toset(var.platform_publishers)
  topic    = google_pubsub_topic.platform.name
  role     = "roles/pubsub.publisher"
  member   = "serviceAccount:${each.key}"
}

# Who pushes: Google signs a token as this account, and the server takes no other (CONTRACT, section 1).
resource "google_service_account" "pusher" {
  account_id   = "bff-pusher"
  display_name = "bff-backoffice: pushes platform events"
}

resource "google_pubsub_subscription" "platform" {
  name  = "bff-platform-events-push"
  topic = google_pubsub_topic.platform.id

  push_config {
    push_endpoint = "https://${var.host}/internal/events"

    oidc_token {
      service_account_email = google_service_account.pusher.email
      audience              = local.push_audience
    }
  }

  # F-31: a desk hears within 5 s at p95. The server answers when it is on the bus, so what is not answered in ten
  # seconds was lost, and the pause before the next try is short at first.
  ack_deadline_seconds = 10
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }

  # With the session tier down each push is a 503 (F-18). Twenty tries with growing pauses outlast a failover; what is
  # refused after that is poison, and goes where somebody looks at it.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead.id
    max_delivery_attempts = 20
  }

  # A logout that is a day old says nothing any more: the tokens that it was about are over.
  message_retention_duration = "86400s"

  # Without a bound to its idleness: one that expires is a way to be deaf without a sign.
  expiration_policy {
    ttl = ""
  }
}

# F-38: dead letters are kept for seven days, as those of the outbox are.
resource "google_pubsub_topic" "dead" {
  name       = "bff-platform-events-dead"
  depends_on = [google_project_service.needed]
}

resource "google_pubsub_subscription" "dead" {
  name                       = "bff-platform-events-dead"
  topic                      = google_pubsub_topic.dead.id
  message_retention_duration = "604800s"
  retain_acked_messages      = false
  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub itself moves them, as its own agent: without these two rights it tries for ever and says nothing.
data "google_project" "this" {}

locals {
  pubsub_agent  = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
  push_audience = "https://${var.host}/internal/events"
}

resource "google_pubsub_topic_iam_member" "buries" {
  topic  = google_pubsub_topic.dead.name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "takes_away" {
  subscription = google_pubsub_subscription.platform.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

resource "google_service_account_iam_member" "signs_as_pusher" {
  service_account_id = google_service_account.pusher.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
}
