"""The operator: it reconciles FineTuneJob, ModelVersion and ABExperiment on a Kubernetes cluster."""
