"""What those who write, ship and store the records of answers agree upon without knowing each other."""

__all__ = ["DELIVERED", "LARGEST_BATCH", "LOCK", "POSITION", "RECORDS_PATH", "SOURCE"]

LOCK = "lock"
"""The file beside its records that nginx holds locked until it has written its last."""
DELIVERED = "delivered"
"""The file beside the records that says when the recorder last had all of them, in seconds since 1970."""
RECORDS_PATH = "/records"
"""Where the recorder takes lines."""
SOURCE, POSITION = "X-Anneal-Source", "X-Anneal-Position"
"""The headers that say of which file the lines are, and where in it they begin."""
LARGEST_BATCH = 1 << 20
"""The bytes that the recorder takes at once."""
