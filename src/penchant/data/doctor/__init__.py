"""Describe a data set and warn about what would hurt a model most."""
