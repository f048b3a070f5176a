"""The flow of `task = "moderation"`: a category that a bundled detector knows, a threshold, and no training.

In: one TOML file, perhaps with a folder of pictures. Out: a classifier for `penchant predict`, and a page of what was held back, blurred.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.combined import Calibration, Combined, Decision, Stack
from penchant.classifiers.detected import Detected
from penchant.classifiers.inputs import Channel, Inputs
from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings, read_toml
from penchant.core.errors import ConfigError, DataError, MediaError, nearest
from penchant.core.logs import step
from penchant.data.media import MediaLimits, load_picture, resolve
from penchant.data.read.folders import MEDIA_ENDINGS
from penchant.data.read.tables import read_table
from penchant.encoders.catalog import ChannelConfig
from penchant.encoders.nudity import EXPOSED, LABELS, Nudity
from penchant.reporting.moderation_report import MOST, Screened, Screening, preview_address, write_screening

ALLOWED = "allowed"
DETECTOR = "nudity"
UNMEASURED = "No labelled data was at hand: neither the threshold nor the scores were measured or calibrated here. Try them on your own."


class ModerateConfig(Settings):
    """One moderation run: the whole TOML file."""

    task: Literal["moderation"] = "moderation"
    """What kind of run this is."""
    name: str = "nudity"
    """What the report is headed."""
    output: Path | None = None
    """Folder of the classifier; None is runs/NAME. Relative to where the command is given."""
    media: MediaLimits = MediaLimits()
    """What a media file may be."""
    category: str = "nudity"
    """What the class is called; the other is "allowed"."""
    labels: list[str] = Field(list(EXPOSED), min_length=1)
    """What counts, of the kinds the detector knows; FEMALE_BREAST_COVERED, BUTTOCKS_COVERED, ... make it stricter."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """Score from which on a picture is held back."""
    ask_from: float = Field(0.25, gt=0, lt=1)
    """Score from which on a person is asked: up to the threshold, and as far, in odds, above it."""
    path: Path | None = None
    """Pictures to judge now: a folder, or a table with a column of paths below its own folder."""
    column: str = "image"
    """That column."""

    @property
    def folder(self) -> Path:
        return self.output or Path("runs") / self.name


def read_config(path: Path) -> ModerateConfig:
    """Return the settings of a TOML file; pictures are looked for beside it.

    Raises:
        ConfigError: The file is missing, no TOML, holds a setting that does not exist, or one that contradicts another.
    """
    config = ModerateConfig.read(read_toml(path), where=path.name)
    if config.ask_from > config.threshold:
        raise ConfigError(
            f"A person would be asked from {config.ask_from} on only, above the threshold of {config.threshold}.",
            where=f"{path.name}: ask_from",
            fix="set it to the threshold (nobody is asked) or below",
        )
    return config if config.path is None else config.model_copy(update={"path": path.parent / config.path})


def run(config: ModerateConfig) -> TrainedClassifier:
    """Write the classifier, with a page of what it says of the pictures given.

    Raises:
        PenchantError: With what is wrong, where, and how to mend it.
    """
    Nudity().load()
    trained = fixed(config)
    with tempfile.TemporaryDirectory() as scratch:
        with step("judge"):
            write_screening(screen(trained, config, Path(scratch)), Path(scratch))
        return trained.save(config.folder, report=Path(scratch))


def fixed(config: ModerateConfig) -> TrainedClassifier:
    """Return a classifier that says what the detector says: no weight in it was learned here."""
    odds = config.threshold / (1 - config.threshold) * (1 - config.ask_from) / config.ask_from
    decision = Decision(np.array([config.threshold, 1 - config.threshold]), sure=odds / (1 + odds))
    settings = Detected.Config(channel=DETECTOR, labels=config.labels, least=min(0.2, config.ask_from))
    stack = Stack((DETECTOR,), np.ones(1), np.zeros(2), np.log([0.5, 0.5]))
    channels = {DETECTOR: Channel(ChannelConfig(encoder=DETECTOR, columns=["image"]), "image", len(LABELS))}
    return TrainedClassifier(
        (ALLOWED, config.category),
        {DETECTOR: Detected(settings, name=DETECTOR)},
        {DETECTOR: {"model": "detected", **settings.model_dump()}},
        Combined(stack, Calibration(), decision),
        Inputs(channels, (), {"image": "image"}, (), config.media),
        {
            "name": config.name,
            "task": config.task,
            "kind": "moderation",
            "row": DETECTOR,
            "settings": fingerprint(config),
            "notes": ["the score is the detector's own, not a calibrated probability"],
            "test": {},
            "versions": {package: version(package) for package in ("penchant", "nudenet", "onnxruntime")},
        },
    )


def screen(trained: TrainedClassifier, config: ModerateConfig, folder: Path) -> Screening:
    """Judge the pictures given, write judged.parquet into a folder, and return what the page shows.

    Raises:
        DataError: There are no pictures.
    """
    names, root = _pictures(config)
    found = trained.predict_table(pl.DataFrame({"image": names}), root=root, evidence=False) if names else []
    scores = [one.probabilities[config.category] for one in found]
    judged = {"image": names, "score": scores, "predicted": [one.label for one in found]}
    pl.DataFrame({**judged, "is_unsure": [one.is_unsure for one in found]}).write_parquet(folder / "judged.parquet")
    held: list[Screened] = []
    doubtful: list[Screened] = []
    for row in sorted(range(len(names)), key=lambda row: (-scores[row], names[row])):
        if found[row].is_unsure or found[row].label == config.category:
            part = doubtful if found[row].is_unsure else held
            part.append(_shown(names[row], root, scores[row], trained, config, full=len(part) < MOST))
    return Screening(config.name, config.category, len(names), tuple(held), tuple(doubtful), _how(config))


def _shown(
    name: str, root: Path, score: float, trained: TrainedClassifier, config: ModerateConfig, *, full: bool
) -> Screened:
    """Return one picture's row; evidence and preview only where the page has room for it."""
    try:
        path = resolve(root, name)
        picture = load_picture(path, config.media, max_side=512)
    except MediaError:
        return Screened(name, score, config.threshold, is_readable=False)
    if not full:
        return Screened(name, score, config.threshold)
    places = tuple((region.label, region.score) for region in trained.predict(image=path).regions[:3])
    return Screened(name, score, config.threshold, places=places, preview=preview_address(picture))


def _pictures(config: ModerateConfig) -> tuple[list[str], Path]:
    """Return paths below a folder; none where nothing shall be judged now."""
    if config.path is None:
        return [], Path()
    if config.path.is_dir():
        endings = MEDIA_ENDINGS["image"]
        files = sorted(file for file in config.path.rglob("*") if file.suffix.lower() in endings and file.is_file())
        names, root = [file.relative_to(config.path).as_posix() for file in files], config.path
    elif config.path.is_file():
        table = read_table(config.path).table
        if config.column not in table.columns:
            raise DataError(
                f"The table has no column {config.column!r}.",
                where=config.path.name,
                fix=f"set column; {nearest(config.column, table.columns)}",
            )
        names, root = table[config.column].cast(pl.String).drop_nulls().to_list(), config.path.parent
    else:
        names, root = [], config.path
    if not names:
        raise DataError("There are no pictures to judge.", where=str(config.path), fix="correct path, or leave it out")
    return names, root


def _how(config: ModerateConfig) -> tuple[str, ...]:
    labels = ", ".join(config.labels)
    return (
        f"NudeNet's detector looks for {labels}; the score is its surest sighting. Nothing was learned here.",
        f"Held back from {config.threshold:g} on. Near it, from {config.ask_from:g} on and as far above, a person is asked; so too where a "
        "picture cannot be opened.",
        UNMEASURED,
    )
