"""What the flow of every task shares: its settings, its clock, its checks, and how its result is written.

In: settings and data of any task. Out: settings with resolved paths, checked data, the times of the steps, a folder with result and report.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, Self, TypeVar

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings, read_toml
from penchant.core.environment import peak_bytes
from penchant.core.errors import ConfigError, DataError, PenchantError, nearest
from penchant.core.executor import ExecutorName, RayConfig, current_executor
from penchant.core.logs import duration, step
from penchant.core.messages import message
from penchant.core.schema import Dataset, Samples
from penchant.data.clean.dataset import CleanConfig
from penchant.data.media import MediaLimits
from penchant.data.read.samples import SamplesConfig
from penchant.data.read.sources import DataConfig
from penchant.encoders.catalog import ChannelConfig, EncodingEstimate
from penchant.encoders.inspected_pictures import InspectedPictures
from penchant.encoders.ocr import OcrConfig
from penchant.reporting.report import StepTime

Checked = TypeVar("Checked", Dataset, Samples)


class RunSettings(Settings):
    """Settings of a run of any task."""

    name: str = "run"
    """Name of the run, and title of its report."""
    output: Path | None = None
    """Folder of the result; None is runs/NAME. Relative to the working directory."""
    media: MediaLimits = MediaLimits()
    """Limits of a media file."""
    executor: ExecutorName = "local"
    """Where independent parts of the run are computed: "local" is this process, "ray" the nodes of a Ray cluster (`pip install 'penchant[ray]'`)."""
    ray: RayConfig = RayConfig()
    """Address, storage and limits of executor = "ray"."""

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Return the settings of a TOML file; relative paths of inputs start at its folder.

        Raises:
            ConfigError: The file is missing, is not TOML, or holds a setting that does not exist or contradicts another.
        """
        return cls.read(read_toml(path), where=path.name).below(path.parent)

    @property
    def folder(self) -> Path:
        """Folder of the result."""
        return self.output or Path("runs") / self.name

    def below(self, home: Path) -> Self:
        """Return the settings with relative paths of inputs taken from a folder."""
        return self

    def with_media_root(self, folder: Path) -> Self:
        """Return the settings with the media of tables in memory looked for in a folder."""
        raise NotImplementedError


class LearningSettings(RunSettings):
    """Settings of a run that learns from data."""

    seed: int = 0
    """Seed of splits, draws, ties and networks; equal seeds give equal numbers."""
    cache: Path = Path("runs/cache")
    """Folder of vectors, inspected media and other results that are computed once. Relative to the working directory."""
    data: DataConfig | SamplesConfig
    """Where the data is."""
    clean: CleanConfig = CleanConfig()
    """What is repaired or dropped."""
    ocr: OcrConfig | None = None
    """Read the text that is printed in images, as one more text column; None does not read it."""
    content: dict[str, ChannelConfig] | None = None
    """Channels by name; None encodes every modality found, with encoders that need no download; an empty table encodes none."""

    def below(self, home: Path) -> Self:
        content = self.content and {
            name: channel.model_copy(update={"path": home / channel.path}) if channel.path else channel
            for name, channel in self.content.items()
        }
        return self.with_media_root(home / self.data.path).model_copy(update={"content": content})

    def with_media_root(self, folder: Path) -> Self:
        return self.model_copy(update={"data": self.data.model_copy(update={"path": folder})})

    def inspected_pictures(self, media_columns: Mapping[str, str]) -> InspectedPictures:
        """Return the pictures that cleaning decodes, so that encoding need not decode them again; none where nodes decode them."""
        image = media_columns.get("image") if current_executor().is_local else None
        return InspectedPictures(self.content, image, cache=self.cache / "vectors", limits=self.media)


@dataclass(frozen=True)
class Task:
    """One entry of the table of tasks (tasks.py).

    Attributes:
        settings: Class of the TOML file.
        run: The flow: settings, and data where it is in memory, to the trained object, or a list of several.
        tables: Names of the tables it takes from memory, the required one first.
        bind: Settings and those tables to the data that `run` takes.
        check: Settings to what is wrong with a run and what it will cost, before it starts.
    """

    settings: type[RunSettings]
    run: Callable[..., Any]
    tables: tuple[str, ...]
    bind: Callable[..., Any]
    check: Callable[..., RunCheck]


@dataclass(frozen=True)
class RunCheck:
    """What can be said of a run before it starts.

    Attributes:
        problems: What would stop it.
        lines: What it reads, and what it will cost.
    """

    problems: list[PenchantError]
    lines: list[str]


def gather(checks: Iterable[Callable[[], object]]) -> list[PenchantError]:
    """Make every check and return what is wrong."""
    problems = []
    for check in checks:
        try:
            check()
        except PenchantError as error:
            problems.append(error)
    return problems


def encoding_lines(found: Iterable[EncodingEstimate]) -> list[str]:
    """Return one line for each channel: items, those not encoded yet, and the time they will take."""
    return [
        message(
            "encode {channel} ({encoder}): {items} items, {rest}",
            channel=e.channel,
            encoder=e.encoder,
            items=f"{e.items:,}",
            rest=message("{count} to encode, about {time}", count=f"{e.missing:,}", time=duration(e.seconds))
            if e.missing
            else message("all in the cache"),
        )
        for e in found
    ]


def stop_on_errors(dataset: Checked) -> Checked:
    """Raise the first finding that is an error."""
    for finding in dataset.findings:
        if finding.severity == "error":
            raise DataError(
                f"{finding.check}: {finding.count:,} of {finding.total:,}.",
                where="; ".join(finding.examples[:3]) or "the data",
                fix=finding.advice or "run `penchant doctor`",
            )
    return dataset


def check_known(noun: str, names: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Raise for the first name of a setting that the data does not have.

    Raises:
        ConfigError: With the nearest known name.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"There is no {noun} {name!r}.",
                where=where,
                fix=nearest(name, known) if known else f"there is no {noun} in this data; leave the setting out",
            )


def check_channels(tables: Mapping[str, Mapping[str, Any]], channels: Iterable[str], *, where: str) -> None:
    """Raise where a member or classifier names a content channel that does not exist.

    Args:
        tables: Name to settings, as in [members] or [classifiers]; `channel`, `channels` and `branches` are checked.
        channels: Known names.
        where: "members" or "classifiers".

    Raises:
        ConfigError: With the nearest known channel.
    """
    channels = list(channels)
    for owner, table in tables.items():
        for setting in ("channel", "channels"):
            value = table.get(setting)
            names = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
            check_known("content channel", names, channels, where=f"{where}.{owner}.{setting}")
        branches = table.get("branches")
        if isinstance(branches, Mapping):
            check_channels(branches, channels, where=f"{where}.{owner}.branches")


def facts_of(config: RunSettings, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts of a run for the manifest of its result."""
    result = config.model_copy(
        update={"executor": "local", "ray": RayConfig()}
    )  # where it was computed changes no result
    return {"name": config.name, "settings": fingerprint(result), "versions": dict(versions)}


class Saved(Protocol):
    """A result that can be saved with its report."""

    def save(self, folder: Path, *, report: Path | None = None) -> Self: ...


Result = TypeVar("Result", bound=Saved)


def persist(trained: Result, folder: Path, write_report: Callable[[Path], object]) -> Result:
    """Write a result and its report as one artifact, and return the result as loaded from it.

    Args:
        trained: A recommender or classifier.
        folder: Where; an artifact already there is replaced.
        write_report: Fills a folder with the report.

    Raises:
        ArtifactError: The disk is full or the folder holds something else.
    """
    with step("write"), tempfile.TemporaryDirectory() as scratch:
        write_report(Path(scratch))
        return trained.save(folder, report=Path(scratch))


class StepTimer:
    """Times the steps of a run for its report."""

    def __init__(self) -> None:
        self.stages: list[StepTime] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = perf_counter()
        with step(name):
            yield
        self.stages.append(StepTime(name, perf_counter() - began, peak_bytes()))
