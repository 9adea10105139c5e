"""What operators look at: liveness, readiness, metrics, the nursery tree."""
