"""The only room that talks to the Kubernetes API: cache, apply, delete, events, lease."""
