"""Modality embeddings to one item vector (feature level), or scores to one score (decision level)."""

from __future__ import annotations

from penchant.core.registry import Table

FUSIONS = Table(
    "fusion",
    {"concat": "penchant.fusion.concat:Concat"},
    group="penchant.fusions",
    base="penchant.fusion.fusion:Fusion",
)
LAYERS = Table(
    "fusion layer",
    {
        "concat": "penchant.fusion.layers:ConcatLayer",
        "gated": "penchant.fusion.layers:GatedLayer",
        "attention": "penchant.fusion.layers:AttentionLayer",
        "cross_attention": "penchant.fusion.layers:CrossAttentionLayer",
    },
    group="penchant.fusion_layers",
    base="penchant.fusion.layers:FusionLayer",
    extras={"torch": "networks"},
)
"""Fusion that is learned with the network it feeds."""
