"""What every run shares, whatever its task: where data is looked for, what stops it, and how long each step took.

In: settings and data of any task. Out: settings with resolved paths, checked data, the times of the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from penchant.core.environment import peak_bytes
from penchant.core.errors import DataError
from penchant.core.logs import step
from penchant.core.schema import Dataset, Samples
from penchant.reporting.report import Stage as Timed

Checked = TypeVar("Checked", Dataset, Samples)


def beside(config: Any, home: Path) -> Any:
    """Return the settings of a run, of either task, whose data and vectors are looked for in a folder."""
    content = config.content
    if content is not None:
        content = {
            name: channel.model_copy(update={"path": home / channel.path}) if channel.path else channel
            for name, channel in content.items()
        }
    data = config.data.model_copy(update={"path": home / config.data.path})
    return config.model_copy(update={"data": data, "content": content})


def stop_on_errors(dataset: Checked) -> Checked:
    """Raise the first finding that forbids going on."""
    for finding in dataset.findings:
        if finding.severity == "error":
            raise DataError(
                f"{finding.check}: {finding.count:,} of {finding.total:,}.",
                where="; ".join(finding.examples[:3]) or "the data",
                fix=finding.advice or "look at `penchant doctor`",
            )
    return dataset


class Clock:
    """Times the steps of a run for its report."""

    def __init__(self) -> None:
        self.stages: list[Timed] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = perf_counter()
        with step(name):
            yield
        self.stages.append(Timed(name, perf_counter() - began, peak_bytes()))
