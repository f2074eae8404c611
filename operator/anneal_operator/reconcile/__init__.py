"""One reconciler per kind: observe, decide, build, apply, one status write."""
