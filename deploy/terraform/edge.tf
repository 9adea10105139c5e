# The way in: two names, one address, one certificate each, the load balancer, and the server behind it.

resource "google_compute_global_address" "edge" {
  name       = "bff-edge"
  depends_on = [google_project_service.needed]
}

# -- names (F-25) --------------------------------------------------------------------------------------------------------
# Two zones under two registrars. A desk that cannot resolve the first name tries the second (BFF_PUBLIC_FALLBACK). Both
# are probed from outside, so that the second one is known to work before it is needed.

resource "google_dns_managed_zone" "main" {
  name        = "bff-main"
  dns_name    = "${var.dns_zone}."
  description = "What desks know"
  dnssec_config {
    state = "on"
  }
  lifecycle {
    # A zone that is made anew has other name servers: the whole fleet is gone till the registrar has been told.
    prevent_destroy = true
  }
}

resource "google_dns_managed_zone" "fallback" {
  name        = "bff-fallback"
  dns_name    = "${var.fallback_dns_zone}."
  description = "What desks try next (F-25)"
  dnssec_config {
    state = "on"
  }
  lifecycle {
    prevent_destroy = true
  }
}

# A short TTL: what is wrong is wrong for five minutes after it was mended.
resource "google_dns_record_set" "main" {
  managed_zone = google_dns_managed_zone.main.name
  name         = "${var.host}."
  type         = "A"
  ttl          = 300
  rrdatas      = [google_compute_global_address.edge.address]
}

resource "google_dns_record_set" "fallback" {
  managed_zone = google_dns_managed_zone.fallback.name
  name         = "${var.fallback_host}."
  type         = "A"
  ttl          = 300
  rrdatas      = [google_compute_global_address.edge.address]
}

# -- certificates (F-23) -------------------------------------------------------------------------------------------------
# Managed: renewed by Google, without anybody. By DNS, which works before traffic does and goes on working when it does
# not: a certificate that needs the load balancer to renew cannot be renewed in the outage that it causes. One for each
# name, so that a mistake in one zone does not take the other's.

resource "google_certificate_manager_dns_authorization" "names" {
  for_each   = { main = var.host, fallback = var.fallback_host }
  name       = "bff-${each.key}"
  domain     = each.value
  depends_on = [google_project_service.needed]
}

resource "google_dns_record_set" "authorization" {
  for_each = {
    main     = google_dns_managed_zone.main.name
    fallback = google_dns_managed_zone.fallback.name
  }
  managed_zone = each.value
  name         = google_certificate_manager_dns_authorization.names[each.key].dns_resource_record[0].name
  type         = google_certificate_manager_dns_authorization.names[each.key].dns_resource_record[0].type
  ttl          = 300
  rrdatas      = [google_certificate_manager_dns_authorization.names[each.key].dns_resource_record[0].data]
}

resource "google_certificate_manager_certificate" "names" {
  for_each = google_certificate_manager_dns_authorization.names
  name     = "bff-${each.key}"
  managed {
    domains            = [each.value.domain]
    dns_authorizations = [each.value.id]
  }
}

resource "google_certificate_manager_certificate_map" "edge" {
  name = "bff-edge"
}

resource "google_certificate_manager_certificate_map_entry" "names" {
  for_each     = google_certificate_manager_certificate.names
  name         = "bff-${each.key}"
  map          = google_certificate_manager_certificate_map.edge.name
  hostname     = each.key == "main" ? var.host : var.fallback_host
  certificates = [each.value.id]
}

resource "google_compute_ssl_policy" "modern" {
  name            = "bff-modern"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
}

# -- the load balancer ---------------------------------------------------------------------------------------------------

resource "google_compute_region_network_endpoint_group" "run" {
  name                  = "bff-run"
  region                = var.region
  network_endpoint_type = "SERVERLESS"
  cloud_run {
    service = var.service
  }
}

resource "google_compute_backend_service" "edge" {
  name                  = "bff-edge"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.edge.id

  # The deadline of a stream is Cloud Run's (timeoutSeconds); a serverless backend takes none here.
  backend {
    group = google_compute_region_network_endpoint_group.run.id
  }

  # Every request: waf-fp and sse-flood are diagnosed by this log, and a hundredth of it would miss the one hotel.
  log_config {
    enable      = true
    sample_rate = 1.0
  }
}

resource "google_compute_url_map" "edge" {
  name            = "bff-edge"
  default_service = google_compute_backend_service.edge.id
}

resource "google_compute_target_https_proxy" "edge" {
  name            = "bff-edge"
  url_map         = google_compute_url_map.edge.id
  certificate_map = "//certificatemanager.googleapis.com/${google_certificate_manager_certificate_map.edge.id}"
  ssl_policy      = google_compute_ssl_policy.modern.id
}

# 443 alone: a desk never asks in clear, so there is nothing to send elsewhere from port 80.
resource "google_compute_global_forwarding_rule" "edge" {
  name                  = "bff-edge"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.edge.address
  port_range            = "443"
  target                = google_compute_target_https_proxy.edge.id
}
