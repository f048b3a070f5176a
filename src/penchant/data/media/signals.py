"""Load untrusted sensor signals.

In: a file of one signal, or one table of many and the key of one. Out: readings in order of time by channel; or a `MediaError` that names the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, make_findings
from penchant.data.media.alignment import Stream, make_stream, regular
from penchant.data.media.limits import MediaLimits, UnusableMediaError, check_file
from penchant.data.read.tables import RawTable, read_table
from penchant.data.read.times import read_times

KEY_MARK = "#"
"""Between the file and the key of one signal in it: readings.csv#patient_7."""
WINDOW = re.compile(r"(.*)@(-?\d+(?:\.\d+)?)\+(\d+(?:\.\d+)?)", re.DOTALL)
"""Key of a part of a signal: patient_7@1052265600+86400 is that of 86,400 seconds from 1,052,265,600 on."""
LONG_STEP = 3.0
"""A longer step, in median steps, counts as a gap."""
TIME_NAMES = ("at", "time", "timestamp", "datetime", "date", "t", "seconds")
KEY_NAMES = ("sample_id", "id", "user_id", "subject", "patient", "key")


@dataclass(frozen=True)
class Signal:
    """One multichannel series.

    Attributes:
        stream: Readings in order; NaN where a channel has none.
        channels: Names, as many as the stream has.
        is_dated: Its times are seconds since 1970, so that there is a time of day; else seconds from its start.
        findings: Readings without a time, of one instant, out of order, cut.
    """

    stream: Stream
    channels: tuple[str, ...]
    is_dated: bool
    findings: tuple[Finding, ...] = ()


def load_signal(path: Path, key: str | None, limits: MediaLimits) -> Signal:
    """Return one signal.

    A table has a column of times (dates, or seconds; without one, readings are a second apart) and one for each channel.
    An .npy file is (readings,) or (readings, channels), a second apart.

    Args:
        path: From `resolve`.
        key: Which signal of a table of many; None takes the whole file.
        limits: Of size and length.

    Raises:
        MediaError: Missing, no table, without that key, or without numbers.
    """
    check_file(path, limits.max_signal_bytes, "signal")
    try:
        if path.suffix == ".npy":
            # mapped: a header that names more numbers than the file holds is refused before memory is taken for them
            return _from_array(_mapped(path), limits.max_readings)
        if key is None:
            return _from_table(read_table(path), limits.max_readings)
        status = path.stat()
        return _from_table(_keyed(path, status.st_mtime_ns, status.st_size)(key), limits.max_readings)
    except (DataError, ValueError, OSError, EOFError, pl.exceptions.PolarsError) as error:
        reason = error.message if isinstance(error, DataError) else (str(error).splitlines() or [""])[0]
        raise UnusableMediaError(
            message("The signal cannot be read: {error}.", error=reason.rstrip(".")),
            path=str(path) if key is None else f"{path}{KEY_MARK}{key}",
            fix="give a table with a column of times and a column of numbers for each channel",
            check="unreadable",
        ) from error


def _mapped(path: Path) -> np.ndarray:
    try:
        found: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r")
    except Exception as error:  # the header is Python's syntax: a damaged one raises its tokenizer's errors, and others
        raise ValueError(str(error)) from error
    return found


def split_key(relative: str) -> tuple[str, str | None]:
    """Return the file and the key of "readings.csv#patient_7"; without a mark there is no key."""
    file, mark, key = relative.rpartition(KEY_MARK)
    return (file, key) if mark and file else (relative, None)


class _Keyed:
    """A table of many signals, found by their key."""

    def __init__(self, raw: RawTable) -> None:
        named = [name for name in raw.table.columns if name.strip().lower() in KEY_NAMES]
        if not named:
            raise DataError(
                "The table has no column of keys.", where=raw.name, fix=f"name it {', '.join(KEY_NAMES[:3])}"
            )
        self._raw, self._times = raw, dict[str, np.ndarray]()
        parts = raw.table.with_columns(pl.col(named[0]).cast(pl.String).str.strip_chars())
        self._parts = {
            str(key[0]): part.drop(named[0]) for key, part in parts.partition_by(named[0], as_dict=True).items()
        }

    def __call__(self, key: str) -> RawTable:
        part = WINDOW.fullmatch(key)
        if key not in self._parts and part is not None:
            return self._during(part[1], float(part[2]), float(part[3]))
        if key not in self._parts:
            raise DataError(f"It has no readings of {key!r}", where=self._raw.name, fix="check the ids")
        return self._raw.having(self._parts[key])

    def _during(self, key: str, start: float, length: float) -> RawTable:
        """Return the readings of a part."""
        whole = self(key)
        if key not in self._times:
            self._times[key] = times_of(whole)[0]
        at = self._times[key]
        return whole.having(whole.table.filter(pl.Series((at >= start) & (at < start + length))))


def window_key(key: str, start: float, seconds: float) -> str:
    """Return the key of a part of a signal."""
    return f"{key}@{start:.0f}+{seconds:.0f}"


def times_of(raw: RawTable) -> tuple[np.ndarray, bool]:
    """Return the seconds of a table of readings, and whether they are dates; without a column of times, readings are a second apart."""
    time = next((name for name in raw.table.columns if name.strip().lower() in TIME_NAMES), None)
    return (np.arange(raw.table.height, dtype=np.float64), False) if time is None else seconds_of(raw, time)


@lru_cache(maxsize=1)
def _keyed(path: Path, modified: int, size: int) -> _Keyed:  # noqa: ARG001 - time and size are part of the cache's key
    """Read a table of many signals once, not once for each of them; a changed file is read again."""
    return _Keyed(read_table(path))


def _from_array(values: np.ndarray, most: int) -> Signal:
    if values.ndim not in (1, 2) or not np.issubdtype(values.dtype, np.number) or len(values) == 0:
        raise ValueError(f"an array of shape {values.shape} and type {values.dtype} is no signal")
    stream = regular(values[:most].astype(np.float32), 1.0)
    names = tuple(str(number) for number in range(stream.values.shape[1]))
    return Signal(stream, names, is_dated=False, findings=tuple(_cut(len(values), most)))


def _from_table(raw: RawTable, most: int) -> Signal:
    raw, total = raw.having(raw.table.head(most)), raw.table.height
    time = next((name for name in raw.table.columns if name.strip().lower() in TIME_NAMES), None)
    at, is_dated = times_of(raw)
    numbers = {
        name: raw.table[name].cast(pl.Float32, strict=False)
        for name in raw.table.columns
        if name != time and not _holds_none(raw.table[name].dtype)
    }
    channels = {name: values for name, values in numbers.items() if values.count() > 0}
    if not channels:
        raise ValueError("no column holds numbers")
    values = np.stack([column.fill_null(np.nan).to_numpy() for column in channels.values()], axis=1)
    stream, findings = make_stream(at, values)
    lost = sum(int((raw.table[name].is_not_null() & column.is_null()).sum()) for name, column in channels.items())
    findings += make_findings(
        "signal.no_number", lost, values.size, "masked", advice=message("cells that hold no number")
    )
    return Signal(stream, tuple(channels), is_dated, (*findings, *_gaps(stream), *_cut(total, most)))


def _holds_none(dtype: pl.DataType) -> bool:
    """Return whether a column of this type holds no readings; Polars refuses to cast most of them."""
    return dtype.is_nested() or dtype in (pl.Date, pl.Datetime, pl.Binary)


def seconds_of(raw: RawTable, column: str) -> tuple[np.ndarray, bool]:
    """Return seconds since 1970 for dates and for large numbers, else seconds unchanged."""
    values = raw.table[column]
    numbers = values.cast(pl.Float64, strict=False) if values.dtype.is_numeric() or values.dtype == pl.String else None
    if numbers is not None and 2 * numbers.count() >= max(1, values.count()) and float(numbers.max() or 0) < 1e8:  # type: ignore[arg-type]
        return numbers.fill_null(np.nan).to_numpy(), False
    times, _ = read_times(raw, column)
    return times.dt.epoch("us").cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6, True


def _gaps(stream: Stream) -> list[Finding]:
    """Count the gaps in a stream that is otherwise regular."""
    steps = np.diff(stream.at)
    if len(steps) < 2:
        return []
    gaps = steps > LONG_STEP * float(np.median(steps))
    advice = message(
        "pauses over {times} times the usual step; the encoder's max_gap_seconds decides which are filled",
        times=f"{LONG_STEP:g}",
    )
    return make_findings("signal.gap", int(gaps.sum()), len(steps), "kept", advice=advice)


def _cut(total: int, most: int) -> list[Finding]:
    advice = message("only the first {most} readings are used (`max_readings`)", most=f"{most:,}")
    return make_findings("signal.long", max(0, total - most), total, "dropped", advice=advice)
