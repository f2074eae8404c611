"""What the router and the recorder of a pod agree upon without knowing each other."""

__all__ = ["LOCK"]

LOCK = "lock"
"""The file beside its records that nginx holds locked until it has written its last."""
