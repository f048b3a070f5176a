"""Fit, fuse and select classifiers.

In: a `ContentBatch`, labels and `SampleSplit`. Out: `FittedClassifiers`: every classifier, every row of the report, and the row that is taken:
the best simple one, unless another is clearly better on left-out samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64
from pydantic import Field
from sklearn.metrics import roc_auc_score

from penchant.classifiers.classifier import (
    Classifier,
    ClassifierTables,
    ContentBatch,
    LogProbability,
    ScoreFunction,
    TrainingSet,
    make_classifier,
)
from penchant.classifiers.combined import CombinedClassifier
from penchant.classifiers.linear import LinearClassifier
from penchant.classifiers.ngrams import NGramClassifier
from penchant.classifiers.novelty import Novelty
from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.logs import logger
from penchant.core.messages import channel_names, message
from penchant.core.schema import SampleSplit
from penchant.core.seeds import generator
from penchant.data.clean.normalisation import language
from penchant.encoders.catalog import CHINESE_SHARE
from penchant.experiment.calibration import (
    CalibrationConfig,
    FittedRow,
    Weighting,
    combine,
    cross_entropy,
    score_answers,
)
from penchant.experiment.imbalance import ImbalanceConfig, training_set, unweighted
from penchant.experiment.left_out import LeftOut, Metric, deal
from penchant.experiment.promises import ChoiceMaterial, PromiseCheck, keep_promises

STACKING = "stacking"
AVERAGE = message("plain average")
INNER_FOLDS = 5
MAX_INNER = 4000
"""Independent units up to which inner folds are the default: beyond, one validation part is precise enough and takes a fifth of the time."""


class ClassifierFitConfig(Settings):
    """Fit settings of labelled tasks."""

    choose_by: Literal["auc", "accuracy", "macro_f1", "cross_entropy"] = "auc"
    """Metric on left-out samples that chooses settings and the kind of fusion; auc needs no threshold."""
    fusion: list[Literal["stacking", "concat", "gated", "attention"]] = ["stacking", "concat", "gated", "attention"]
    """Kinds of fusion tried where there is more than one modality: decision level, feature level (two), model level."""
    simple: bool = True
    """Fit the simple rows too: n-grams of words and of characters by logistic regression and support vector machine, each channel by
    logistic regression, and plain averages. Another row is taken only where it is clearly better on left-out samples."""
    simple_minutes: float = Field(5.0, ge=0)
    """Minutes that encoding the texts for a simple row may take where [content] names no channel of text; estimated on a few texts. Where it
    would take longer, the row is left out with a note, and [content] can name the channel. 0 adds no such row."""
    inner_folds: int | None = Field(None, ge=0)
    """Folds within train and validation, so that every one of these samples is left out once; 0 leaves out the validation part alone. None
    takes 5 up to 4,000 independent units."""
    refit: bool = True
    """Once everything is chosen, fit classifiers without epochs on validation too; weights and thresholds stay."""
    imbalance: ImbalanceConfig = ImbalanceConfig()
    """Weights for rare classes and combinations of modalities."""
    tune: CalibrationConfig = CalibrationConfig()
    """Calibration, thresholds and doubt."""


@dataclass(frozen=True)
class FittedClassifiers:
    """The fitted classifiers.

    Attributes:
        members: Every classifier.
        rows: Every row of the report.
        uses: Row to the modalities it reads.
        ours: The row that a bundle holds.
        alone: Rows of one modality, which fusion is compared with.
        fused: Rows of several.
        scores: Row to its score on left-out samples.
        seconds: Classifier to its fitting time.
        simple: Simple rows, the best on left-out samples first.
        why: Sentences on the choice of ours.
        novelty: What content unlike that of training is; None where it was not learned.
        num_left_out: Samples that the choice rests on.
        held: What ours promises, checked on folds left out of these choices too; None where there are too few samples.
        others: Ours with classifiers of other modalities at weight 0, which answer where ours has no content; None where it reads all.
    """

    members: Mapping[str, Classifier]
    rows: Mapping[str, CombinedClassifier]
    uses: Mapping[str, tuple[str, ...]]
    ours: str
    alone: tuple[str, ...]
    fused: tuple[str, ...]
    scores: Mapping[str, float]
    seconds: Mapping[str, float]
    simple: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    novelty: Novelty | None = None
    num_left_out: int = 0
    held: PromiseCheck | None = None
    others: CombinedClassifier | None = None

    @property
    def served(self) -> CombinedClassifier:
        """Ours, and for samples without the content that it reads the classifiers of the other modalities."""
        return self.rows[self.ours] if self.others is None else self.others


@dataclass(frozen=True)
class _Material:
    """What is fitted on: train and validation alone.

    Attributes:
        batch: Content.
        labels: Of its samples.
        unit: Independent unit of each.
        train: Rows.
        validation: Rows.
        num_classes: Of the task.
        present: (rows, modalities) which modality each sample has.
        config: Settings.
        seed: Of networks and folds.
    """

    batch: ContentBatch
    labels: Int64[np.ndarray, " samples"]
    unit: Int64[np.ndarray, " samples"]
    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]
    num_classes: int
    present: Bool[np.ndarray, "samples modalities"]
    config: ClassifierFitConfig
    seed: int

    def weighted(self, rows: Int64[np.ndarray, " rows"]) -> TrainingSet:
        return training_set(rows, self.labels[rows], self.num_classes, self.present[rows], self.config.imbalance)

    def held(self, rows: Int64[np.ndarray, " rows"]) -> TrainingSet:
        return unweighted(rows, self.labels[rows], self.num_classes)


def fit(
    tables: ClassifierTables,
    batch: ContentBatch,
    labels: Int64[np.ndarray, " samples"],
    classes: Sequence[str],
    parts: SampleSplit,
    config: ClassifierFitConfig,
    *,
    seed: int,
    unit: Int64[np.ndarray, " samples"] | None = None,
    metric: Metric | None = None,
) -> FittedClassifiers:
    """Fit every classifier, choose and weight them on left-out samples of train and validation; test rows are removed first.

    Args:
        tables: Name to settings; `model` names the classifier.
        batch: All samples.
        labels: Of all samples.
        classes: Names.
        parts: Rows of each part.
        config: Settings of fit, fusion and calibration.
        seed: Of networks.
        unit: Independent unit (speaker, patient, copies of one text) of each sample; None takes each for itself.
        metric: Of the report, which the choice must not lower; None takes `choose_by`.

    Raises:
        DataError: No classifier can learn anything from the training part.
    """
    unit = np.arange(len(labels)) if unit is None else unit
    both = np.sort(np.concatenate([parts.train, parts.validation]))
    batch = batch.take(both)
    train, validation = np.searchsorted(both, parts.train), np.searchsorted(both, parts.validation)
    own_unit = np.unique(unit[both], return_inverse=True)[1]
    data = _Material(batch, labels[both], own_unit, train, validation, len(classes), presence(batch), config, seed)
    simple = simple_tables(batch, tables) if config.simple else {}
    fold = _inner_folds(data)
    members: dict[str, Classifier] = {}
    found: dict[str, LogProbability] = {}
    seconds: dict[str, float] = {}
    for name, table in {**simple, **tables, **fusion_tables(batch, config)}.items():
        began = perf_counter()
        try:
            made = _fit_member(name, table, data, fold) if _can_learn(name, table, data) else None
        except DataError:
            if name not in simple:
                raise
            made = None  # its advice is about a classifier that no settings name
        if made is None:
            logger.warning("  %s: left out, the training part has too little of what it reads", name)
            continue
        members[name], found[name] = made
        seconds[name] = perf_counter() - began
        logger.info("  %s: fitted in %.1f s", name, seconds[name])
    if not members:
        raise DataError(
            "No classifier can learn: the training part has no two classes with content.",
            where="classifiers",
            fix="add content to samples of every class, or name other columns in [data]",
        )
    rows_out = validation if fold is None else np.arange(len(both))
    there = {name: member.present(batch)[rows_out] for name, member in members.items()}
    of_fit = np.zeros(len(rows_out), np.int64) if fold is None else fold
    left_out = LeftOut(
        data.labels[rows_out], np.unique(own_unit[rows_out], return_inverse=True)[1], of_fit, len(classes), seed
    )
    prior_labels = data.labels[train]
    prior = np.log((np.bincount(prior_labels, minlength=len(classes)) + 0.5) / (len(train) + 0.5 * len(classes)))
    plan = _plan(members, batch, config)
    fitted = {
        name: combine(row.members, found, there, left_out, prior, classes, config.tune, row.weighting)
        for name, row in plan.rows.items()
    }
    choice = choose_row(plan, fitted, left_out, config.choose_by, metric or config.choose_by)
    uses = {
        name: tuple(dict.fromkeys(m for member in row.members for m in members[member].modalities(batch)))
        for name, row in plan.rows.items()
    }
    material = ChoiceMaterial(
        found, there, left_out, prior, classes, {name: (row.members, row.weighting) for name, row in plan.rows.items()}
    )
    fitted[choice.ours], held = keep_promises(choice.ours, fitted[choice.ours], material, config.tune)
    novelty = Novelty.of(batch, own_unit if fold is None else fold)
    return FittedClassifiers(
        members,
        {name: row.combined for name, row in fitted.items()},
        uses,
        choice.ours,
        plan.alone,
        plan.fused,
        choice.scores,
        seconds,
        choice.simple,
        choice.why,
        novelty,
        len(rows_out),
        held,
        _with_others(choice.ours, plan, {name: row.combined for name, row in fitted.items()}),
    )


def _inner_folds(data: _Material) -> Int64[np.ndarray, " samples"] | None:
    """Return the inner fold of each sample; None where the validation part alone is left out."""
    wanted = data.config.inner_folds
    count = INNER_FOLDS if wanted is None else wanted
    if count < 2 or (wanted is None and int(data.unit.max()) + 1 > MAX_INNER):
        return None
    fold = deal(data.labels, data.unit, count, generator(data.seed, "samples.inner"))
    return fold if fold.max() >= 2 else None  # one fold to leave out, one to choose settings on, one to learn from


def _can_learn(name: str, table: Mapping[str, Any], data: _Material) -> bool:
    """Return whether the samples to learn from have content that the classifier reads, of two classes or more."""
    has = make_classifier(name, table).present(data.batch)[data.train]
    return len(np.unique(data.labels[data.train][has])) > 1


def _fit_member(
    name: str, table: Mapping[str, Any], data: _Material, fold: Int64[np.ndarray, " samples"] | None
) -> tuple[Classifier, LogProbability]:
    """Return one classifier, and its log-probabilities of the left-out samples by fits without them.

    With inner folds it learns from all but two, chooses its settings on one of these, learns from that too, and answers the other.
    """
    score = make_score_function(data.config.choose_by)

    def fresh(train: np.ndarray, validation: np.ndarray) -> Classifier:
        return make_classifier(name, table).fit(
            data.batch, data.weighted(train), data.held(validation), score, seed=data.seed
        )

    everything = np.arange(len(data.labels))
    if fold is None:
        member = fresh(data.train, data.validation)
        out = member.log_probability(data.batch.take(data.validation))
        return (member.refit(data.batch, data.weighted(everything)) if data.config.refit else member), out
    out = np.zeros((len(everything), data.num_classes))
    fits: list[Classifier] = []
    count = int(fold.max()) + 1
    for number in range(count):
        asked, chosen_on = fold == number, fold == (number + 1) % count
        one = fresh(np.flatnonzero(~asked & ~chosen_on), np.flatnonzero(chosen_on))
        one = one.refit(data.batch, data.weighted(np.flatnonzero(~asked)))
        out[asked] = one.log_probability(data.batch.take(np.flatnonzero(asked)))
        fits.append(one)
    made = make_classifier(name, table)
    member = made.settle(fits) if made.refits_fully else fresh(data.train, data.validation)
    return member.refit(data.batch, data.weighted(everything if data.config.refit else data.train)), out


def default_classifiers(batch: ContentBatch) -> dict[str, dict[str, Any]]:
    """Return n-grams where there is text, and a linear classifier for each channel of frozen vectors."""
    tables: dict[str, dict[str, Any]] = {}
    if batch.catalog.text_columns:
        tables["ngrams"] = {"model": "ngrams"}
    tables |= {name: {"model": "linear", "channels": [name]} for name in batch.channels}
    return tables


def simple_tables(batch: ContentBatch, tables: ClassifierTables) -> dict[str, dict[str, Any]]:
    """Return the simple classifiers of each modality that `tables` does not hold already."""
    found: dict[str, dict[str, Any]] = {}
    if batch.catalog.text_columns:
        texts = [text for text in batch.texts[:2000] if text]
        is_chinese = sum(language(text) == "zh" for text in texts) > CHINESE_SHARE * max(1, len(texts))
        chars = {"chars": (1, 3) if is_chinese else (2, 5)}
        found = {
            message("word TF-IDF"): {"model": "ngrams", "kinds": ["word"]},
            message("character TF-IDF"): {"model": "ngrams", "kinds": ["char"], **chars},
            message("word and character TF-IDF"): {"model": "ngrams", **chars},
            message("word and character TF-IDF, SVM"): {
                "model": "ngrams",
                "loss": "squared_hinge",
                "strength": [0.1, 0.4, 1.6],
                **chars,
            },
        }
    linear = {
        tuple(table.get("channels") or [name]) for name, table in tables.items() if table.get("model") == "linear"
    }
    found |= {
        message("{name}, logistic regression", name=name): {"model": "linear", "channels": [name]}
        for name in batch.channels
        if (name,) not in linear
    }
    for modality in dict.fromkeys(one.modality for one in batch.channels.values()):
        together = [name for name, one in batch.channels.items() if one.modality == modality]
        if len(together) > 1 and tuple(together) not in linear:
            found[message("{name}, logistic regression", name=" + ".join(together))] = {
                "model": "linear",
                "channels": together,
            }
    return {name: table for name, table in found.items() if table not in [dict(known) for known in tables.values()]}


def fusion_tables(batch: ContentBatch, config: ClassifierFitConfig) -> dict[str, dict[str, Any]]:
    """Return a network over all frozen vectors for each kind of fusion but stacking; none with a single modality."""
    if len({e.modality for e in batch.channels.values()}) < 2:
        return {}
    branches = {name: {"channel": name} for name in batch.channels}
    return {
        kind: {"model": "network", "fusion": kind, "branches": branches} for kind in config.fusion if kind != STACKING
    }


def presence(batch: ContentBatch) -> Bool[np.ndarray, "samples modalities"]:
    """Return which modality each sample has."""
    modalities = sorted({e.modality for e in batch.channels.values()})
    columns = [
        np.any([e.present for e in batch.channels.values() if e.modality == modality], axis=0)
        for modality in modalities
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(batch), 0), bool)


def make_score_function(kind: str) -> ScoreFunction:
    """Return the function that scores log-probabilities on labels; higher is better."""

    def score_function(labels: Int64[np.ndarray, " samples"], found: LogProbability) -> float:
        if kind == "cross_entropy":
            return -cross_entropy(np.exp(found), labels)
        if kind == "auc":
            areas = [roc_auc_score(labels == k, found[:, k]) for k in np.unique(labels) if not (labels == k).all()]
            return float(np.mean(areas)) if areas else 0.0
        return score_answers(labels, found.argmax(axis=1), kind)

    return score_function


@dataclass(frozen=True)
class _PlannedRow:
    """A row: its members, how they are weighted, and how complex it is, 0 for the simple ones."""

    members: tuple[str, ...]
    weighting: Weighting
    complexity: int


@dataclass(frozen=True)
class _Plan:
    rows: Mapping[str, _PlannedRow]
    alone: tuple[str, ...]
    fused: tuple[str, ...]

    @property
    def simple(self) -> tuple[str, ...]:
        return tuple(name for name, row in self.rows.items() if row.complexity == 0)


def _plan(members: Mapping[str, Classifier], batch: ContentBatch, config: ClassifierFitConfig) -> _Plan:
    """Return the rows: each classifier, the average and the weighted sum of those of one modality, and of all."""
    by_modality: dict[str, list[str]] = {}
    several = []
    rows: dict[str, _PlannedRow] = {}
    for name, member in members.items():
        reads = member.modalities(batch)
        is_simple = isinstance(member, (NGramClassifier, LinearClassifier)) and len(reads) == 1
        rows[name] = _PlannedRow((name,), "one", 0 if is_simple else 3)
        if len(reads) == 1:
            by_modality.setdefault(reads[0], []).append(name)
        else:
            several.append(name)
    alone = []
    for modality, names in by_modality.items():
        if len(names) == 1:
            alone.append(names[0])
            continue
        row = message("{channels} alone", channels=channel_names([modality]))
        rows[row] = _PlannedRow(tuple(names), "fitted", 1)
        rows[message("average of {channels}", channels=channel_names([modality]))] = _PlannedRow(
            tuple(names), "even", 0
        )
        alone.append(row)
    fused = list(several)
    if len(by_modality) > 1 and STACKING in config.fusion:
        every = tuple(name for names in by_modality.values() for name in names)
        rows[AVERAGE] = _PlannedRow(every, "even", 0)
        rows[STACKING] = _PlannedRow(every, "fitted", 2)
        fused += [AVERAGE, STACKING]
    return _Plan(rows, tuple(alone), tuple(fused))


def _with_others(ours: str, plan: _Plan, rows: Mapping[str, CombinedClassifier]) -> CombinedClassifier | None:
    """Return a row with the members of the plain average at weight 0; None where there is no such average or nothing to add."""
    row = rows[ours]
    added = [
        name
        for name in (plan.rows[AVERAGE].members if AVERAGE in plan.rows else ())
        if name not in row.ensemble.members
    ]
    if not added or row.ensemble.weight.sum() == 0:
        return None
    ensemble = replace(
        row.ensemble,
        members=(*row.ensemble.members, *added),
        weight=np.concatenate([row.ensemble.weight, np.zeros(len(added))]),
    )
    return replace(row, ensemble=ensemble)


@dataclass(frozen=True)
class Choice:
    """The row that is taken, the score of every row on left-out samples, the simple rows by theirs, and why."""

    ours: str
    scores: Mapping[str, float]
    simple: tuple[str, ...]
    why: tuple[str, ...]


def choose_row(
    plan: _Plan, fitted: Mapping[str, FittedRow], left_out: LeftOut, choose_by: Metric, metric: Metric
) -> Choice:
    """Return the best simple row on left-out samples, or the simplest of the rows that are clearly better than it.

    A row is clearly better where the interval of its gain in `choose_by` lies above 0 and `metric` is no lower, or that of its gain in
    `metric` does. Of these, the simplest within one standard error of the best is taken.

    Source: Breiman et al., Classification and regression trees, 1984, section 3.4.3 (one standard error).
    """
    by, of = (
        {name: left_out.scores(row.probability, row.answers, kind) for name, row in fitted.items()}
        for kind in (choose_by, metric)
    )
    scores = {name: float(values[0]) for name, values in by.items()}

    def place(name: str) -> tuple[float, float, int]:
        reported, chosen = (float(np.nan_to_num(one[name][0], nan=-np.inf)) for one in (of, by))
        return (
            reported,
            chosen,
            len(plan.rows[name].members),
        )  # of equals the row that reads more, which serves more content

    simple = tuple(sorted(plan.simple or tuple(fitted), key=place, reverse=True))
    base = simple[0]
    clear = []
    for name in fitted:
        chosen, reported = left_out.gain(by[name], by[base]), left_out.gain(of[name], of[base])
        if name not in simple and ((chosen.is_clear and reported.mean >= 0) or reported.is_clear):
            clear.append(name)
    if not clear:
        why = message(
            "No other row is clearly better on left-out samples than the best simple one, {name}, so that one is taken.",
            name=base,
        )
        return Choice(base, scores, simple, (why,) if len(simple) < len(fitted) else ())
    best = max(clear, key=lambda name: scores[name])
    near = [name for name in clear if (gain := left_out.gain(by[best], by[name])).mean <= gain.error]
    ours = min([*near, best], key=lambda name: (plan.rows[name].complexity, -scores[name]))
    reported = left_out.gain(of[ours], of[base])
    gain, kind = (reported, metric) if reported.is_clear else (left_out.gain(by[ours], by[base]), choose_by)
    why = message(
        "{ours} is clearly better on left-out samples than the best simple row, {name}, in {metric}: {gain}, lower bound {low}.",
        ours=ours,
        name=base,
        metric=kind,
        gain=f"{gain.mean:+.4f}",
        low=f"{gain.low:+.4f}",
    )
    return Choice(ours, scores, simple, (why,))
