"""Data structures, errors, settings, registries and artifacts that every stage shares."""
