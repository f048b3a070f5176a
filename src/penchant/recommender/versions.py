"""The versions of a bundle: every update beside the one that is served.

In: updated recommenders. Out: numbered bundles in the folder BUNDLE.versions, each with a record of where it comes from and what became of it.

The served version is the bundle itself: to promote a version is to put its files in the place of BUNDLE in one step, so that whatever reads a
bundle (the service, the commands, an erasure) reads a whole one, and no pointer can name another. Which version it is, its manifest tells.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from penchant.core.artifacts import (
    MANIFEST,
    REPORT,
    fingerprint,
    link_artifact,
    lock_of,
    locked,
    read_artifact,
    remove_unfinished,
    replace_text,
)
from penchant.core.config import Settings
from penchant.core.errors import ArtifactError, NotFoundError
from penchant.recommender.persistence import KIND
from penchant.recommender.recommender import Recommender

MIN_SHARED = 0.5
"""A bundle with a smaller share of the present items is of another catalog."""
Outcome = Literal["waiting", "promoted", "rejected", "rolled_back"]


class DataRange(Settings):
    """The events that a version learned from."""

    events: int
    """How many."""
    users: int
    """Users with an event."""
    items: int
    """Items of the catalog."""
    first_at: int = 0
    """Time of the first, microseconds since 1970; 0 where none has a time."""
    last_at: int = 0
    """Time of the last."""


class VersionRecord(Settings):
    """Where a version comes from and what became of it."""

    number: int
    """Counts the versions of a bundle from 1."""
    mark: str
    """Fingerprint of the bundle's manifest."""
    parent: int | None = None
    """The version that it was made from; None for the first, and for one that `penchant run` put in the bundle's place."""
    reason: Literal["run", "update", "erasure"] = "update"
    """What made it."""
    made_at: int
    """When, microseconds since 1970."""
    data: DataRange
    """What it learned from."""
    new_events: int = 0
    """Events that its parent had not learned from."""
    seconds: float = 0
    """Time it took."""
    members: dict[str, str] = {}
    """Member to how it took the new events in: added, refitted, continued, kept."""
    spent: dict[str, float] = {}
    """Member to the seconds of its last fit, as far as it is known."""
    learned_at: dict[str, int] = {}
    """Member to when it last learned, microseconds since 1970; one that is not named learned when the version was made."""
    outcome: Outcome = "waiting"
    """Whether it was promoted."""
    decided_at: int | None = None
    """When."""
    report: dict[str, Any] = {}
    """Comparison with its parent on events that came after both; empty before there is one."""


class VersionStore:
    """The versions of one bundle.

    Args:
        bundle: Folder of the bundle that is served.
        keep: Versions of which the files are kept, the served one and its parent not counted; records are kept of all.
    """

    def __init__(self, bundle: Path, keep: int = 5) -> None:
        self.bundle, self.keep = bundle.absolute(), keep
        self.folder = self.bundle.with_name(f"{self.bundle.name}.versions")

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Hold the right to make versions; it ends with the process.

        Raises:
            ArtifactError: Another process holds it.
        """
        with locked(self.folder / ".learner.lock", waits=False) as is_held:
            if not is_held:
                raise ArtifactError(
                    f"Another learner makes versions of {self.bundle.name!r}.",
                    where=str(self.folder),
                    fix="let that one go on, or stop it first: two would learn from the same events twice over",
                )
            for path in sorted(self.folder.glob("[0-9]*")):
                if path.is_dir():
                    remove_unfinished(path)
            for path in self.folder.glob(".*"):
                if path.is_dir():  # of a version whose number was never given
                    shutil.rmtree(path, ignore_errors=True)
            # `adopt` writes a folder and its record under this lock alone
            with locked(lock_of(self.bundle), waits=True):
                for path in self.folder.glob("[0-9]*"):
                    if path.is_dir() and not path.with_name(f"{path.name}.json").exists():
                        shutil.rmtree(path, ignore_errors=True)  # of a version whose record was never written
            yield

    def records(self) -> list[VersionRecord]:
        """Return every version, oldest first; a record that cannot be read is left out."""
        found = []
        for path in sorted(self.folder.glob("[0-9]*.json")):
            try:
                found.append(VersionRecord.model_validate_json(path.read_bytes()))
            except (ValueError, OSError):
                continue
        return sorted(found, key=lambda record: record.number)

    def record(self, number: int) -> VersionRecord:
        """Return one version.

        Raises:
            NotFoundError: There is none of that number.
        """
        for record in self.records():
            if record.number == number:
                return record
        raise NotFoundError(
            f"There is no version {number} of {self.bundle.name!r}.",
            where=str(self.folder),
            fix=f"see `penchant versions {self.bundle.name}`",
        )

    def served(self) -> VersionRecord | None:
        """Return the version that BUNDLE holds now; None where it is not known as one."""
        mark = mark_of(self.bundle)
        return next((record for record in reversed(self.records()) if record.mark == mark), None)

    def waiting(self) -> VersionRecord | None:
        """Return the newest version that is neither promoted nor rejected and has its files."""
        served = self.served()
        open_ones = [r for r in self.records() if r.outcome == "waiting" and self.has_files(r.number)]
        return next((r for r in reversed(open_ones) if served is None or r.number > served.number), None)

    def place(self, number: int) -> Path:
        """Return the folder of a version's bundle."""
        return self.folder / f"{number:06d}"

    def places(self) -> list[Path]:
        """Return the folders of all versions whose files are kept."""
        return [self.place(record.number) for record in self.records() if self.has_files(record.number)]

    def has_files(self, number: int) -> bool:
        """Return whether a version's files are kept."""
        return (self.place(number) / MANIFEST).is_file()

    def load(self, number: int) -> Recommender:
        """Return a version's recommender.

        Raises:
            NotFoundError: There is no such version, or its files are not kept any more.
            ArtifactError: Its files were altered.
        """
        self.record(number)
        if not self.has_files(number):
            raise NotFoundError(
                f"The files of version {number} are not kept any more.",
                where=str(self.place(number)),
                fix="name one that `penchant versions` shows as kept",
            )
        return Recommender.load(self.place(number))

    def adopt(self, *, made_at: int) -> VersionRecord:
        """Return the version that BUNDLE holds; a bundle that a run or an erasure put there becomes a new one.

        Args:
            made_at: Time of the record, microseconds since 1970.

        Raises:
            ArtifactError: The disk is full.
        """
        found = self.served()
        if found is not None:
            if found.outcome == "waiting":  # the process ended after the promotion, before its record
                found = self._put(found.model_copy(update={"outcome": "promoted", "decided_at": made_at}))
            return found
        with locked(lock_of(self.bundle), waits=True):
            bundle = read_artifact(self.bundle, lambda: Recommender.load(self.bundle))
            number = self._next_number()
            parent = bundle.facts.get("version", {}).get("number")
            record = VersionRecord(
                number=number,
                mark=bundle.mark,
                parent=parent,
                reason="run" if parent is None else "erasure",
                made_at=made_at,
                data=data_range(bundle),
                outcome="promoted",
                decided_at=made_at,
            )
            link_artifact(self.bundle, self.place(number), kind=KIND)
            return self._put_first(record)

    def publish(self, recommender: Recommender, record: Callable[[int], VersionRecord]) -> VersionRecord:
        """Write a version; it counts from the moment its record is there, which is written last.

        Args:
            recommender: Of the version.
            record: Number to the record; its mark is filled in.

        Raises:
            ArtifactError: The disk is full; nothing is left behind.
        """
        number = self._next_number()
        found = record(number)
        about = {"number": number, "parent": found.parent, "made_at": found.made_at, "data": found.data.model_dump()}
        facts = {**recommender.facts, "version": about}
        saved = replace(recommender, facts=facts).save(self.place(number), report=self._report())
        return self._put_first(found.model_copy(update={"mark": saved.mark}))

    def promote(self, number: int, *, at: int, refuse: Callable[[Recommender], None] = lambda _: None) -> VersionRecord:
        """Put a version in the place of BUNDLE, in one step; a service that serves it takes it over within a second.

        Args:
            number: Of the version.
            at: Time of the record.
            refuse: Raises where it must not be served; called while nothing else can replace the bundle.

        Raises:
            NotFoundError: There is no such version, or its files are gone.
            ArtifactError: It is altered, or of another catalog; the disk is full.
        """
        with locked(lock_of(self.bundle), waits=True):
            found = self.load(number)
            self._refuse_other_catalog(found)
            refuse(found)
            link_artifact(self.place(number), self.bundle, kind=KIND)
        return self.decide(number, "promoted", at=at)

    def rollback(self, *, at: int, refuse: Callable[[Recommender], None] = lambda _: None) -> VersionRecord:
        """Serve the parent of the served version again; arguments and errors as those of `promote`.

        Raises:
            NotFoundError: The served version has no parent whose files are kept.
        """
        served = self.adopt(made_at=at)
        parent = served.parent
        if parent is None or not self.has_files(parent):
            raise NotFoundError(
                f"Version {served.number} has no earlier one that is kept.",
                where=str(self.folder),
                fix="name a version: `penchant promote BUNDLE NUMBER`",
            )
        back = self.promote(parent, at=at, refuse=refuse)
        self.decide(served.number, "rolled_back", at=at)
        return back

    def decide(self, number: int, outcome: Outcome, *, at: int) -> VersionRecord:
        """Record what became of a version."""
        return self._put(self.record(number).model_copy(update={"outcome": outcome, "decided_at": at}))

    def report(self, number: int, report: dict[str, Any]) -> VersionRecord:
        """Record the comparison of a version with its parent."""
        return self._put(self.record(number).model_copy(update={"report": report}))

    def prune(self) -> list[int]:
        """Delete the files of old versions beyond the limit; those served, its parent and the newest stay. Return their numbers."""
        served = self.served()
        safe = set() if served is None else {served.number, served.parent}
        others = [r.number for r in self.records() if self.has_files(r.number) and r.number not in safe]
        gone = others[: max(len(others) - self.keep, 0)]
        for number in gone:
            self.remove(number)
        return gone

    def remove(self, number: int) -> None:
        """Delete the files of a version; its record stays."""
        shutil.rmtree(self.place(number), ignore_errors=True)

    def _report(self) -> Path | None:
        """Return the report of the run behind the bundle; its versions keep it."""
        report = self.bundle / REPORT
        return report if report.is_dir() else None

    def _refuse_other_catalog(self, found: Recommender) -> None:
        held = Recommender.load(self.bundle).catalog.item_ids if (self.bundle / MANIFEST).is_file() else []
        shared = shared_items(held, found)
        if shared < MIN_SHARED:
            raise ArtifactError(
                f"The version holds {shared:.0%} of the items that are served: it is of another catalog.",
                where=str(found.folder),
                fix="promote a version of this catalog; another catalog needs a bundle, and a service, of its own",
            )

    def _next_number(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.name[:6]) for path in self.folder.glob("[0-9]*") if path.name[:6].isdigit()]
        return max(numbers, default=0) + 1

    def _put_first(self, record: VersionRecord) -> VersionRecord:
        """Write the record of a new version; its files do not stay without one, since nothing would prune them or erase from them."""
        try:
            return self._put(record)
        except BaseException:
            self.remove(record.number)
            raise

    def _put(self, record: VersionRecord) -> VersionRecord:
        replace_text(self.folder / f"{record.number:06d}.json", record.model_dump_json(indent=1))
        return record


def shared_items(item_ids: Sequence[str], found: Recommender) -> float:
    """Return the share of some items that a recommender knows; 1 of none."""
    return sum(item in found.lookup.items for item in item_ids) / len(item_ids) if item_ids else 1.0


def mark_of(folder: Path) -> str:
    """Return the fingerprint of a bundle's manifest; "" where there is none."""
    try:
        return fingerprint((folder / MANIFEST).read_bytes())
    except OSError:
        return ""


def data_range(bundle: Recommender) -> DataRange:
    """Return the range of the events that a bundle learned from."""
    events = bundle.histories if bundle.fitted is None else bundle.fitted
    timed = events.at[events.at > 0]
    return DataRange(
        events=events.num_events,
        users=int((events.lengths() > 0).sum()),
        items=len(bundle.catalog),
        first_at=int(timed.min()) if len(timed) else 0,
        last_at=int(timed.max()) if len(timed) else 0,
    )
