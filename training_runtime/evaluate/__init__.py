"""Evaluation: the finished model answers the test rows, and the answers are judged."""
