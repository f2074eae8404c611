"""What the operator serves: the progress endpoint with its certificate, health, readiness, metrics."""
