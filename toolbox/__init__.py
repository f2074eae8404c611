"""What the tools, the demo, the benchmarks and the tests share: programs, kubectl, locks, waiting.

It knows nothing of Anneal and imports none of its rooms; no image carries it.
"""
