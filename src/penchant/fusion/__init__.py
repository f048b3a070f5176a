"""Modality embeddings to one item vector (feature level), or scores to one score (decision level)."""

from __future__ import annotations

from penchant.core.registry import Table

FUSIONS = Table("fusion", {"concat": "penchant.fusion.concat:Concat"}, group="penchant.fusions")
