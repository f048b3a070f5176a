"""One entrance for every task: settings from a TOML file, an object or keywords, data from files or tables in memory.

In: a path or settings, optionally tables. Out: the trained recommender or classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penchant.core.artifacts import reserved
from penchant.core.config import read_toml
from penchant.core.errors import ArtifactError, ConfigError, PenchantError, import_optional, nearest
from penchant.core.executor import computing
from penchant.core.logs import Progress, listening, show_logs
from penchant.pipelines.frame import RunCheck, RunSettings, Task, gather

if TYPE_CHECKING:
    from penchant.pipelines.recommendation import Prepared

TASKS = {
    "recommendation": "penchant.pipelines.recommendation",
    "classification": "penchant.pipelines.classification",
    "moderation": "penchant.pipelines.moderation",
}
"""Name to the module that holds its `TASK`; imported only when used."""
DEFAULT_TASK = "recommendation"


def find_task(name: str, where: str = "task") -> Task:
    """Return one entry of the table.

    Raises:
        ConfigError: There is no such task.
    """
    if name not in TASKS:
        raise ConfigError(f"There is no task {name!r}.", where=where, fix=nearest(str(name), TASKS))
    task: Task = import_module(TASKS[name]).TASK
    return task


def read_settings(config: str | Path | RunSettings | None, changes: Mapping[str, Any] | None = None) -> RunSettings:
    """Return the settings of a run of any task.

    Args:
        config: A TOML file, or settings of any task; None takes `changes` alone.
        changes: Top-level settings that replace those of `config`; paths in them are relative to the working directory.

    Raises:
        ConfigError: The file is missing, is not TOML, or a task or setting does not exist or contradicts another.
    """
    changes = dict(changes or {})
    if isinstance(config, RunSettings):
        if not changes:
            return config
        return type(config).read({**_explicit(config), **changes}, where="the settings")
    if config is None:
        return find_task(changes.get("task", DEFAULT_TASK)).settings.read(changes, where="the settings")
    path = Path(config)
    task = find_task(read_toml(path).get("task", DEFAULT_TASK), f"{path.name}: task")
    return read_settings(task.settings.from_toml(path), changes)


def run(
    config: str | Path | RunSettings | None = None,
    *,
    tables: Mapping[str, Any] | None = None,
    media_root: str | Path | None = None,
    progress: Callable[[Progress], object] | bool = False,
    **settings: Any,
) -> Any:
    """Run the flow of one task.

    Args:
        config: A TOML file, or settings of any task; None takes `settings` alone.
        tables: Names of `Task.tables` to pandas, Polars or Arrow tables; they take the place of files.
        media_root: Folder that the paths of media in `tables` start from; None takes that of the settings.
        progress: Called with each `Progress`; True prints the lines that the command line prints.
        settings: Top-level settings; they replace those of `config`.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it.
    """
    checked, data = _given(config, tables, media_root, settings)
    with _shown(progress):
        return run_task(checked, *data)


def prepare(
    config: str | Path | RunSettings | None = None,
    *,
    tables: Mapping[str, Any] | None = None,
    media_root: str | Path | None = None,
    progress: Callable[[Progress], object] | bool = False,
    **settings: Any,
) -> Prepared:
    """Return the data of a recommendation task, clean, divided and encoded; arguments as in `run`.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it.
    """
    from penchant.pipelines import recommendation
    from penchant.pipelines.recommendation_settings import RecommendationConfig

    checked, data = _given(config, tables, media_root, settings)
    if not isinstance(checked, RecommendationConfig):
        raise ConfigError(
            "Only a recommendation task can be prepared by itself.", where="prepare()", fix="call penchant.run"
        )
    with _shown(progress), computing(checked.executor, checked.ray):
        return recommendation.prepare(checked, *data)


def _given(
    config: str | Path | RunSettings | None,
    tables: Mapping[str, Any] | None,
    media_root: str | Path | None,
    settings: Mapping[str, Any],
) -> tuple[RunSettings, tuple[Any, ...]]:
    """Return checked settings, and the data of the task where it is in memory."""
    given = {name: table for name, table in (tables or {}).items() if table is not None}
    if config is None and not settings and not given:
        raise ConfigError(
            "There is nothing to run.",
            where="run()",
            fix="give the path of a TOML file, settings, or a table of events",
        )
    if config is None and "task" not in settings and "samples" in given:
        raise ConfigError(
            "Samples are given and no task.",
            where="run(samples=...)",
            fix='add task = "classification" or "moderation"',
        )
    checked = read_settings(config, settings)
    if media_root is not None:
        checked = checked.with_media_root(Path(media_root))
    name = getattr(checked, "task", DEFAULT_TASK)
    task = find_task(name)
    if not given:
        return checked, ()
    wrong = [table for table in given if table not in task.tables]
    if wrong or task.tables[0] not in given:
        what = f"takes no table {wrong[0]!r}" if wrong else f"needs the table {task.tables[0]!r}"
        raise ConfigError(f"The task {name!r} {what}.", where="run()", fix=f"it takes {', '.join(task.tables)}")
    return checked, (task.bind(checked, **given),)


@contextmanager
def _shown(progress: Callable[[Progress], object] | bool) -> Iterator[None]:
    """Show or pass on how far a run is."""
    if progress is True:
        show_logs()
    with listening(progress if callable(progress) else None):
        yield


def run_task(config: RunSettings, *data: Any, **options: Any) -> Any:
    """Run the flow of checked settings, with the folder of the result held while it runs.

    Raises:
        ArtifactError: The folder cannot be written, or another run holds it.
    """
    with reserved(config.folder), computing(config.executor, config.ray):
        return _single(find_task(getattr(config, "task", DEFAULT_TASK)).run(config, *data, **options))


def check(config: str | Path | RunSettings) -> RunCheck:
    """Return everything that would stop a run, and what it will cost, before it starts.

    Raises:
        PenchantError: The settings or the data cannot be read.
    """
    checked = read_settings(config)
    problems: list[PenchantError] = []
    try:
        with reserved(checked.folder):
            pass
    except ArtifactError as error:
        problems.append(error)
    if checked.executor == "ray":
        problems += gather([partial(import_optional, "ray", "ray")])
    found = find_task(getattr(checked, "task", DEFAULT_TASK)).check(checked)
    return RunCheck([*problems, *found.problems], found.lines)


def _explicit(config: RunSettings) -> dict[str, Any]:
    """Return the settings that were set explicitly, nested ones unchanged."""
    return {name: getattr(config, name) for name in type(config).model_fields if name in config.model_fields_set}


def _single(found: Any) -> Any:
    """Return the one result; a list where there are several."""
    return found[0] if isinstance(found, list) and len(found) == 1 else found
