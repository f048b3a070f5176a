"""What a peer reads and writes, the same for all of them.

In: a folder of stages, never the choices of the test. Out: `lists.parquet` (request, rank, item) and `facts.json` (costs, settings, epochs).
Only NumPy, SciPy and PyArrow are needed, so this runs in every environment of the leaderboard.

A stage is one fit and the requests it answers. Validation is one stage; the test is one, or several where models are fitted again as time
goes on (rolling time). A request brings its own history, which may hold events that the fit has not seen.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

K = 50
"""Length of every list."""
MAX_VALIDATION_REQUESTS = 3_000
"""Validation requests on which a setting is scored, evenly spaced among those with a history."""
PAD = -1

Settings = dict[str, Any]


class CannotRunError(Exception):
    """This peer cannot run on this split; the table prints the message."""


@dataclass(frozen=True)
class Events:
    """Events in the users' own order.

    Attributes:
        user: (events,) ascending.
        item: (events,) oldest first within a user.
        at: (events,) microseconds since 1970, 0 where unknown.
        num_users: Rows of users, those without an event included.
        num_items: Of the whole split.
    """

    user: np.ndarray
    item: np.ndarray
    at: np.ndarray
    num_users: int
    num_items: int

    def __len__(self) -> int:
        return len(self.user)

    def matrix(self) -> sparse.csr_matrix:
        """Return (users, items) float32, 1 where the user touched the item."""
        found = self.weighted(np.ones(len(self), np.float32))
        found.data[:] = 1.0
        return found

    def weighted(self, weight: np.ndarray) -> sparse.csr_matrix:
        """Return (users, items) float32 sums of one weight for each event."""
        cells = (weight.astype(np.float32), (self.user, self.item))
        return sparse.csr_matrix(cells, (self.num_users, self.num_items))

    def decayed(self, half_life: float) -> sparse.csr_matrix:
        """Return (users, items) float32: an event with n later ones of its user weighs .5 ** (n / half_life); 0 weighs all alike."""
        return self.weighted(0.5 ** (self.ages() / half_life)) if half_life else self.matrix()

    def offsets(self) -> np.ndarray:
        """Return (users + 1,) where each user's events begin."""
        return np.concatenate([[0], np.cumsum(self.lengths())])

    def lengths(self) -> np.ndarray:
        """Return the number of events of each user."""
        return np.bincount(self.user, minlength=self.num_users)

    def ages(self) -> np.ndarray:
        """Return the number of later events of the same user for each event."""
        return self.offsets()[self.user + 1] - 1 - np.arange(len(self))

    def sequence_numbers(self) -> np.ndarray:
        """Return each event's place in its user's history, from 0; stands for a time that never ties."""
        return np.arange(len(self)) - self.offsets()[self.user]

    def last_times(self) -> np.ndarray:
        """Return the time of each user's last event, 0 without one."""
        last = np.zeros(self.num_users, np.int64)
        np.maximum.at(last, self.user, self.at)
        return last

    def popularity(self) -> np.ndarray:
        """Return the number of users of each item."""
        return np.asarray(self.matrix().sum(axis=0)).ravel()

    def take(self, users: np.ndarray) -> Events:
        """Return chosen users, numbered anew in the given order."""
        offsets = self.offsets()
        lengths = np.diff(offsets)[users]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(offsets[users] - starts[:-1], lengths) + np.arange(starts[-1])
        owner = np.repeat(np.arange(len(users)), lengths)
        return Events(owner, self.item[rows], self.at[rows], len(users), self.num_items)


@dataclass(frozen=True)
class Requests:
    """Lists that are asked for.

    Attributes:
        history: What each request's user did before; `user` is the row of the request.
        user: (requests,) row of the user in `Stage.learn`, for models that know users by their row.
        at: (requests,) time of the request, microseconds since 1970; 0 where it is hidden.
    """

    history: Events
    user: np.ndarray
    at: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Requests:
        """Return chosen requests in the given order."""
        return Requests(self.history.take(rows), self.user[rows], self.at[rows])

    def moments(self) -> np.ndarray:
        """Return the moment before which events may be counted: that of the request, else just after the user's last event, else 0."""
        last = self.history.last_times()
        return np.where(self.at > 0, self.at, np.where(last > 0, last + 1, 0))


@dataclass(frozen=True)
class Log:
    """Events of everybody in time order, for counts as of a moment.

    Attributes:
        item: (events,) rows of items.
        at: (events,) ascending, all known.
    """

    item: np.ndarray
    at: np.ndarray


@dataclass(frozen=True)
class Stage:
    """One fit and what it is asked.

    Attributes:
        learn: Events to fit on.
        requests: Whom to recommend to.
        log: Events of everybody; only those before a request's moment may be counted for it. In rolling time it goes on after `learn`.
        candidates: Items that may be recommended, None for all.
        truth: What was chosen, `user` being the request's row; of validation only.
    """

    learn: Events
    requests: Requests
    log: Log
    candidates: np.ndarray | None
    truth: Events | None = None

    @cached_property
    def popular(self) -> np.ndarray:
        """How many users each item has, equal ones in a seeded random order: the list of whoever gets none."""
        return self.learn.popularity() + 0.5 * np.random.default_rng(0).random(self.learn.num_items)


@dataclass(frozen=True)
class Split:
    """What a peer may know.

    Attributes:
        folder: Where it was read from.
        validation: To choose by: the requests that settings are scored on.
        all_validation: The same stage with every request.
        tests: Stages of the test in time order.
        facts: How the split was made.
        seed: Of models.
    """

    folder: Path
    validation: Stage
    all_validation: Stage
    tests: list[Stage]
    facts: Mapping[str, Any]
    seed: int

    @classmethod
    def read(cls, folder: Path, seed: int) -> Split:
        """Read everything but the choices of the test."""
        facts = json.loads((folder / "split.json").read_text("utf-8"))
        items = pq.read_table(folder / "items.parquet")
        names = [f"test-{number}" for number in range(facts["stages"])]
        chosen = _mask(items["is_validation_candidate"].to_numpy())
        validation = _read_stage(folder, "validation", facts, chosen, truth=True)
        allowed = _mask(items["is_candidate"].to_numpy())
        tests = [_read_stage(folder, name, facts, allowed, truth=False) for name in names]
        return cls(folder, _some(validation), validation, tests, facts, seed)

    @property
    def num_items(self) -> int:
        return self.validation.learn.num_items

    def channels(self) -> dict[str, dict[str, str]]:
        """Return each channel's modality and encoder; empty where nothing was encoded."""
        path = self.folder / "content" / "channels.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else {}

    def content(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return each channel's (items, dim) float32 vectors and which rows are there.

        Raises:
            CannotRunError: The split has no content.
        """
        folder, names = self.folder / "content", list(self.channels())
        if not names:
            raise CannotRunError("needs content vectors, this split has none")
        return {name: (np.load(folder / f"{name}.npy"), np.load(folder / f"{name}.present.npy")) for name in names}

    def categories(self) -> sparse.csr_matrix:
        """Return (items, categories), 1 where an item has a category.

        Raises:
            CannotRunError: The data has no column of categories.
        """
        table = pq.read_table(self.folder / "categories.parquet")
        if not len(table):
            raise CannotRunError("needs a column of categories, this data has none")
        item, category = table["item"].to_numpy(), table["category"].to_numpy()
        cells = (np.ones(len(item), np.float32), (item, category))
        return sparse.csr_matrix(cells, (self.num_items, int(category.max()) + 1))


class Recommender(Protocol):
    """Anything that gives lists to requests."""

    def __call__(self, requests: Requests, k: int, candidates: np.ndarray | None) -> np.ndarray:
        """Return (requests, k) item rows, best first, items of the history left out, -1 where a list is shorter."""


@dataclass
class Outcome:
    """What a peer gives back.

    Attributes:
        lists: (requests of all test stages, K) item rows.
        settings: Those it ended with.
        validation: NDCG@10 on validation.
        epochs: Passes over the data, None where there are none.
        stopped: "closed form", "validation" (early stopping), "epochs" (all of them) or "clock".
        tune_seconds: Spent on choosing settings.
        fit_seconds: Spent on the fits that made the lists.
        recommend_seconds: Spent on the lists.
        notes: Said beside the table.
    """

    lists: np.ndarray
    settings: Settings
    validation: float
    fit_seconds: float
    recommend_seconds: float
    tune_seconds: float = 0.0
    epochs: float | None = None
    stopped: str = "closed form"
    notes: list[str] = field(default_factory=list)


class Clock:
    """Time that is left: CPU seconds of this process, which a shared machine cannot take away from one row and not from another.

    Args:
        minutes: Limit from now on; 0 is none.
    """

    def __init__(self, minutes: float) -> None:
        self.began = time.process_time()
        self.limit = minutes * 60 if minutes else float("inf")

    @property
    def seconds(self) -> float:
        return time.process_time() - self.began

    def is_up(self, reserve: float = 0.0) -> bool:
        """Return whether less than `reserve` seconds are left."""
        return self.seconds + reserve >= self.limit


Model = Callable[[Split, Clock], Outcome]


def serve(models: Mapping[str, Model], versions: tuple[str, ...]) -> None:
    """Run one model as the command line asks, and write its files.

    Args:
        models: Name to function.
        versions: Packages whose version is written down.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=sorted(models))
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    split = Split.read(chosen.split, chosen.seed)
    try:
        outcome = models[chosen.model](split, Clock(chosen.minutes))
    except CannotRunError as reason:
        _write_json(chosen.out / "facts.json", {"reason": str(reason)})
        return
    write(chosen.out, split, outcome, versions)


def write(out: Path, split: Split, outcome: Outcome, versions: tuple[str, ...]) -> None:
    """Write lists and then facts, so that facts are there only when the lists are whole."""
    lists = filled(outcome.lists, split.tests)
    rows, ranks = np.nonzero(lists != PAD)
    table = {"request": rows.astype(np.int32), "rank": ranks.astype(np.int32), "item": lists[rows, ranks]}
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), out / "lists.parquet")
    facts = {key: value for key, value in vars(outcome).items() if key != "lists"}
    facts |= {
        "cpu_seconds": sum(os.times()[:2]),
        "load": os.getloadavg()[1],
        "peak_bytes": _peak_bytes(),
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        "versions": {name: _version(name) for name in versions},
        "seed": split.seed,
    }
    _write_json(out / "facts.json", facts)


def filled(lists: np.ndarray, stages: list[Stage]) -> np.ndarray:
    """Return lists whose empty places hold the most popular items that are neither known nor listed: the same fallback for every row."""
    lists, start = lists.astype(np.int32).copy(), 0
    for stage in stages:
        own = lists[start : start + len(stage.requests)]
        start += len(stage.requests)
        seen = stage.requests.history.matrix()
        order = np.argsort(-stage.popular, kind="stable")
        if stage.candidates is not None:
            order = order[stage.candidates[order]]
        for row in np.flatnonzero((own == PAD).any(axis=1)):
            listed = own[row][own[row] != PAD]
            left = order[~np.isin(order, np.concatenate([listed, seen[row].indices]))]
            both = np.concatenate([listed, left])[: lists.shape[1]]
            own[row, : len(both)] = both
    return lists


def _read_stage(
    folder: Path, name: str, facts: Mapping[str, Any], candidates: np.ndarray | None, *, truth: bool
) -> Stage:
    place, num_items = folder / "stages" / name, facts["catalog"]
    learn = _read_events(place / "learn.parquet", "user", facts["users"], num_items)
    asked = pq.read_table(place / "requests.parquet")
    history = _read_events(place / "history.parquet", "request", len(asked), num_items)
    requests = Requests(history, asked["user"].to_numpy(), asked["at"].to_numpy())
    chosen = _read_events(folder / "truth" / f"{name}.parquet", "request", len(asked), num_items) if truth else None
    item, at = learn.item, learn.at
    if (place / "log.parquet").exists():
        table = pq.read_table(place / "log.parquet")
        item, at = table["item"].to_numpy(), table["at"].to_numpy()
    order = np.argsort(at, kind="stable")
    order = order[at[order] > 0]
    return Stage(learn, requests, Log(item[order], at[order]), candidates, chosen)


def _some(stage: Stage) -> Stage:
    """Return the stage with the requests that settings are scored on: evenly spaced among those with a history, where any has one."""
    rows = np.flatnonzero(stage.requests.history.lengths() > 0)
    rows = rows if len(rows) else np.arange(len(stage.requests))
    rows = rows[np.linspace(0, len(rows) - 1, min(MAX_VALIDATION_REQUESTS, len(rows))).astype(np.int64)]
    assert stage.truth is not None
    return Stage(stage.learn, stage.requests.take(rows), stage.log, stage.candidates, stage.truth.take(rows))


def _read_events(path: Path, key: str, num_users: int, num_items: int) -> Events:
    table = pq.read_table(path).sort_by([(key, "ascending"), ("order", "ascending")])
    user, item, at = (table[name].to_numpy() for name in (key, "item", "at"))
    return Events(user, item, at, num_users, num_items)


def _mask(chosen: np.ndarray) -> np.ndarray | None:
    return None if chosen.all() else chosen.astype(bool)


def _peak_bytes() -> int:
    """Return this process's largest memory; getrusage would tell the parent's where that was larger."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, default=float), encoding="utf-8")
