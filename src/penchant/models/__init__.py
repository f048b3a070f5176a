"""Recommenders: histories in, scores out."""
