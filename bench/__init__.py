"""Measurements: a load generator, the servers it compares, and what they cost per request."""
