"""Build the images: `python -m images build` builds those whose inputs changed.

An image's tag is a digest of everything that goes into it: its Dockerfile, its requirements, the wheel, and the
tags of the images it stands on. A tag that exists is therefore never built again, and a Deployment that names it
rolls exactly when the content changed.
"""
