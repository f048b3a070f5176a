"""What a peer reads and writes, the same for all of them.

In: a folder of split files, never the test. Out: `lists.parquet` (user, rank, item) and `facts.json` (costs, settings, epochs).
Only NumPy, SciPy and PyArrow are needed, so this runs in every environment of the leaderboard.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

K = 50
"""Length of every list."""
MAX_VALIDATION_USERS = 3_000
"""Validation users on whom a setting is scored, evenly spaced."""
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
        num_users: Of the whole split.
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
        ones = np.ones(len(self), np.float32)
        found = sparse.csr_matrix((ones, (self.user, self.item)), (self.num_users, self.num_items))
        found.data[:] = 1.0
        return found

    def offsets(self) -> np.ndarray:
        """Return (users + 1,) where each user's events begin."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.user, minlength=self.num_users))])

    def sequence_numbers(self) -> np.ndarray:
        """Return each event's place in its user's history, from 0; stands for a time that never ties."""
        return np.arange(len(self)) - self.offsets()[self.user]


@dataclass(frozen=True)
class Split:
    """What a peer may know.

    Attributes:
        folder: Where it was read from.
        train: To learn from.
        validation: To choose by.
        known: All that is known before the test: train, and validation where the protocol fits again.
        test_users: Users to recommend to.
        candidates: Items that may be recommended in the test, None for all.
        validation_candidates: The same for validation.
        facts: How the split was made.
        seed: Of models.
    """

    folder: Path
    train: Events
    validation: Events
    known: Events
    test_users: np.ndarray
    candidates: np.ndarray | None
    validation_candidates: np.ndarray | None
    facts: Mapping[str, Any]
    seed: int

    @classmethod
    def read(cls, folder: Path, seed: int) -> Split:
        """Read everything but the test."""
        facts = json.loads((folder / "split.json").read_text("utf-8"))
        users, items = pq.read_table(folder / "users.parquet"), pq.read_table(folder / "items.parquet")
        parts = {name: _read_events(folder / f"{name}.parquet", len(users), len(items)) for name in PARTS}
        known = _join(parts["train"], parts["validation"]) if facts["refit"] else parts["train"]
        return cls(
            folder,
            parts["train"],
            parts["validation"],
            known,
            np.flatnonzero(users["is_test_user"].to_numpy()),
            _mask(items["is_candidate"].to_numpy()),
            _mask(items["is_validation_candidate"].to_numpy()),
            facts,
            seed,
        )

    @property
    def num_users(self) -> int:
        return self.train.num_users

    @property
    def num_items(self) -> int:
        return self.train.num_items

    def validation_users(self) -> np.ndarray:
        """Return the validation users on whom settings are chosen."""
        users = np.unique(self.validation.user)
        return users[np.linspace(0, len(users) - 1, min(MAX_VALIDATION_USERS, len(users))).astype(np.int64)]

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


PARTS = ("train", "validation")


class Recommender(Protocol):
    """Anything that gives lists to users it was fitted on."""

    def __call__(self, users: np.ndarray, k: int, candidates: np.ndarray | None) -> np.ndarray:
        """Return (users, k) item rows, best first, known items left out, -1 where a list is shorter."""


@dataclass
class Outcome:
    """What a peer gives back.

    Attributes:
        lists: (test users, K) item rows.
        settings: Those it ended with.
        validation: NDCG@10 on validation.
        epochs: Passes over the data, None where there are none.
        stopped: "closed form", "validation" (early stopping), "epochs" (all of them) or "clock".
        tune_seconds: Spent on choosing settings.
        fit_seconds: Spent on the fit that made the lists.
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
    rows, ranks = np.nonzero(outcome.lists != PAD)
    table = pa.table(
        {
            "user": split.test_users[rows].astype(np.int32),
            "rank": ranks.astype(np.int32),
            "item": outcome.lists[rows, ranks].astype(np.int32),
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out / "lists.parquet")
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


def _read_events(path: Path, num_users: int, num_items: int) -> Events:
    table = pq.read_table(path).sort_by([("user", "ascending"), ("order", "ascending")])
    user, item, at = (table[name].to_numpy() for name in ("user", "item", "at"))
    return Events(user, item, at, num_users, num_items)


def _join(first: Events, second: Events) -> Events:
    """Return both in time, at one instant the first before the second."""
    user, item, at = (np.concatenate([getattr(e, name) for e in (first, second)]) for name in ("user", "item", "at"))
    order = np.lexsort((at, user))  # stable
    return Events(user[order], item[order], at[order], first.num_users, first.num_items)


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
