"""Log lines and progress bars of a run.

In: steps and their progress. Out: lines and bars on stderr; stdout is reserved for answers such as `--json`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from rich import progress as bars
from rich.console import Console
from rich.logging import RichHandler

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """How far one step of a run is.

    Attributes:
        title: The step, such as "encode" or "fit", or a part of it, such as the channel that is encoded.
        done: Parts done.
        total: All parts; a step that is not counted has one.
        seconds: Since the step began.
    """

    title: str
    done: int
    total: int
    seconds: float


_LISTENER: ContextVar[Callable[[Progress], object] | None] = ContextVar("progress_listener", default=None)
LINE_SECONDS = 10.0
"""Seconds between two lines of progress where there is no terminal for a bar."""

NOISY = ("torchao", "torch.utils._pytree")
"""Loggers that warn of parts for other graphics cards, and of what will change in torch, whenever a sentence model is loaded."""
console = Console(stderr=True, highlight=False)
logger = logging.getLogger("penchant")


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours, as precise as an estimate."""
    return (
        f"{max(seconds, 1):.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


class KeptLines(logging.Handler):
    """Keeps the lines of a part of a run that is computed in another process, for the log of the run."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.levelno, record.getMessage()))


def show_logs(level: int = logging.INFO) -> None:
    """Send Penchant's log lines to the terminal, and no bars or warnings of other libraries beside them; called by the command line."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # "Loading weights: 100%" of every model; read when tqdm is imported
    logger.handlers[:] = [RichHandler(console=console, show_path=False, show_level=level < logging.INFO, markup=False)]
    logger.setLevel(level)
    logger.propagate = False
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def listening(listener: Callable[[Progress], object] | None) -> Iterator[None]:
    """Call a function with each `Progress` of the steps in this context; an exception it raises ends the run. None calls nothing."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def _tell(title: str, done: int, total: int, began: float) -> None:
    listener = _LISTENER.get()
    if listener is not None:
        listener(Progress(title, done, total, time.perf_counter() - began))


@contextmanager
def step(title: str) -> Iterator[None]:
    """Log the title of a step when it starts and its seconds when it ends."""
    logger.info("%s ...", title)
    began = time.perf_counter()
    _tell(title, 0, 1, began)
    yield
    _tell(title, 1, 1, began)
    logger.info("%s: %.1f s", title, time.perf_counter() - began)


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[ProgressBar]:
    """Show a progress bar; `advance(n)` moves it. Without a terminal, a line every `LINE_SECONDS`. Silent unless logs are shown."""
    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (logger.handlers and console.is_terminal),
    ) as progress:
        yield ProgressBar(progress, title, total)


class ProgressBar:
    """One progress bar."""

    def __init__(self, progress: bars.Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)
        self._title, self._total, self._done = title, total, 0
        self._began = time.perf_counter()
        self._said_at = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Advance the bar by `count`."""
        self._progress.advance(self._task, count)
        self._done += count
        _tell(self._title, self._done, self._total, self._began)
        now = time.monotonic()
        if now - self._said_at >= LINE_SECONDS and not console.is_terminal:
            self._said_at = now
            left = (time.perf_counter() - self._began) * (self._total - self._done) / max(self._done, 1)
            shown = f"{self._done:,} of {self._total:,}, about {duration(left)} left"
            logger.info("  %s: %s", self._title, shown)


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yield items with a progress bar."""
    with progress_bar(title, total) as bar:
        for item in items:
            yield item
            bar.advance()
