"""Facts measured on media files; measured once and cached.

In: paths below a folder. Out: one row of `FACTS` for each, read from a cache where the file has not changed, and findings.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any, Protocol

import numpy as np
import polars as pl
from PIL import Image

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ArtifactError
from penchant.core.executor import current_executor
from penchant.core.logs import logger, progress_bar
from penchant.core.messages import message, packed
from penchant.core.schema import MAX_EXAMPLES, Finding
from penchant.core.store import ParquetStore
from penchant.core.worker_processes import Lost, WorkerProcesses, are_worthwhile
from penchant.data.clean.duplicates import difference_hash, thumbnail
from penchant.data.media import (
    MediaLimits,
    UnusableMediaError,
    decode_picture,
    load_mesh,
    load_signal,
    measure_audio,
    open_video,
    read_picture_file,
    resolve,
    split_key,
)
from penchant.data.media.images import PICTURE_SIDE, quiet_decoders
from penchant.data.media.memory import divide_memory
from penchant.data.media.node_files import NodeFiles

Fact = dict[str, Any]
PreparePicture = Callable[[bytes, Image.Image], Any]
"""The bytes of a file and its decoded picture to what a `PictureReader` takes."""

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
"""Facts of the file at `key`; `check` is null where it can be used."""
CACHED = ("image", "audio")
"""Modalities whose files are decoded in full; of the others little is read, and nothing is cached."""
VERSION = 2
"""Raise it when `_picture_facts` or `_sound_facts` change their results, so that older caches are not used."""
_AHEAD = 32
_MAX_PROCESSES = 8
_SHARD_FILES = 64
_SAVE_SECONDS = 30.0
_HASH_SIDE = 64


class PictureReader(Protocol):
    """Another consumer of the decoded pictures, so that each is decoded once."""

    def start(self) -> None:
        """Prepare for pictures; called once, and only if there is a picture to decode."""

    def prepare(self, raw: bytes, picture: Image.Image) -> Any:
        """Return the prepared picture; called in threads."""

    def apart(self) -> PreparePicture:
        """Return what prepares a picture in another process, as far as that is possible there; it can be pickled."""

    def take(self, prepared: Any) -> None:
        """Receive the result of `prepare`, in the order of the files."""

    def finish(self) -> None:
        """Complete the work after the last picture."""


def examine_files(
    names: Iterable[str],
    modality: str,
    *,
    root: Path,
    limits: MediaLimits,
    workers: int = 0,
    cache: Path | None = None,
    pictures: PictureReader | None = None,
) -> tuple[pl.DataFrame, list[Finding]]:
    """Return `FACTS` of each name, in order, and findings about files that can be used.

    Args:
        names: Paths below `root`, for signals perhaps with a key.
        modality: "image", "audio", "video", "mesh" or "signal"; of a video only the header is read.
        root: Folder no path may leave.
        limits: Of media files.
        workers: Files opened at once; 0 means one for each processor core. Many files are decoded in processes of their own, so that one that ends the
            process of its decoder is a file that cannot be read.
        cache: Folder of facts by path, size and time of change; facts are stored even after Ctrl-C.
        pictures: Receives every decoded picture.

    Raises:
        MissingExtraError: There are files, and what reads them is not installed.
    """
    paths, facts = locate(names, root, modality)
    folder = cache / f"{modality}_{fingerprint(VERSION, limits)}" if cache and modality in CACHED else None
    stored = _FactCache(folder)
    facts = [stored.look_up(fact) for fact in facts]
    todo = [number for number in paths if "known" not in facts[number]]
    reader = pictures if modality == "image" and todo else None
    if reader is not None:
        reader.start()

    measure = _Measuring(modality, limits, None if reader is None else reader.prepare)
    files = [(number, (paths[number], facts[number]["name"])) for number in todo]
    noticed: list[Finding] = []
    try:
        if (
            modality == "signal"
        ):  # a table of many signals is read once, and threads or processes would read it several times
            measured = _in_threads(files, measure, f"inspect {modality}", 1)
        elif not current_executor().is_local:
            measured = _on_nodes({number: name for number, (_, name) in files}, root, modality, limits)
        elif are_worthwhile(len(files)):
            apart = replace(measure, prepare=None if reader is None else reader.apart())
            measured = _in_processes(files, apart, f"inspect {modality}", workers)
        else:
            measured = _in_threads(files, measure, f"inspect {modality}", workers)
        for number, fact in measured:
            facts[number] |= fact
            noticed += fact.get("findings", ())
            if reader is not None and "prepared" in fact:
                reader.take(facts[number].pop("prepared"))
            stored.add(facts[number])
    finally:
        stored.save()
    if reader is not None:
        reader.finish()
    return pl.DataFrame([{name: fact.get(name) for name in FACTS} for fact in facts], schema=FACTS), _sums(noticed)


class _FactCache:
    """Facts of earlier files; new ones are saved every `_SAVE_SECONDS`, so that an interrupted run loses little."""

    def __init__(self, folder: Path | None) -> None:
        self._facts: dict[str, Fact] = {}
        self._new: list[Fact] = []
        self._saved_at = time.monotonic()
        self._store: ParquetStore | None = None
        if folder is not None:
            with self._carry_on():
                self._store = ParquetStore(folder, "facts of files")
                self._facts = {fact["key"]: fact for rows in self._store.read() for fact in rows.to_pylist()}

    def look_up(self, fact: Fact) -> Fact:
        """Return the stored facts of an unchanged file, marked "known"; else the argument."""
        seen = self._facts.get(fact["key"])
        if seen is None or (seen["size"], seen["modified"]) != (fact.get("size"), fact.get("modified")):
            return fact
        return {**seen, "known": True}

    def add(self, fact: Fact) -> None:
        if self._store is not None:
            self._new.append({name: fact.get(name) for name in FACTS})
            if time.monotonic() - self._saved_at > _SAVE_SECONDS:
                self.save()

    def save(self) -> None:
        self._saved_at = time.monotonic()
        if self._store is not None and self._new:
            with self._carry_on():
                self._store.append(pl.DataFrame(self._new, FACTS).to_arrow(compat_level=pl.CompatLevel.oldest()))
                self._store.compact()
        self._new = []

    @contextmanager
    def _carry_on(self) -> Iterator[None]:
        try:
            yield
        except ArtifactError as error:  # no space: the run continues without a cache
            logger.warning("%s The next run inspects the files again.", error.message)


def locate(names: Iterable[str], root: Path, modality: str) -> tuple[dict[int, Path], list[Fact]]:
    """Return the path of each existing file by row, and the first facts of every row."""
    paths: dict[int, Path] = {}
    facts: list[Fact] = []
    for number, name in enumerate(names):
        fact: Fact = {"name": name, "key": name}
        try:
            path = resolve(root, split_key(name)[0] if modality == "signal" else name)
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


File = tuple[int, tuple[Path, str]]
"""The number of a file among all, its path, and its name below the media folder."""


@dataclass(frozen=True)
class _Measuring:
    """Measures a file, in a thread or in another process.

    Attributes:
        modality: Of the file.
        limits: Of media files.
        prepare: Prepares a decoded picture for the `PictureReader`, if there is one.
    """

    modality: str
    limits: MediaLimits
    prepare: PreparePicture | None = None

    def __call__(self, file: tuple[Path, str]) -> Fact:
        try:
            return _measure(*file, self.modality, self.limits, self.prepare)
        except UnusableMediaError as error:
            return {"check": error.check, "detail": packed(error.message)}


def _in_threads(files: Sequence[File], measure: _Measuring, title: str, workers: int) -> Iterator[tuple[int, Fact]]:
    """Yield results in order; the queue is bounded, and Ctrl-C does not wait for it."""
    if not files:
        return
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    ahead: deque[tuple[int, Future[Fact]]] = deque()
    try:
        with progress_bar(title, len(files)) as bar, quiet_decoders():
            for place in range(len(files) + _AHEAD):
                if place < len(files):
                    ahead.append((files[place][0], pool.submit(measure, files[place][1])))
                if ahead and place >= _AHEAD:
                    number, future = ahead.popleft()
                    yield number, future.result()
                    bar.advance()
    finally:
        pool.shutdown(cancel_futures=True)


def _in_processes(files: Sequence[File], measure: _Measuring, title: str, workers: int) -> Iterator[tuple[int, Fact]]:
    """Yield results in order; a file that ended its process each time is unreadable."""
    count = workers or min(os.cpu_count() or 1, _MAX_PROCESSES)
    with (
        WorkerProcesses[tuple[Path, str], Fact](measure, count, _AHEAD, divide_memory) as processes,
        progress_bar(title, len(files)) as bar,
    ):
        for (number, _), fact in zip(files, processes.map(file for _, file in files), strict=True):
            yield number, _unreadable(fact.why) if isinstance(fact, Lost) else fact
            bar.advance()


def _unreadable(why: str) -> Fact:
    return {"check": "unreadable", "detail": packed(message("reading it failed, {why}", why=why))}


@dataclass(frozen=True)
class InspectionShard:
    """Some files to examine.

    Attributes:
        numbers: Of the files among all.
        names: Their paths below the folder.
        files: Where they are.
        modality: Of the files.
        limits: Of media files.
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    files: NodeFiles
    modality: str
    limits: MediaLimits


def examine_shard(shard: InspectionShard) -> list[tuple[int, Fact]]:
    """Return the facts of the files of a shard, on the node where this runs."""
    found: list[tuple[int, Fact]] = []
    with shard.files.here() as root, quiet_decoders():
        measure = _Measuring(shard.modality, shard.limits)
        for number, name in zip(shard.numbers, shard.names, strict=True):
            try:
                fact = measure((resolve(root, name), name))
            except UnusableMediaError as error:
                fact = {"check": error.check, "detail": packed(error.message)}
            found.append((number, fact))
    return found


def _on_nodes(names: Mapping[int, str], root: Path, modality: str, limits: MediaLimits) -> Iterator[tuple[int, Fact]]:
    """Yield facts as `_each` does, measured on the executor of this context; a file that ends its process again and again is unreadable."""
    executor, numbers = current_executor(), list(names)

    def shard_of(some: Sequence[int]) -> InspectionShard:
        own = tuple(NodeFiles.name_of(root, names[number], modality) for number in some)
        return InspectionShard(tuple(some), own, NodeFiles.of(root, own, modality, executor.storage), modality, limits)

    def lost(shard: InspectionShard, why: str) -> list[tuple[int, Fact]]:
        return [(number, _unreadable(why)) for number in shard.numbers]

    shards = (shard_of(numbers[start : start + _SHARD_FILES]) for start in range(0, len(numbers), _SHARD_FILES))
    title = f"inspect {modality}"
    with progress_bar(title, len(numbers)) as bar:
        pieces = executor.map_apart(
            examine_shard, shards, lambda shard: (shard_of([number]) for number in shard.numbers), lost, title=title
        )
        for facts in pieces:
            yield from facts
            bar.advance(len(facts))


def _measure(path: Path, name: str, modality: str, limits: MediaLimits, prepare: PreparePicture | None) -> Fact:
    """Return the facts of a file; of one that is only opened, its findings."""
    if modality == "image":
        return _picture_facts(path, limits, prepare)
    if modality == "audio":
        return _sound_facts(path, limits)
    if modality == "mesh":
        load_mesh(path, limits)
        return {}
    if modality == "signal":
        noticed = load_signal(path, split_key(name)[1], limits).findings
        return {"findings": [replace(finding, examples=(name,)) for finding in noticed]}
    notes = open_video(path, limits).notes()
    return {
        "findings": [Finding(f"video.{n.replace(' ', '_')}", 1, 1, "kept", (name,), _MISSING_TRACK[n]) for n in notes]
    }


_MISSING_TRACK = {
    "no sound": message("only the pictures of these videos are used"),
    "no picture": message("only the sound of these videos is used"),
}


def _picture_facts(path: Path, limits: MediaLimits, prepare: PreparePicture | None) -> Fact:
    """Return the facts of a picture."""
    raw = read_picture_file(path, limits)
    picture = decode_picture(raw, path, limits, max_side=PICTURE_SIDE)
    small = picture.copy()
    small.thumbnail((_HASH_SIDE, _HASH_SIDE))
    deviation = float(np.asarray(small).std(axis=(0, 1)).max())
    fact = {"deviation": deviation, "hash": difference_hash(small), "thumbnail": thumbnail(small)}
    return fact if prepare is None else {**fact, "prepared": prepare(raw, picture)}


def _sound_facts(path: Path, limits: MediaLimits) -> Fact:
    """Return the facts of a sound."""
    level = measure_audio(path, limits)
    return {"seconds": level.seconds, "loudness": 10 * np.log10(max(level.power, 1e-20)), "clipped": level.clipped}


def _sums(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each check, its counts added up."""
    merged: dict[str, Finding] = {}
    for one in findings:
        seen = merged.setdefault(one.check, replace(one, count=0, total=0, examples=()))
        merged[one.check] = replace(
            seen,
            count=seen.count + one.count,
            total=seen.total + one.total,
            examples=(*seen.examples, *one.examples)[:MAX_EXAMPLES],
        )
    return list(merged.values())
