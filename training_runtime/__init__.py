"""What runs in a FineTuneJob's Jobs: prepare, train, evaluate, publish. It needs no Kubernetes."""

HEARTBEAT_VARIABLE = "ANNEAL_HEARTBEAT"
"""The environment variable that names the file of a training's signs of life; without it there are none."""
STALLED = "StalledError"
"""What a training that made no step for too long is said to end with; here, as the probe that says it loads nothing."""
