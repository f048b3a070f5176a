"""Recommendations and classification from interactions and content of any modality.

import penchant

recommender = penchant.run("shop.toml")
recommender = penchant.run(interactions=events, items=products, media_root="photos")
recommender = penchant.load("runs/shop")
recommender.recommend("user 42", k=10)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from penchant.compression.compress import Compression
    from penchant.core.logs import Progress
    from penchant.pipelines.frame import RunCheck, RunSettings
    from penchant.pipelines.recommendation import Prepared
    from penchant.pipelines.steps import compare, measure, split

    __version__: str

__all__ = ["check", "compare", "compress", "load", "measure", "prepare", "run", "split"]

_STEPS = ("compare", "measure", "split")
"""Functions of pipelines/steps.py, imported only when used."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("penchant")
    if name in _STEPS:
        from penchant.pipelines import steps

        return getattr(steps, name)
    raise AttributeError(f"module 'penchant' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_STEPS, "__version__"])


def load(folder: str | Path) -> Any:
    """Return the result in a folder that `run` wrote: a recommender, or the classifier of a labelled or moderation task.

    Raises:
        ArtifactError: It is missing, half-written, altered, or something else.
    """
    from penchant.core.artifacts import read_manifest
    from penchant.core.errors import ArtifactError

    folder = Path(folder)
    kind = read_manifest(folder, kind="recommender or classifier").get("kind")
    if kind == "bundle":
        from penchant.recommender.recommender import Recommender

        return Recommender.load(folder)
    if kind == "classifier":
        from penchant.classifiers.bundle import TrainedClassifier

        return TrainedClassifier.load(folder)
    raise ArtifactError(
        f"This is a {kind}, neither a recommender nor a classifier.",
        where=str(folder),
        fix="give the folder that `penchant run` wrote",
    )


def run(
    config: str | Path | RunSettings | None = None,
    *,
    interactions: Any = None,
    items: Any = None,
    users: Any = None,
    samples: Any = None,
    media_root: str | Path | None = None,
    progress: Callable[[Progress], object] | bool = False,
    **settings: Any,
) -> Any:
    """Run the flow of one task and return the recommender or classifier; `.report` is its report.

    Args:
        config: A TOML file, or a settings object of any task; None takes `settings` alone.
        interactions: Events of a recommendation task in memory: a pandas, Polars or Arrow table, in place of a file.
        items: Its items; None takes the items of the events.
        users: Its users.
        samples: Labelled samples in memory, or for moderation a table with a column of image paths.
        media_root: Folder that the media paths in these tables start from; None is the working directory, or `data.path` of a TOML file.
        progress: Called with each `core.logs.Progress` (title, done, total, seconds) of the steps; an exception it raises ends the run. True
            prints the lines that the command line prints.
        settings: Top-level settings by name, as in a TOML file (`task`, `name`, `data`, `content`, ...); they replace those of `config`.

    Returns:
        A recommender; for a labelled or moderation task a classifier, or a list of them where `evaluation.within` asks for several.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it.
    """
    from penchant.pipelines import tasks

    tables = {"interactions": interactions, "items": items, "users": users, "samples": samples}
    return tasks.run(config, tables=tables, media_root=media_root, progress=progress, **settings)


def prepare(
    config: str | Path | RunSettings | None = None,
    *,
    interactions: Any = None,
    items: Any = None,
    users: Any = None,
    media_root: str | Path | None = None,
    progress: Callable[[Progress], object] | bool = False,
    **settings: Any,
) -> Prepared:
    """Return the data of a recommendation task, clean, divided and encoded: the first half of `run`, with the same arguments.

    `compare` ranks models on it. By hand: `model.fit(data.validation.train, data.content)`, then
    `model.recommend(data.validation.histories, k=10)`; the truth is `data.validation.truth`.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it.
    """
    from penchant.pipelines import tasks

    tables = {"interactions": interactions, "items": items, "users": users}
    return tasks.prepare(config, tables=tables, media_root=media_root, progress=progress, **settings)


def check(config: str | Path | RunSettings) -> RunCheck:
    """Return everything that would stop a run, and what it will cost, before it starts.

    Raises:
        PenchantError: The settings or the data cannot be read.
    """
    from penchant.pipelines import tasks

    return tasks.check(config)


def compress(bundle: Any, output: str | Path, **settings: Any) -> Compression:
    """Write a smaller bundle of a recommender, the best of many measured ways within a budget; `.recommender` is it, `.results` what was measured.

    Args:
        bundle: A recommender, or its folder.
        output: Folder of the smaller bundle.
        settings: `memory_mb`, `latency_ms`, `max_loss` and others of `penchant.compression.compress.CompressConfig`.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it; a budget that no point meets names the nearest.
    """
    from penchant.compression.compress import compress as write_smaller

    return write_smaller(bundle, output, **settings)
