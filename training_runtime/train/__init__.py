"""Training: from the base and the prepared rows to committed checkpoints and the finished model."""
