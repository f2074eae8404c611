"""Pure builders: from a spec to the manifests that should exist. No clock, client or randomness."""
