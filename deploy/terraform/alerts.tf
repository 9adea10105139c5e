# What Prometheus cannot see from inside: whether desks get here at all, and what it costs. All else is
# deploy/prometheus/rules. Each policy has the labels of those rules, `f` and `severity`, and names its runbook.

locals {
  names = { main = var.host, fallback = var.fallback_host }

  # Instances that hold their streams, and a fifth more: between this and max_instances somebody has time to look.
  instance_budget = floor(var.max_instances * 0.8)
}

# F-25: from three continents, once a minute, the whole way: name, handshake, load balancer, server. The certificate is
# looked at in passing, for both names.
resource "google_monitoring_uptime_check_config" "names" {
  for_each         = local.names
  display_name     = "bff ${each.key}: ${each.value}"
  timeout          = "5s"
  period           = "60s"
  selected_regions = ["EUROPE", "USA_VIRGINIA", "ASIA_PACIFIC"]

  http_check {
    path         = "/openapi.json"
    port         = 443
    use_ssl      = true
    validate_ssl = true
    accepted_response_status_codes {
      # 503 is the server's own (HALTED, draining): it is reached. What it says of itself, Prometheus knows.
      status_class = "STATUS_CLASS_2XX"
    }
    accepted_response_status_codes {
      status_value = 503
    }
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.project
      host       = each.value
    }
  }

  depends_on = [google_project_service.needed]
}

resource "google_monitoring_alert_policy" "unreachable" {
  for_each     = google_monitoring_uptime_check_config.names
  display_name = "BffDns: ${local.names[each.key]} is not reached from outside (F-25)"
  combiner     = "OR"
  severity     = each.key == "main" ? "CRITICAL" : "WARNING"
  user_labels  = { f = "f-25", severity = each.key == "main" ? "p1" : "p2" }

  conditions {
    display_name = "two regions of three, for a minute"
    condition_threshold {
      filter          = "resource.type = \"uptime_url\" AND metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id = \"${each.value.uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "60s"
      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  # A name of which nothing is known any more is not reached either.
  conditions {
    display_name = "nobody has looked for five minutes"
    condition_absent {
      filter   = "resource.type = \"uptime_url\" AND metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id = \"${each.value.uptime_check_id}\""
      duration = "300s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_NEXT_OLDER"
      }
    }
  }

  notification_channels = each.key == "main" ? var.pagers : concat(var.pagers, var.mailboxes)
  documentation {
    subject   = "${local.names[each.key]} is not reached from outside"
    content   = "Runbook: deploy/runbooks/bff-backoffice/dns.md. The other name tells a name that is gone from a server that is gone."
    mime_type = "text/markdown"
  }
}

# F-23: T-30, T-7, T-1. A managed certificate is renewed a month before its end, so at 30 days nothing is broken yet and
# something does not work. At the last of them somebody is called.
resource "google_monitoring_alert_policy" "certificate" {
  for_each     = { "30" = "WARNING", "7" = "ERROR", "1" = "CRITICAL" }
  display_name = "BffTlsCertExpiry: a certificate ends in less than ${each.key} days (F-23)"
  combiner     = "OR"
  severity     = each.value
  user_labels  = { f = "f-23", severity = each.key == "30" ? "p3" : each.key == "7" ? "p2" : "p1" }

  conditions {
    display_name = "less than ${each.key} days"
    condition_threshold {
      filter          = "resource.type = \"uptime_url\" AND metric.type = \"monitoring.googleapis.com/uptime_check/time_until_ssl_cert_expires\""
      comparison      = "COMPARISON_LT"
      threshold_value = tonumber(each.key)
      duration        = "600s"
      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_MIN"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  notification_channels = each.key == "30" ? var.mailboxes : var.pagers
  documentation {
    subject   = "A certificate of the edge ends in less than ${each.key} days"
    content   = "Runbook: deploy/runbooks/bff-backoffice/tls-cert-expiry.md."
    mime_type = "text/markdown"
  }
}

# F-39: the platform's own count of what is paid for. An instance that does not answer any more is in no scrape.
resource "google_monitoring_alert_policy" "instances" {
  display_name = "BffCostSpike: more instances than there is a budget for (F-39)"
  combiner     = "OR"
  severity     = "WARNING"
  user_labels  = { f = "f-39", severity = "p3" }

  conditions {
    display_name = "more than ${local.instance_budget}, for a quarter of an hour"
    condition_threshold {
      filter          = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"${var.service}\" AND metric.type = \"run.googleapis.com/container/instance_count\""
      comparison      = "COMPARISON_GT"
      threshold_value = local.instance_budget
      duration        = "900s"
      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.label.service_name"]
      }
    }
  }

  notification_channels = var.mailboxes
  documentation {
    subject   = "More instances than there is a budget for"
    content   = "Runbook: deploy/runbooks/platform/cost-spike.md."
    mime_type = "text/markdown"
  }
}

# F-24: what Cloud Armor refuses never reaches the server. Of those whom a rule in preview would have refused nobody is
# told: that is looked at before it is enforced (armor.tf).
resource "google_monitoring_alert_policy" "refused" {
  display_name = "BffWafFp: the edge refuses more than it used to (F-24)"
  combiner     = "OR"
  severity     = "ERROR"
  user_labels  = { f = "f-24", severity = "p2" }

  conditions {
    display_name = "more than one a second is 403, for five minutes"
    condition_threshold {
      filter          = "resource.type = \"https_lb_rule\" AND resource.labels.url_map_name = \"${google_compute_url_map.edge.name}\" AND metric.type = \"loadbalancing.googleapis.com/https/request_count\" AND metric.labels.response_code = 403"
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "300s"
      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  notification_channels = var.pagers
  documentation {
    subject   = "The edge refuses more than it used to"
    content   = "Runbook: deploy/runbooks/bff-backoffice/waf-fp.md. Back: armor_stage = \"soak\"."
    mime_type = "text/markdown"
  }
}

# F-38, of what the platform had to say: the outbox's own dead letters are bff_dlq_depth.
resource "google_monitoring_alert_policy" "dead_pushes" {
  display_name = "BffDlqSpike: pushes of the platform were given up (F-38)"
  combiner     = "OR"
  severity     = "WARNING"
  user_labels  = { f = "f-38", severity = "p3" }

  conditions {
    display_name = "any"
    condition_threshold {
      filter          = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.dead.name}\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "300s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  notification_channels = var.mailboxes
  documentation {
    subject   = "Pushes of the platform were given up"
    content   = "Runbook: deploy/runbooks/platform/dlq-spike.md. They are in the subscription bff-platform-events-dead."
    mime_type = "text/markdown"
  }
}
