"""A labelled task over several draws of its split: `python benchmarks/labelled.py configs/memes.toml --seeds 0 1 2`.

In: the settings of a labelled task. Out, one JSON line: the row that was taken in each draw, its scores, the paired difference to the best simple
row on validation and to each modality alone (95 % interval over independent units, which are drawn with all their answers), calibration error, what
doubt promised and kept, and what thresholds did on folds that took no part in their choice. `--folds 0 --seeds $(seq 0 19)` draws 20 test parts instead.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from time import process_time

import numpy as np

from penchant.classifiers.classifier import ContentBatch
from penchant.core.schema import Samples
from penchant.core.seeds import generator
from penchant.data.clean.samples import clean_samples
from penchant.data.read.samples import read_samples
from penchant.data.split.samples import sample_units, split_samples
from penchant.experiment.evaluate_classifiers import BEST_SIMPLE, OURS, answers_on_test
from penchant.experiment.fit_classifiers import default_classifiers, fit
from penchant.experiment.promises import calibration_error
from penchant.metrics.classification import UnitScores
from penchant.metrics.classification_results import ClassifierAnswers
from penchant.metrics.intervals import draw_counts
from penchant.pipelines.classification import ClassificationConfig, encode, split_by_value

DRAWS = 1000
Drawn = dict[str, list[np.ndarray]]
"""Row to its scores in each draw of the split: first as measured, then under draws of units."""


def measure(config: ClassificationConfig, samples: Samples, batch: ContentBatch, seeds: Sequence[int]) -> dict:
    """Return the results of one task over all seeds."""
    unit, labels, metric = sample_units(samples), samples.labels(), config.evaluation.metric
    num_units, num_classes = int(unit.max()) + 1, len(samples.classes)
    drawn = draw_counts(generator(0, "benchmark.labelled"), DRAWS, num_units)
    counts = np.concatenate([np.ones((1, num_units)), drawn])
    tables = default_classifiers(batch) if config.classifiers is None else config.classifiers
    scores: Drawn = {}
    found: dict[str, list] = {
        key: [] for key in ("taken", "accuracy", "error", "kept", "with_thresholds", "without", "held_error")
    }
    began = process_time()
    for seed in seeds:
        parts = split_samples(samples, config.split, seed)
        fitted = fit(
            tables, batch, labels, samples.classes, parts, config.fit, seed=seed, unit=unit, metric=metric
        )  # fmt: skip
        split = config.split.model_copy(update={"repeats": 1})
        answers, rows, folds, _ = answers_on_test(
            samples, batch, tables, fitted, parts, split, config.fit, seed, metric
        )
        fold = np.zeros((1, len(rows)), np.int64) if folds is None else folds

        def of(said: ClassifierAnswers, rows: np.ndarray = rows, fold: np.ndarray = fold) -> np.ndarray:
            shown = list(range(num_classes)) if metric == "auc" else []
            each = UnitScores(said, labels[rows], unit[rows], fold, num_classes, shown)
            used = counts[:, : int(unit[rows].max()) + 1]
            return np.asarray(each.scores(used, with_auc=metric == "auc")[metric])

        ours = answers[OURS]
        for name, said in answers.items():
            if name in (OURS, BEST_SIMPLE) or said.role in ("alone", "fused"):
                scores.setdefault(name, []).append(of(said))
        truth = labels[rows]
        found["taken"].append(str(fitted.ours))
        found["accuracy"].append(float((ours.answer[0] == truth).mean()))
        found["error"].append(calibration_error(ours.probability[0], truth))
        if ours.plausible is not None:
            found["kept"].append(float(ours.plausible[0][np.arange(len(rows)), truth].mean()))
        if fitted.held is not None:
            found["with_thresholds"].append(fitted.held.with_thresholds)
            found["without"].append(fitted.held.without)
            found["held_error"].append(fitted.held.calibration_error)
    ours_mean = np.mean(scores[OURS], axis=0)
    result = {
        "name": config.name,
        "samples": len(samples),
        "seeds": list(seeds),
        "metric": metric,
        "ours": interval(ours_mean),
        "by_seed": [round(float(one[0]), 4) for one in scores[OURS]],
        "rows": {name: round(float(np.mean([one[0] for one in each])), 4) for name, each in scores.items()},
        "against": {
            name: interval(ours_mean - np.mean(each, axis=0))
            for name, each in scores.items()
            if name != OURS and len(each) == len(seeds)
        },
        "cpu_seconds": round(process_time() - began),
    }
    return {
        **result,
        **{key: [one if isinstance(one, str) else round(one, 4) for one in v] for key, v in found.items()},
    }


def interval(draws: np.ndarray) -> list[float]:
    """Return the measured value and the ends of its 95 % interval."""
    return [round(float(one), 4) for one in (draws[0], *np.nanquantile(draws[1:], (0.025, 0.975)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folds", type=int, help="instead of split.folds")
    parser.add_argument("--cache", type=Path, help="folder of vectors")
    parser.add_argument("--without", nargs="*", default=[], help="channels and classifiers left out")
    asked = parser.parse_args()
    config = ClassificationConfig.from_toml(asked.config)
    if asked.folds is not None:
        config = config.model_copy(update={"split": config.split.model_copy(update={"folds": asked.folds})})
    if asked.cache is not None:
        config = config.model_copy(update={"cache": asked.cache})
    for part in ("content", "classifiers"):
        kept = {name: one for name, one in (getattr(config, part) or {}).items() if name not in asked.without}
        if getattr(config, part) is not None:
            config = config.model_copy(update={part: kept})
    samples = read_samples(config.data)
    pictures = config.inspected_pictures(samples.media_columns)
    samples = clean_samples(samples, config.clean, config.media, cache=config.cache / "media", pictures=pictures)
    samples, batch, _ = encode(samples, config)
    place = {key: row for row, key in enumerate(samples.sample_ids)}
    for own, part in split_by_value(samples, config):
        rows = np.array([place[key] for key in part.sample_ids], np.int64)
        print(json.dumps(measure(own, part, batch.take(rows), asked.seeds), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
