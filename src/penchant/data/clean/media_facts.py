"""What can be seen of a media file without learning anything: measured once, then remembered.

In: paths below a folder. Out: one row of `FACTS` for each, read from a cache where the file has not changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import polars as pl

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ArtifactError
from penchant.core.logs import logger, progress_bar
from penchant.core.messages import packed
from penchant.core.store import ParquetStore
from penchant.data.clean.duplicates import difference_hash, thumbnail
from penchant.data.media import MediaLimits, UnusableMediaError, decode_sound, load_picture, resolve
from penchant.data.media.images import quiet_decoders

Fact = dict[str, Any]

FACTS = {
    "key": pl.String,
    "size": pl.Int64,
    "modified": pl.Int64,
    "check": pl.String,
    "detail": pl.String,
    "deviation": pl.Float32,
    "hash": pl.UInt64,
    "thumbnail": pl.Binary,
    "seconds": pl.Float64,
    "loudness": pl.Float32,
    "clipped": pl.Float32,
}
"""What is remembered of the file at `key`; `check` is null where it can be used."""
VERSION = 1
"""Raise it when `_look` or `_listen` change what they say, so that older caches are not believed."""
_CHUNK = 4096
_SAVE_SECONDS = 30.0
_HASH_SIDE = 64


def examine_files(
    names: Iterable[str], modality: str, *, root: Path, limits: MediaLimits, workers: int = 0, cache: Path | None = None
) -> pl.DataFrame:
    """Return `FACTS` of each name, in order.

    Args:
        names: Paths below `root`.
        modality: "image" and "audio" files are decoded; others are only looked for.
        root: Folder no path may leave.
        limits: What is refused.
        workers: Files opened at once; 0 means one for each processor core.
        cache: Folder that remembers files by path, size and time of change; what was measured is kept even after Ctrl-C.

    Raises:
        MissingExtraError: There is sound, and the extra `audio` is not installed.
    """
    paths, facts = _locate(names, root)
    measure = {"image": _look, "audio": _listen}.get(modality)
    if measure is not None:
        memory = _Memory(None if cache is None else cache / f"{modality}_{fingerprint(VERSION, limits)}")
        facts = [memory.recall(fact) for fact in facts]
        todo = [number for number in paths if "known" not in facts[number]]
        try:
            for number, fact in _each(
                todo, lambda number: measure(paths[number], limits), f"inspect {modality}", workers
            ):
                facts[number] |= fact
                memory.keep(facts[number])
        finally:
            memory.save()
    return pl.DataFrame([{name: fact.get(name) for name in FACTS} for fact in facts], schema=FACTS)


class _Memory:
    """The facts of every file met before; what is new is stored now and then, so that a killed run has not worked for nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._facts: dict[str, Fact] = {}
        self._new: list[Fact] = []
        self._saved_at = time.monotonic()
        self._store: ParquetStore | None = None
        if folder is not None:
            with self._carry_on():
                self._store = ParquetStore(folder, "facts of files")
                self._facts = {fact["key"]: fact for rows in self._store.read() for fact in rows.to_pylist()}

    def recall(self, fact: Fact) -> Fact:
        """Return everything known of a file that has not changed since, marked "known"; else what was given."""
        seen = self._facts.get(fact["key"])
        if seen is None or (seen["size"], seen["modified"]) != (fact.get("size"), fact.get("modified")):
            return fact
        return {**seen, "known": True}

    def keep(self, fact: Fact) -> None:
        self._new.append(fact)
        if time.monotonic() - self._saved_at > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        self._saved_at = time.monotonic()
        if self._store is not None and self._new:
            with self._carry_on():
                self._store.append(pl.DataFrame(self._new, schema=FACTS).to_arrow(compat_level=pl.CompatLevel.oldest()))
                self._store.compact()
        self._new = []

    @contextmanager
    def _carry_on(self) -> Iterator[None]:
        try:
            yield
        except ArtifactError as error:  # no space: the run can go on without remembering
            logger.warning("%s The next run inspects the files again.", error.message)


def _locate(names: Iterable[str], root: Path) -> tuple[dict[int, Path], list[Fact]]:
    """Find the files: those there, by row; and for every row the beginning of its facts."""
    paths: dict[int, Path] = {}
    facts: list[Fact] = []
    for number, name in enumerate(names):
        fact: Fact = {"key": name}
        try:
            path = resolve(root, name)
            status = path.stat()
            fact |= {"key": str(path), "size": status.st_size, "modified": status.st_mtime_ns}
            if S_ISREG(status.st_mode):
                paths[number] = path
            else:
                fact["check"] = "missing"
        except UnusableMediaError as error:
            fact["check"] = error.check
        except OSError:
            fact["check"] = "missing"
        facts.append(fact)
    return paths, facts


def _each(numbers: list[int], work: Callable[[int], Fact], title: str, workers: int) -> Iterator[tuple[int, Fact]]:
    """Yield results as they come; what waits is bounded, and Ctrl-C does not wait for it."""
    if not numbers:
        return
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        with progress_bar(title, len(numbers)) as bar, quiet_decoders():
            for start in range(0, len(numbers), _CHUNK):
                futures: dict[Future[Fact], int] = {
                    pool.submit(work, number): number for number in numbers[start : start + _CHUNK]
                }
                for future in as_completed(futures):
                    bar.advance()
                    yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _look(path: Path, limits: MediaLimits) -> Fact:
    """Return the facts of a picture."""
    try:
        picture = load_picture(path, limits, max_side=_HASH_SIDE)
    except UnusableMediaError as error:
        return {"check": error.check, "detail": packed(error.message)}
    deviation = float(np.asarray(picture).std(axis=(0, 1)).max())
    return {"deviation": deviation, "hash": difference_hash(picture), "thumbnail": thumbnail(picture)}


def _listen(path: Path, limits: MediaLimits) -> Fact:
    """Return the facts of a sound."""
    try:
        sound = decode_sound(path, limits)
    except UnusableMediaError as error:
        return {"check": error.check, "detail": packed(error.message)}
    power = float(np.square(sound.samples, dtype=np.float64).mean())
    clipped = float((np.abs(sound.samples) >= 0.999).mean())
    return {"seconds": sound.seconds, "loudness": 10 * np.log10(max(power, 1e-20)), "clipped": clipped}
