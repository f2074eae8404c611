"""The operator at scale: beside JobSet, and under load."""
