"""Read, check, clean, normalise, split."""

from __future__ import annotations

from penchant.core.registry import Table

SOURCES = Table(
    "source",
    {
        "files": "penchant.data.read.sources:read_files",
        "movielens": "penchant.data.converters.movielens:read_movielens",
        "movielens_mm": "penchant.data.converters.movielens:read_movielens_mm",
        "amazon_reviews": "penchant.data.converters.amazon:read_amazon_reviews",
        "mind": "penchant.data.converters.mind:read_mind",
        "recbole": "penchant.data.converters.recbole:read_recbole",
        "mmrec": "penchant.data.converters.mmrec:read_mmrec",
        "diffmm": "penchant.data.converters.diffmm:read_diffmm",
        "emotify": "penchant.data.converters.emotify:read_emotify",
    },
    group="penchant.sources",
)
