"""The custom resources as pydantic models, the source of the CRDs, and what rooms beside each other share.

Nothing else of ours is imported here.
"""
