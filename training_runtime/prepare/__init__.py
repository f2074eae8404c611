"""Preparation: raw rows become training examples, with a report of what was found. It takes no GPU."""
