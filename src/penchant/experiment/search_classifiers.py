"""Choose the classifiers of a labelled task under a budget of time and memory.

In: content, labels, the split and the budget. Out: classifier tables, settings of the fit, and the reasons. The test is never seen here: each
candidate is timed on a part of the training samples, and which row is taken is decided by `fit_classifiers` on left-out samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Int64

from penchant.classifiers.classifier import ContentBatch, make_classifier
from penchant.core.errors import ConfigError
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.schema import SampleSplit
from penchant.experiment.fit_classifiers import (
    INNER_FOLDS,
    MAX_INNER,
    STACKING,
    ClassifierFitConfig,
    default_classifiers,
    fusion_tables,
    make_score_function,
    presence,
    simple_tables,
)
from penchant.experiment.imbalance import training_set, unweighted
from penchant.experiment.left_out import deal
from penchant.experiment.search import GB, RESERVE, SearchConfig, free_memory

WORDS = "words in order"
"""Name of the network that reads words in order."""
MIN_TEXTS = 2_000
"""A network over words is not tried on fewer texts: n-grams are better there."""
FEWEST = 150
"""Samples that a candidate is timed on, at least; a class has all of its own where it has fewer."""
PARTS = 10
"""A candidate is timed on one part in so many."""
NUMBER = 8
"""Bytes of a float64."""
GRAMS = 3
"""Distinct n-grams kept for each character of a text, about; each takes a number and an index."""


@dataclass
class ClassifierSearch:
    """The classifiers found, with the reasons.

    Attributes:
        tables: Classifiers, beside the simple rows that are fitted anyway.
        fitting: Settings of the fit: kinds of fusion and inner folds that fit the budget.
        reasons: Why, one sentence each.
        seconds: What each candidate is expected to take, all its fits together.
    """

    tables: dict[str, dict[str, Any]]
    fitting: ClassifierFitConfig
    reasons: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def note(self, reason: str) -> None:
        """Keep a reason and log it."""
        self.reasons.append(reason)
        logger.info("  auto: %s", reason)


def search_classifiers(
    batch: ContentBatch,
    labels: Int64[np.ndarray, " samples"],
    classes: Sequence[str],
    parts: SampleSplit,
    fitting: ClassifierFitConfig,
    config: SearchConfig,
    *,
    unit: Int64[np.ndarray, " samples"],
    rounds: int = 1,
) -> ClassifierSearch:
    """Return the classifiers whose fits fit the budget, those that tell most for their time first.

    The simple rows come first and are always fitted; without time for inner folds, the validation part alone is left out. Then networks that fuse
    modalities, and one that reads words in order. What is left out is said with the minutes that it needs.

    Args:
        batch: All samples; those of the test are not looked at.
        labels: Of all samples.
        classes: Names.
        parts: Rows of each part.
        fitting: Settings of the fit.
        config: The budget, which begins now; encoding comes on top.
        unit: Independent unit of each sample.
        rounds: How often everything is fitted: folds times repeats, and once for the bundle.

    Raises:
        ConfigError: Not even the simple rows fit the time or the memory; the smallest budget that works is named.
    """
    began = perf_counter()
    seen = batch.take(np.concatenate([parts.train, parts.validation]))
    own_labels = labels[np.concatenate([parts.train, parts.validation])]
    own_unit = np.unique(unit[np.concatenate([parts.train, parts.validation])], return_inverse=True)[1]
    found = ClassifierSearch(default_classifiers(seen), fitting)
    memory = config.budget_gb * GB if config.budget_gb is not None else free_memory()
    found.note(
        message(
            "{samples} samples of {classes} classes from {units} independent units, {kinds} kinds of content; {cores} cores; {minutes} minutes, "
            "{memory} GB",
            samples=f"{len(seen):,}",
            classes=len(classes),
            units=f"{int(own_unit.max()) + 1:,}",
            kinds=len({*(one.modality for one in seen.channels.values()), *(["text"] if seen.has_text.any() else [])}),
            cores=os.cpu_count(),
            minutes=f"{config.budget_minutes:g}",
            memory=f"{memory / GB:.1f}",
        )
    )
    timer = _Timer(seen, own_labels, own_unit, len(classes), fitting, config.seed)
    simple = {**simple_tables(seen, found.tables), **found.tables} if fitting.simple else dict(found.tables)
    for name, table in simple.items():
        need = _bytes(table, seen, len(classes))
        if need > memory:
            raise ConfigError(
                f"The simple row {name!r} does not fit into {memory / GB:.2g} GB.",
                where="search.budget_gb",
                fix=f"the smallest that works here is about {1.1 * need / GB:.2g}",
            )
    once = {name: timer.seconds(name, table) for name, table in simple.items()}
    inner = timer.inner_folds()
    budget = config.budget_minutes * 60 * (1 - RESERVE)

    def total(seconds: float, folds: int) -> float:
        return seconds * rounds * _num_fits(folds, is_network=False)

    needed = total(sum(once.values()), inner)
    if inner and perf_counter() - began + needed > budget:
        found.note(
            message(
                "no inner folds: with them the simple rows need {minutes} minutes, so the validation part alone is left out",
                minutes=f"{needed / 60:.1f}",
            )
        )
        inner = 0
        found.fitting = fitting.model_copy(update={"inner_folds": 0})
        needed = total(sum(once.values()), 0)
    if perf_counter() - began + needed > budget:
        raise ConfigError(
            f"Nothing can be fitted in {config.budget_minutes:g} minutes.",
            where="search.budget_minutes",
            fix=f"the smallest that works here is about {max(1.5 * (perf_counter() - began + needed) / 60, 0.1):.2g}",
        )
    found.seconds = {name: total(seconds, inner) for name, seconds in once.items()}
    found.note(
        message(
            "{count} simple rows, about {seconds} s with {fits} fits of each",
            count=len(simple),
            seconds=f"{needed:.0f}",
            fits=rounds * _num_fits(inner, is_network=False),
        )
    )
    _add_networks(found, timer, memory, lambda: budget - needed - (perf_counter() - began), rounds, inner)
    return found


def _add_networks(
    found: ClassifierSearch, timer: _Timer, memory: float, left_at_first: Callable[[], float], rounds: int, inner: int
) -> None:
    """Add the networks whose fits fit the time that is left and the memory; `found` says why the others do not."""
    batch, fitting, spent = timer.batch, timer.fitting, 0.0
    fused = fusion_tables(batch, fitting)
    networks = {**fused, **_words(batch)}
    kinds: list[Any] = [STACKING] if STACKING in fitting.fusion else []
    for name, table in networks.items():
        need = _bytes(table, batch, timer.num_classes)
        if need > memory:
            found.note(message("left out {name}: it would take {memory} GB", name=name, memory=f"{need / GB:.1f}"))
            continue
        if left_at_first() - spent <= min(found.seconds.values(), default=0.0):
            found.note(message("left out {name}: no time was left to try it", name=name))
            continue
        cost = timer.seconds(name, table) * rounds * _num_fits(inner, is_network=True)
        left = left_at_first() - spent
        if cost > left:
            found.note(
                message(
                    "left out {name}: its fits take about {later} s, {left} s were left",
                    name=name,
                    later=f"{cost:.0f}",
                    left=f"{max(left, 0):.0f}",
                )
            )
            continue
        spent += cost
        found.seconds[name] = cost
        if name in fused:
            kinds.append(name)
        else:
            found.tables[name] = table
        found.note(message("{name}: about {seconds} s", name=name, seconds=f"{cost:.0f}"))
    if not networks:
        found.note(
            message(
                "no network: there are no vectors of two kinds of content to fuse, and too few texts to learn the order of words"
            )
        )
    found.fitting = found.fitting.model_copy(update={"fusion": kinds})


@dataclass(frozen=True)
class _Timer:
    """Times one fit of a candidate on a part of the samples."""

    batch: ContentBatch
    labels: Int64[np.ndarray, " samples"]
    unit: Int64[np.ndarray, " samples"]
    num_classes: int
    fitting: ClassifierFitConfig
    seed: int

    def inner_folds(self) -> int:
        """Return the inner folds that the fit will use; 0 where the validation part alone is left out."""
        wanted = self.fitting.inner_folds
        if wanted is None:
            return INNER_FOLDS if int(self.unit.max()) + 1 <= MAX_INNER else 0
        return wanted if wanted >= 2 else 0

    def seconds(self, name: str, table: Mapping[str, Any]) -> float:
        """Return about how long one fit on all samples takes, from one on a part of them."""
        rows = self._some()
        half = deal(self.labels[rows], np.arange(len(rows)), 4, np.random.default_rng(self.seed))
        fit_on, held = rows[half > 0], rows[half == 0]
        if not make_classifier(name, table).present(self.batch)[fit_on].any() or not len(held):
            return 0.0
        weighted = training_set(
            fit_on, self.labels[fit_on], self.num_classes, presence(self.batch)[fit_on], self.fitting.imbalance
        )
        began = perf_counter()
        make_classifier(name, table).fit(
            self.batch,
            weighted,
            unweighted(held, self.labels[held], self.num_classes),
            make_score_function(self.fitting.choose_by),
            seed=self.seed,
        )
        return (perf_counter() - began) * len(self.labels) / len(rows)

    def _some(self) -> Int64[np.ndarray, " rows"]:
        """Return the rows to time on, of every class at least a few."""
        rng = np.random.default_rng(self.seed)
        share = max(1 / PARTS, min(1.0, FEWEST / len(self.labels)))
        chosen = [
            rng.permutation(rows)[: max(8, round(share * len(rows)))]
            for k in range(self.num_classes)
            if len(rows := np.flatnonzero(self.labels == k))
        ]
        return np.sort(np.concatenate(chosen))


def _num_fits(inner: int, is_network: bool) -> int:
    """Return how often `fit` fits a classifier: for each inner fold, and at last; classifiers without epochs once more each."""
    return (inner or 1) * (1 if is_network else 2) + (1 if inner else 0)


def _words(batch: ContentBatch) -> dict[str, dict[str, Any]]:
    """Return a small network that reads words in order, where there are enough texts to learn from."""
    if batch.has_text.sum() < MIN_TEXTS:
        return {}
    branch = {"modality": "text", "net": "cnn", "max_length": 100}
    return {
        WORDS: {
            "model": "network",
            "dim": 64,
            "dropout": 0.5,
            "trainer": {"epochs": 3},
            "branches": {"words": branch},
        }
    }


def _bytes(table: Mapping[str, Any], batch: ContentBatch, num_classes: int) -> float:
    """Return about how much a classifier takes while it is fitted: its matrix of samples, twice, and its weights."""
    if table["model"] == "ngrams":
        characters = sum(len(text) for text in batch.texts)
        return 2.0 * GRAMS * characters * (NUMBER + 4) * len(table.get("kinds", ["word", "char"]))
    names = table.get("channels") or table.get("branches") or list(batch.channels)
    dim = sum(batch.channels[name].dim for name in names if name in batch.channels)
    return 2.0 * NUMBER * (len(batch) * max(dim, 100) + (dim + 100) * num_classes)
