"""Modality embeddings to one item vector (feature level), or scores to one score (decision level)."""
