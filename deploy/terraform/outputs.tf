# What the service's YAML needs (cloudrun/service.yaml), and what runbooks call $SESSION, $CACHE, $SQL, $POLICY.

output "cloudrun_env" {
  description = "For envsubst: one NAME=value a line. IMAGE and COLLECTOR_IMAGE are the release's."
  value       = <<-ENV
    PROJECT=${var.project}
    REGION=${var.region}
    SERVICE=${var.service}
    SERVICE_ACCOUNT=${google_service_account.server.email}
    CONNECTOR=${google_vpc_access_connector.run.id}
    HOST=${var.host}
    FALLBACK_HOST=${var.fallback_host}
    EDGE_ADDRESS=${google_compute_global_address.edge.address}
    MIN_INSTANCES=${var.min_instances}
    MAX_INSTANCES=${var.max_instances}
    INSTANCE_BUDGET=${local.instance_budget}
    PUSH_AUDIENCE=${local.push_audience}
    PUSH_ACCOUNT=${google_service_account.pusher.email}
  ENV
}

output "session_tier" {
  description = "rediss://default:AUTH@HOST:PORT?ssl_ca_certs=/etc/redis-session/ca.pem is the secret bff-redis-session-url."
  value       = "${google_redis_instance.session.host}:${google_redis_instance.session.port}"
}

output "cache_tier" {
  description = "The same of the cache tier."
  value       = "${google_redis_instance.cache.host}:${google_redis_instance.cache.port}"
}

output "ledger" {
  description = "The private address of PostgreSQL. It stays the same through a failover (F-20)."
  value       = google_sql_database_instance.ledger.private_ip_address
}

output "name_servers" {
  description = "What each registrar must be told."
  value = {
    main     = google_dns_managed_zone.main.name_servers
    fallback = google_dns_managed_zone.fallback.name_servers
  }
}

output "runbook_names" {
  description = "What the commands of the runbooks need."
  value = {
    SESSION = google_redis_instance.session.name
    CACHE   = google_redis_instance.cache.name
    SQL     = google_sql_database_instance.ledger.name
    POLICY  = google_compute_security_policy.edge.name
    ZONE    = google_dns_managed_zone.main.name
    HOST    = var.host
  }
}
