"""Fit, choose, refit."""
