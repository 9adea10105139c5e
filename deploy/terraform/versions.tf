# What is planned with, and where the state is. The backend is empty on purpose: `terraform init -backend-config=…` says
# which bucket, so that no file of the repository names one.
terraform {
  required_version = ">= 1.6"

  backend "gcs" {}

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
