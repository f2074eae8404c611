"""From the models of `api` to `crds/*.yaml` and `docs/reference.md`."""
