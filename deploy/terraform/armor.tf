# Cloud Armor in front of the edge (F-24, F-26), and how a rule comes to be enforced.
#
#   soak      armor_stage = "soak": every rule below that refuses is in preview. It is logged what it would have done, to
#             whom, and everybody passes. For a week at least, over a weekend and a change of shifts
#   look      bff_edge_probes_total{why="blocked"}, and the log of what preview would have refused (runbook waf-fp)
#   enforce   armor_stage = "enforce", first in the installation that is not production
#   back      armor_stage = "soak" again: one variable, one apply
#
# Priorities below 1000 are left to whoever is on call: the runbooks waf-fp and sse-flood add rules at 100, 200 and 210,
# which win over all of these.

locals {
  preview = var.armor_stage == "soak"

  # What hotels do looks like an attack to some of these: names have apostrophes, remarks have anything. So the least
  # sensitive level, and a rule for each, so that one that is wrong can be taken back alone.
  waf = {
    1100 = "sqli-v33-stable"
    1110 = "xss-v33-stable"
    1120 = "rce-v33-stable"
    1130 = "lfi-v33-stable"
    1140 = "protocolattack-v33-stable"
    1150 = "scannerdetection-v33-stable"
  }
}

resource "google_compute_security_policy" "edge" {
  name = "bff-edge"
  type = "CLOUD_ARMOR"

  # Only the platform's pushes come to this path, and they come from Google: anybody else has no business there. The
  # token is what really decides (CONTRACT, section 1); this keeps guesses away from it.
  rule {
    description = "internal/events is Pub/Sub's"
    priority    = 1000
    action      = "deny(404)"
    preview     = local.preview
    match {
      expr {
        expression = "request.path.startsWith('/internal/') && !request.headers['user-agent'].contains('APIs-Google')"
      }
    }
  }

  dynamic "rule" {
    for_each = local.waf
    content {
      description = "F-24: ${rule.value}"
      priority    = rule.key
      action      = "deny(403)"
      preview     = local.preview
      match {
        expr {
          expression = "evaluatePreconfiguredWaf('${rule.value}', {'sensitivity': 1})"
        }
      }
    }
  }

  # Rates come last: whoever keeps to one is let in by it, and no rule below is asked any more.
  #
  # Streams are long, so few are opened: who opens hundreds a minute is no desk, whatever else he is.
  rule {
    description = "F-26: too many streams opened by one address"
    priority    = 2000
    action      = "rate_based_ban"
    preview     = local.preview
    match {
      expr {
        expression = "request.path == '/v1/events'"
      }
    }
    rate_limit_options {
      enforce_on_key   = "IP"
      conform_action   = "allow"
      exceed_action    = "deny(429)"
      ban_duration_sec = 300
      rate_limit_threshold {
        count        = 600
        interval_sec = 60
      }
    }
  }

  # What comes too often from one address. A hotel has one address for all its desks, so the server's own limit, by
  # device, is the narrower one (bff/gate/admission.py); this one is for what would not be a hotel.
  rule {
    description = "F-26: too many requests of one address"
    priority    = 2100
    action      = "throttle"
    preview     = local.preview
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      enforce_on_key = "IP"
      conform_action = "allow"
      exceed_action  = "deny(429)"
      rate_limit_threshold {
        count        = var.requests_per_minute
        interval_sec = 60
      }
    }
  }

  rule {
    description = "everybody else"
    priority    = 2147483647
    action      = "allow"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  # It learns what is usual and proposes rules; it enforces none by itself.
  adaptive_protection_config {
    layer_7_ddos_defense_config {
      enable          = true
      rule_visibility = "STANDARD"
    }
  }

  advanced_options_config {
    # Bodies are JSON, and are looked into as such: in one piece most of them look like code.
    json_parsing = "STANDARD"
    log_level    = "VERBOSE"
  }

  depends_on = [google_project_service.needed]
}
