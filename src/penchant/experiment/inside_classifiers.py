"""The inside of a classifier for its report: training curves, maps of the samples, heat over some samples of the test.

In: the report as measured, the fitted classifiers, the classifier of the bundle. Out: the report with these parts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.classifier import ContentBatch
from penchant.core.errors import PenchantError
from penchant.core.logs import logger
from penchant.core.schema import Samples, SampleSplit
from penchant.experiment.fit_classifiers import FittedClassifiers
from penchant.experiment.inside import CHECK, VERSIONS, training_curves
from penchant.explanation.embedding_maps import embedding_map
from penchant.explanation.heat_of_classifier import DRAWN, classifier_heat
from penchant.reporting.inside import ReportConfig, ShownHeat
from penchant.reporting.report import ReportData


def look_inside(
    report: ReportData,
    fitted: FittedClassifiers,
    trained: TrainedClassifier,
    samples: Samples,
    batch: ContentBatch,
    parts: SampleSplit,
    config: ReportConfig,
) -> ReportData:
    """Return the report with what is inside of its models.

    Args:
        report: As measured.
        fitted: Every classifier, with the curve of its training.
        trained: That of the bundle.
        samples: With their labels, which colour the maps.
        batch: Their encoded content.
        parts: Samples of the test are shown.
        config: What is shown, and its cost.
    """
    labels = samples.table["label"].to_list()
    maps = [embedding_map(n, e.values, e.usable, labels, config) for n, e in batch.channels.items()]
    return replace(
        report,
        training=training_curves(fitted.members),
        maps=tuple(found for found in maps if found is not None),
        heats=tuple(_heats(trained, samples, parts, config)) if config.heat else (),
    )


def _heats(
    trained: TrainedClassifier, samples: Samples, parts: SampleSplit, config: ReportConfig
) -> Iterator[ShownHeat]:
    """Yield the heat over samples of the test, one of each class in turn, as long as there is time for it."""
    labels, shown, began = samples.labels()[parts.test], 0, time.perf_counter()
    order = np.argsort([int(np.sum(labels[:place] == label)) for place, label in enumerate(labels)], kind="stable")
    for row in parts.test[order]:
        if shown == config.heat:
            return
        given = _content(trained, samples, int(row))
        if given is None:
            continue
        try:
            trained.predict(evidence=False, **given)  # loads what only the first does
            once = time.perf_counter()
            answer = trained.predict(evidence=False, **given)
            now = time.perf_counter()
            versions = sum(VERSIONS.get(name, CHECK + len(str(value).split())) for name, value in given.items())
            if versions * (now - once) > config.heat_seconds - (now - began):
                logger.info(
                    "  heat over a sample is left out: it would take about %.0f s of report.heat_seconds = %g",
                    versions * (now - once),
                    config.heat_seconds,
                )
                return
            found = classifier_heat(trained, label=answer.label, **given)
        except PenchantError as error:  # the report does without
            logger.info("  heat over a sample is left out: %s", str(error).splitlines()[0])
            continue
        shown += 1
        yield from (ShownHeat(answer.label, heat) for heat in found)


def _content(trained: TrainedClassifier, samples: Samples, row: int) -> dict[str, Any] | None:
    """Return a sample's content as `predict` takes it; None where nothing of it has heat."""
    values: Mapping[str, Any] = samples.table.row(row, named=True)
    given: dict[str, Any] = {
        name: values[name] for name in trained.inputs.attribute_columns if values[name] is not None
    }
    for modality, column in trained.inputs.media_columns.items():
        if values.get(column) and samples.media_root is not None:
            given[modality] = Path(samples.media_root) / values[column]
    if len(trained.inputs.text_columns) == 1 and values[trained.inputs.text_columns[0]]:
        given["text"] = values[trained.inputs.text_columns[0]]
    return given if {"text", *DRAWN} & set(given) else None
