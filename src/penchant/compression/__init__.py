"""Smaller and faster bundles: candidates, each measured, and the best within a budget."""
