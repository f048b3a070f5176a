"""Recommendations and truth in, numbers with intervals out."""
