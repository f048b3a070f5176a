"""The inside of a recommender for its report: training curves, maps of the items, heat and what a network read for some examples.

In: the report as measured, the fitted recommenders, the recommender of the bundle. Out: the report with these parts. All of it is limited by `ReportConfig`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from penchant.core.errors import PenchantError
from penchant.core.logs import logger
from penchant.core.schema import Content, Histories
from penchant.data.media import MediaLimits
from penchant.encoders.image import EfficientNet
from penchant.experiment.evaluate import EvaluationConfig, example_users, sampled_test
from penchant.experiment.fit import HoldOut
from penchant.explanation.embedding_maps import embedding_map
from penchant.explanation.topics import Topics
from penchant.models.channels import FUSED
from penchant.models.ensemble import blocked_items
from penchant.recommender.heat import heat_channels, item_heat
from penchant.recommender.recommender import Recommender
from penchant.reporting.inside import EmbeddingMap, ReadHistory, ReportConfig, ShownHeat, TrainingCurve
from penchant.reporting.report import ReportData

VERSIONS = {"image": 60, "audio": 140, "signal": 34}
"""Versions of one content that occlusion encodes, its check included; of a text one for each word, and ten."""
CHECK = 10
"""Versions that the check encodes, and all that Grad-CAM needs."""
TYPICAL_SECONDS = 0.1
"""Time to encode one content where nobody measured it."""


def look_inside(
    report: ReportData,
    recommender: Recommender,
    test: HoldOut,
    evaluation: EvaluationConfig,
    config: ReportConfig,
    limits: MediaLimits,
) -> ReportData:
    """Return the report with what is inside of its models.

    Args:
        report: As measured.
        recommender: That of the bundle.
        test: The users of whom some are examples.
        evaluation: Which of them are.
        config: What is shown, and its cost.
        limits: Of media files.
    """
    test = sampled_test(test, evaluation.max_users)
    asked = [test.histories.rows(int(user), int(user) + 1) for user in example_users(test, evaluation.examples)]
    examples = list(report.examples)
    remaining = config.heat_seconds
    for place, history in enumerate(asked[: len(examples)]):
        if place < config.heat and heat_channels(recommender):
            began = time.perf_counter()
            shown = [item.item_id for item in examples[place].recommended]
            heats = tuple(_heats(recommender, history, shown, limits, remaining))
            remaining -= time.perf_counter() - began
            examples[place] = replace(examples[place], heats=heats)
        if place < config.histories:
            examples[place] = replace(examples[place], reading=_reading(recommender, history))
    return replace(
        report,
        maps=tuple(item_maps(recommender.content, recommender.topics, config)),
        examples=tuple(examples),
    )


def training_curves(members: Mapping[str, Any]) -> tuple[TrainingCurve, ...]:
    """Return the curve of every member that learned in epochs."""
    found = []
    for name, member in members.items():
        history = getattr(member, "training_history", None)
        if history is not None and history.losses:
            # without held-out data the trainer counts the epochs instead of scoring them
            is_scored = history.scores != [float(epoch) for epoch in range(len(history.scores))]
            scores = history.scores if is_scored else []
            found.append(TrainingCurve(name, tuple(history.losses), tuple(scores), history.best))
    return tuple(found)


def item_maps(content: Content, topics: Topics, config: ReportConfig) -> Iterator[EmbeddingMap]:
    """Yield the map of the fused vectors, then that of every channel that is no attribute, coloured by topic."""
    names = [topics.names[label] if label >= 0 else None for label in topics.labels]
    channels = {n: e for n, e in content.channels.items() if e.modality != "attribute" or len(content.channels) == 1}
    if content.fused is not None and len(content.channels) > 1:
        channels = {FUSED: content.fused, **channels}
    for name, e in channels.items():
        found = embedding_map(name, e.values, e.usable, names, config)
        if found is not None:
            yield found


def _heats(
    recommender: Recommender, history: Histories, shown: Sequence[str], limits: MediaLimits, seconds: float
) -> Iterator[ShownHeat]:
    """Yield the heat over one content of each modality of one item of a list, as long as there is time for it.

    Args:
        recommender: What scores.
        history: One user.
        shown: Ids of the list's items, best first; of those with most content the first is taken.
        limits: Of media files.
        seconds: The time there is.
    """
    content, ensemble = recommender.content.channels, recommender.ensemble
    read = {channel for name in ensemble.members for channel in ensemble.channels[name]}
    read = set(content) if FUSED in read else read
    channels = {name: config for name, config in heat_channels(recommender).items() if name in read}
    history = replace(history, num_items=len(recommender.catalog))
    listed = [recommender.lookup.row(item_id) for item_id in shown]
    has = np.array([[content[name].present[row] for name in channels] for row in listed])
    if not len(has):
        return
    row = listed[int(has.sum(1).argmax())]
    item_id, began, drawn = recommender.lookup.items.ids[row], time.perf_counter(), set()
    for name, config in channels.items():
        e = content[name]
        if e.modality in drawn or not e.present[row]:
            continue
        words = len(" ".join(str(recommender.catalog.table[c][row]) for c in config.columns or ()).split())
        is_grad_cam = isinstance(recommender.encoders.load(name, config), EfficientNet)
        versions = CHECK if is_grad_cam else VERSIONS.get(e.modality, CHECK + words)
        one = TYPICAL_SECONDS if e.seconds is None else e.seconds / max(int(e.present.sum()), 1)
        if versions * one > seconds - (time.perf_counter() - began):
            logger.info("  heat over %s is left out: it would take about %.0f s", name, versions * one)
            continue
        try:
            heat = item_heat(recommender, item_id, name, history, limits)
        except PenchantError as error:  # the report does without
            logger.info("  heat over %s is left out: %s", name, str(error).splitlines()[0])
            continue
        drawn.add(e.modality)
        yield ShownHeat(recommender.lookup.titles[row], heat)


def _reading(recommender: Recommender, history: Histories) -> ReadHistory | None:
    """Return what the first network read of a history; None where there is none."""
    if not recommender.networks or not history.num_events:
        return None
    from penchant.explanation.history_reading import read_history  # torch is slow to import
    from penchant.explanation.network_attribution import pick_network

    name, network = pick_network(recommender.ensemble, recommender.networks[0])
    history = replace(history, num_items=len(recommender.catalog))
    scores = network.score(history)
    scores[blocked_items(history)] = -np.inf
    row = int(scores[0].argmax())
    return read_history(name, network, recommender.content, history, row, recommender.lookup.titles)
