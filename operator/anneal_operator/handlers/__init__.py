"""Thin kopf handlers: watch events wake the work queue; nothing is decided here."""
