"""Day zero: a recommender from content alone, before there is a single event.

In: the settings of a run whose data has items only. Out: a bundle that ranks by likeness to what a user touched in this session, and, as soon as a
service knows events of anybody, by what was chosen lately.

Nothing is fitted and nothing is measured: there is nothing to measure on. The first `penchant run` on the events that the service stored takes its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penchant.core.environment import versions
from penchant.core.errors import DataError
from penchant.core.logs import step
from penchant.core.schema import Catalog, Content, Histories
from penchant.data.clean.dataset import cleaned_catalog
from penchant.data.read.sources import read_catalog
from penchant.encoders.catalog import encode_catalog, item_channels, pretrained_channels
from penchant.experiment.evaluate import VERSIONS
from penchant.explanation.topics import find_topics
from penchant.fusion.fusion import make_fusion
from penchant.fusion.late import EnsembleWeights
from penchant.models.channels import FUSED
from penchant.models.ensemble import Ensemble
from penchant.models.member import make_member
from penchant.pipelines.frame import facts_of
from penchant.pipelines.recommendation_settings import RecommendationConfig
from penchant.recommender.recommender import Recommender

MOMENT, MOMENT_SHARE = "recent_popularity", 0.15
"""What everybody chose lately, and its share of the weights: content decides, but among users without history."""
NEIGHBOURS = 100


def day_zero(config: RecommendationConfig, catalog: Catalog | None = None) -> Recommender:
    """Return the recommender of the items alone, saved in the run's folder.

    Args:
        config: Of a run; `data`, `content`, `fusion` and `media` are read.
        catalog: Items already in memory, not cleaned; None reads the file that `config.data` names.

    Raises:
        DataError: There is no file of items, or nothing of them can be encoded.
    """
    with step("read"):
        raw = read_catalog(config.data) if catalog is None else catalog
        items = cleaned_catalog(raw, config.clean, config.media, cache=config.cache / "media")
    with step("encode"):
        channels = item_channels(items, config.content)
        embeddings, _ = encode_catalog(items, channels, cache=config.cache / "vectors", limits=config.media)
        if not embeddings:
            raise DataError(
                "Nothing of the items can be encoded.",
                where="day zero",
                fix="give items a text, a picture, a sound or attributes; see `penchant list encoders`",
            )
        (table, *_) = config.fusion.tables()
        fused = make_fusion(table, where="fusion")(embeddings)
        content = Content(embeddings, fused)
    histories = Histories.empty(len(items), "").take(np.zeros(0, np.int64))
    tables: dict[str, dict[str, Any]] = {
        f"like_{name}": {"model": "content_knn", "channel": name, "neighbours": NEIGHBOURS, "sharpness": 4}
        for name in ([FUSED] if fused is not None and len(embeddings) > 1 else []) + list(embeddings)
    }
    tables[MOMENT] = {"model": "recent_popularity", "half_life_days": 7}
    members = {name: make_member(name, table).fit(histories, content) for name, table in tables.items()}
    share = (1 - MOMENT_SHARE) / (len(tables) - 1)
    weights = EnsembleWeights({name: MOMENT_SHARE if name == MOMENT else share for name in tables})
    with step("explain"):
        topics = find_topics(items, content, texts=pretrained_channels(channels), seed=config.seed)
    facts = {
        **facts_of(config, versions(VERSIONS)),
        "seed": config.seed,
        "histories": config.histories.model_dump(mode="json"),
        "channels": {name: channel.model_dump(mode="json") for name, channel in channels.items()},
        "fusion": table,
    }
    ensemble = Ensemble.build(members, weights, content)
    recommender = Recommender(items, histories, ensemble, tables, topics, facts, content=content, fitted=histories)
    with step("write"):
        return recommender.save(config.folder)
