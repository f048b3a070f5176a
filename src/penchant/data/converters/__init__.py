"""Converters of known data formats to the three tables."""
