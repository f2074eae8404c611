"""The day on which every prompt is written, by whoever renders it; apart, so that who only names it needs no jinja2."""

import datetime

__all__ = ["FIXED_DATE"]

FIXED_DATE = datetime.date(2024, 7, 26)
"""What a template writes as today's date: the date that Llama's templates fall back to.

With the clock's, the same rows would give other tokens every day, and a server another prompt than training saw.
"""
