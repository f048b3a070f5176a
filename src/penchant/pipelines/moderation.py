"""The flow of `task = "moderation"`: a category of a bundled detector and a threshold, without training.

In: one TOML file, optionally with a folder of pictures. Out: a classifier for `penchant predict`, and a page of blocked pictures, blurred.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.combined import Calibration, ClassifierEnsemble, CombinedClassifier, DecisionRule
from penchant.classifiers.detected import DetectedConfig, DetectorClassifier
from penchant.classifiers.inputs import ClassifierInputs, FrozenChannel
from penchant.core.errors import ConfigError, DataError, MediaError, nearest
from penchant.core.logs import step
from penchant.core.messages import Translator, message
from penchant.data.media import load_image, resolve
from penchant.data.media.limits import MEDIA_ENDINGS
from penchant.data.read.tables import RawTable, as_raw, read_table
from penchant.encoders.catalog import ChannelConfig
from penchant.encoders.nudity import EXPOSED, LABELS, Nudity
from penchant.pipelines.frame import RunCheck, RunSettings, Task, facts_of, persist
from penchant.reporting.moderation_report import (
    MOST,
    ModerationResults,
    ScreenedImage,
    preview_address,
    write_screening,
)

ALLOWED = "allowed"
DETECTOR = "nudity"
UNMEASURED = message(
    "Neither the threshold nor the scores were measured or calibrated, for want of labelled data. Test them on your own data."
)


class ModerationConfig(RunSettings):
    """Settings of a moderation run: the whole TOML file."""

    task: Literal["moderation"] = "moderation"
    """Kind of run."""
    name: str = "nudity"
    """Name of the run, and title of its report."""
    category: str = "nudity"
    """Name of the class; the other is "allowed"."""
    labels: list[str] = Field(list(EXPOSED), min_length=1)
    """Labels of the detector that count; FEMALE_BREAST_COVERED, BUTTOCKS_COVERED, ... make it stricter."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """Score from which on a picture is blocked."""
    review_from: float = Field(0.25, gt=0, lt=1)
    """Score from which on a reviewer decides: up to the threshold, and as far, in odds, above it."""
    language: Literal["en", "zh"] = "en"
    """Of the report."""
    path: Path | None = None
    """Pictures to classify in this run: a folder, or a table with a column of paths below its own folder."""
    column: str = "image"
    """Name of that column."""

    @model_validator(mode="after")
    def _review_starts_below_the_threshold(self) -> Self:
        if self.review_from > self.threshold:
            raise ConfigError(
                f"review_from = {self.review_from} is above the threshold of {self.threshold}.",
                where="review_from",
                fix="set it to the threshold (no review) or below",
            )
        return self

    def below(self, home: Path) -> Self:
        return self if self.path is None else self.with_media_root(home / self.path)

    def with_media_root(self, folder: Path) -> Self:
        return self.model_copy(update={"path": folder})


def run(config: ModerationConfig, data: RawTable | None = None) -> TrainedClassifier:
    """Write the classifier, and a page of its predictions for the pictures given.

    Args:
        config: Every setting.
        data: Table in memory with a column of paths below `config.path`; None reads what is at that path.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it.
    """
    Nudity().load()
    trained = fixed(config)
    with step("classify"):
        screening, predictions = screen(trained, config, data)

    def write(folder: Path) -> None:
        predictions.write_parquet(folder / "predictions.parquet")
        write_screening(screening, folder, Translator(config.language))

    return persist(trained, config.folder, write)


def check(config: ModerationConfig) -> RunCheck:
    """Return that the settings are right: they are checked when they are read, and nothing is learned."""
    return RunCheck(
        [], [f"the labels {', '.join(config.labels)} count as {config.category!r} from {config.threshold:g} on"]
    )


TASK = Task(ModerationConfig, run, ("samples",), lambda _, samples: as_raw(samples, "samples"), check)


def fixed(config: ModerationConfig) -> TrainedClassifier:
    """Return a classifier with the scores of the detector; nothing is trained."""
    odds = config.threshold / (1 - config.threshold) * (1 - config.review_from) / config.review_from
    decision = DecisionRule(np.array([config.threshold, 1 - config.threshold]), confidence_threshold=odds / (1 + odds))
    settings = DetectedConfig(channel=DETECTOR, labels=config.labels, least=min(0.2, config.review_from))
    ensemble = ClassifierEnsemble((DETECTOR,), np.ones(1), np.zeros(2), np.log([0.5, 0.5]))
    channels = {DETECTOR: FrozenChannel(ChannelConfig(encoder=DETECTOR, columns=["image"]), "image", len(LABELS))}
    return TrainedClassifier(
        (ALLOWED, config.category),
        {DETECTOR: DetectorClassifier(settings, name=DETECTOR)},
        {DETECTOR: {"model": "detected", **settings.model_dump()}},
        CombinedClassifier(ensemble, Calibration(), decision),
        ClassifierInputs(channels, (), {"image": "image"}, (), config.media),
        {
            **facts_of(config, {package: version(package) for package in ("penchant", "nudenet", "onnxruntime")}),
            "task": config.task,
            "kind": "moderation",
            "row": DETECTOR,
            "notes": [message("the score is the detector's own, not a calibrated probability")],
            "test": {},
        },
    )


def screen(
    trained: TrainedClassifier, config: ModerationConfig, data: RawTable | None = None
) -> tuple[ModerationResults, pl.DataFrame]:
    """Classify the pictures given; return the content of the page, and the prediction for each picture.

    Raises:
        DataError: There are no pictures.
    """
    names, root = _pictures(config, data)
    found = trained.predict_table(pl.DataFrame({"image": names}), root=root, evidence=False) if names else []
    scores = [one.probabilities[config.category] for one in found]
    labels, unsure = [one.label for one in found], [one.is_unsure for one in found]
    predictions = pl.DataFrame({"image": names, "score": scores, "predicted": labels, "is_unsure": unsure})
    blocked: list[ScreenedImage] = []
    doubtful: list[ScreenedImage] = []
    for row in sorted(range(len(names)), key=lambda row: (-scores[row], names[row])):
        if found[row].is_unsure or found[row].label == config.category:
            part = doubtful if found[row].is_unsure else blocked
            part.append(_shown(names[row], root, scores[row], trained, config, full=len(part) < MOST))
    return ModerationResults(
        config.name, config.category, len(names), tuple(blocked), tuple(doubtful), _how(config)
    ), predictions


def _shown(
    name: str, root: Path, score: float, trained: TrainedClassifier, config: ModerationConfig, *, full: bool
) -> ScreenedImage:
    """Return one picture's entry; evidence and preview only where the page has room for it."""
    try:
        path = resolve(root, name)
        picture = load_image(path, config.media, max_side=512)
    except MediaError:
        return ScreenedImage(name, score, config.threshold, is_readable=False)
    if not full:
        return ScreenedImage(name, score, config.threshold)
    regions = tuple((region.label, region.score) for region in trained.predict(image=path).regions[:3])
    return ScreenedImage(name, score, config.threshold, regions=regions, preview=preview_address(picture))


def _pictures(config: ModerationConfig, data: RawTable | None) -> tuple[list[str], Path]:
    """Return paths and the folder they are below; none without pictures to classify."""
    path = config.path or Path()
    if data is not None:
        names, root = _named(data, config.column), path
    elif config.path is None:
        return [], path
    elif path.is_dir():
        endings = MEDIA_ENDINGS["image"]
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in endings and file.is_file())
        names, root = [file.relative_to(path).as_posix() for file in files], path
    else:
        names, root = _named(read_table(path), config.column) if path.is_file() else [], path.parent
    if not names:
        raise DataError("There are no pictures to classify.", where=str(path), fix="correct path, or leave it out")
    return names, root


def _named(raw: RawTable, column: str) -> list[str]:
    if column not in raw.table.columns:
        raise DataError(
            f"The table has no column {column!r}.",
            where=raw.name,
            fix=f"set column; {nearest(column, raw.table.columns)}",
        )
    return raw.table[column].cast(pl.String).drop_nulls().to_list()


def _how(config: ModerationConfig) -> tuple[str, ...]:
    return (
        message(
            "NudeNet's detector looks for {labels}; the score is that of its best detection. Nothing was trained.",
            labels=", ".join(config.labels),
        ),
        message(
            "Blocked from {threshold} on. Near it, from {review} on and as far above in odds, a reviewer decides; so too for a picture that cannot be opened.",
            threshold=f"{config.threshold:g}",
            review=f"{config.review_from:g}",
        ),
        UNMEASURED,
    )
