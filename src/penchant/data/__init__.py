"""Read, clean, split and examine data."""

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
        "mmrec": "penchant.data.converters.numbered:read_mmrec",
        "diffmm": "penchant.data.converters.numbered:read_diffmm",
        "emotify": "penchant.data.converters.emotify:read_emotify",
    },
    group="penchant.sources",
    arguments=("config",),
)
LABELLED = Table(
    "labelled source",
    {
        "files": "penchant.data.read.samples:read_sample_files",
        "mm_sentiment": "penchant.data.converters.labelled:read_mm_sentiment",
        "zh_sentiment": "penchant.data.converters.labelled:read_zh_sentiment",
        "cold": "penchant.data.converters.labelled:read_cold",
        "davidson": "penchant.data.converters.labelled:read_davidson",
        "memes": "penchant.data.converters.labelled:read_memes",
        "depresjon": "penchant.data.converters.labelled:read_depresjon",
        "cough": "penchant.data.converters.labelled:read_cough",
    },
    group="penchant.labelled",
    arguments=("config",),
)
