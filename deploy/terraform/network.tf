# The private network between the server and its stores. Nothing in it has an address on the internet.

resource "google_project_service" "needed" {
  for_each = toset([
    "artifactregistry", "certificatemanager", "compute", "dns", "iam", "logging", "monitoring", "pubsub", "redis", "run",
    "secretmanager", "servicenetworking", "sqladmin", "vpcaccess",
  ])
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_compute_network" "private" {
  name                    = "bff"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.needed]
}

# Where Memorystore and Cloud SQL have their addresses.
resource "google_compute_global_address" "services" {
  name          = "bff-services"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.private.id
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.private.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
}

# Cloud Run's way into the network. At least two, so that an update of one cuts nobody off from every store.
resource "google_vpc_access_connector" "run" {
  name          = "bff"
  region        = var.region
  network       = google_compute_network.private.name
  ip_cidr_range = var.connector_range
  machine_type  = "e2-standard-4"
  min_instances = 2
  max_instances = 5
}

# Who the server is. It may publish to its own topics and read its own secrets, and nothing else.
resource "google_service_account" "server" {
  account_id   = "bff-server"
  display_name = "bff-backoffice: the server"
}

resource "google_project_iam_member" "server_metrics" {
  project = var.project
  role    = "roles/monitoring.metricWriter"
  member  = google_service_account.server.member
}
