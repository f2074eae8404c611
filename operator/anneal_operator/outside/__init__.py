"""The other systems: MLflow's model registry, and a namespace's routers."""
