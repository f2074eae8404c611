"""The statistics of an experiment, pure: from sums of whole numbers, and what its start froze, to a decision."""
