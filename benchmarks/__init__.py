"""Measurements, each beside a peer or a stated goal; the figures and their commands are in README.md."""
