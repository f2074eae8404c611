"""The custom resources as pydantic models: the source of the CRDs. Nothing else of ours is imported here."""
