"""What a recommender costs: memory, time and energy.

In: a recommender, and histories to answer. Out: bytes held, seconds for each request, joules where the machine counts them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penchant.core.schema import Histories
from penchant.recommender.lists import ListRequest, RankingOptions
from penchant.recommender.recommender import Recommender

RAPL = Path("/sys/class/powercap")
"""Where Linux counts the energy of processors, in microjoules."""
K = 10
ROUNDS = 3
"""Times that every request is made; the fastest counts, since other work of the machine only adds."""


@dataclass(frozen=True)
class Speed:
    """What requests took.

    Attributes:
        milliseconds: Median of a request for a list of 10 without reasons, one after the other.
        slow_milliseconds: 95 % of the requests took less.
        cpu_seconds: Processor seconds of a thousand requests.
        joules: Of a thousand requests; None where the machine does not count energy.
    """

    milliseconds: float
    slow_milliseconds: float
    cpu_seconds: float
    joules: float | None


def memory_of(recommender: Recommender) -> dict[str, int]:
    """Return the bytes of the arrays that a recommender holds: its members, its channels of content, its histories; each buffer once."""
    seen: set[int] = set()
    return {
        "members": held_bytes(recommender.ensemble.members, seen),
        "content": held_bytes(recommender.content, seen),
        "histories": held_bytes([recommender.histories, recommender.fitted], seen),
    }


def held_bytes(value: Any, seen: set[int] | None = None) -> int:
    """Return the bytes of all arrays and tensors that can be reached from a value; those in `seen` do not count, and are added to it."""
    seen = set() if seen is None else seen
    total, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, np.ndarray):
            one = _owner(one)
        if id(one) in seen or isinstance(one, (str, bytes, int, float, type, Path)) or one is None:
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            total += one.nbytes
        elif hasattr(one, "untyped_storage"):  # a tensor; torch is not imported for this
            storage = one.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                total += storage.nbytes()
        else:
            waiting += _parts(one)
    return total


def _owner(array: np.ndarray) -> np.ndarray:
    """Return the array that holds the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [] if value and isinstance(next(iter(value)), (str, int, float)) else list(value)
    found = list(getattr(value, "__dict__", {}).values())
    if is_dataclass(value) and not found:
        found = [getattr(value, one.name) for one in fields(value)]
    return found


def speeds(recommenders: Sequence[Recommender], histories: Sequence[Histories]) -> list[Speed]:
    """Return what requests take each recommender; they take turns, so that other work of the machine meets all alike."""
    options = RankingOptions(k=K, reasons=False)
    requests = [[ListRequest(options, one.user_ids[0], one)] for one in histories]
    seconds = np.full((len(recommenders), len(requests)), np.inf)
    spent, energy = np.zeros(len(recommenders)), np.zeros(len(recommenders))
    for recommender in recommenders:
        recommender.recommend_many(requests[0])
    for _ in range(ROUNDS):
        for number, recommender in enumerate(recommenders):
            before, cpu = joules(), time.process_time()
            for place, request in enumerate(requests):
                began = time.perf_counter()
                recommender.recommend_many(request)
                seconds[number, place] = min(seconds[number, place], time.perf_counter() - began)
            spent[number] += time.process_time() - cpu
            energy[number] += np.nan if before is None else _since(before)
    thousand = 1000 / (ROUNDS * len(requests))
    return [
        Speed(
            1000 * float(np.median(own)),
            1000 * float(np.quantile(own, 0.95)),
            thousand * float(cpu),
            None if np.isnan(drawn) else thousand * float(drawn),
        )
        for own, cpu, drawn in zip(seconds, spent, energy, strict=True)
    ]


def joules(folder: Path = RAPL) -> float | None:
    """Return the joules that the processors have used since some moment; None where the machine does not count them or does not tell."""
    try:
        counters = list(_counters(folder))
    except OSError:
        return None
    return sum(counters) / 1e6 if counters else None


def _since(before: float) -> float:
    """Return the joules since then; NaN where a counter began anew or is not readable any more."""
    now = joules()
    return np.nan if now is None or now < before else now - before


def _counters(folder: Path) -> Iterator[int]:
    """Yield the microjoules of each processor; parts of one, such as `intel-rapl:0:1`, are in it."""
    for counter in sorted(folder.glob("*-rapl:*/energy_uj")):
        if counter.parent.name.count(":") == 1:
            yield int(counter.read_text())
