"""What runs in a FineTuneJob's Jobs: prepare, train, evaluate, publish. It needs no Kubernetes."""
