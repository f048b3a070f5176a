"""Commands of a bundle that learns: update it, list its versions, promote one, roll back.

In: a bundle, and its service's store. Out: versions beside the bundle, and one of them in its place.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penchant.cli.options import (
    AsJson,
    BundlePath,
    Database,
    Every,
    LearningFile,
    Promote,
    StateFolder,
    learning_values,
)
from penchant.cli.printing import columns_table, out, print_answer, reported_errors
from penchant.cli.service import part_of_service, service_config
from penchant.cli.speaking import said
from penchant.core.errors import ConfigError
from penchant.core.messages import Message, message

if TYPE_CHECKING:
    from penchant.learning.judging import Judgement
    from penchant.learning.learner import Learner, Step
    from penchant.recommender.versions import VersionRecord

Number = Annotated[int, typer.Argument(min=1, help="Of the version, as `penchant versions` shows it.")]


def update(
    bundle: BundlePath,
    follow: Annotated[bool, typer.Option("--follow", help="Go on, a step every --every seconds.")] = False,
    every: Every = None,
    promote: Promote = None,
    learning: LearningFile = None,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Learn from the events that came to the service's store: judge the version that waits, or make one; see docs/learning.md."""
    with (
        reported_errors(as_json),
        _learner(bundle, database, folder, **learning_values(learning, every, promote)) as learner,
    ):
        with learner.versions.learning():
            if follow:
                from penchant.learning.learner import follow as go_on

                go_on(learner, threading.Event())
            step = learner.step()
        print_answer(_plain(step) if as_json else list(_told(step)), as_json)


def versions(bundle: BundlePath, as_json: AsJson = False) -> None:
    """List the versions of a bundle: what each learned from, and what became of it."""
    from penchant.recommender.versions import VersionStore

    with reported_errors(as_json):
        state_of = part_of_service("served_versions", "serve").state_of
        store = VersionStore(bundle)
        served, records = store.served(), store.records()
        if as_json:
            print_answer([_record(r, served, store.has_files(r.number)) for r in records], as_json)
            return
        table = columns_table(
            "", "version", "parent", "made", "events", "new", "seconds", "state", "against its parent"
        )
        for r in records:
            is_served = served is not None and r.number == served.number
            table.add_row(
                "*" if is_served else "",
                str(r.number),
                "" if r.parent is None else str(r.parent),
                _time(r.made_at),
                f"{r.data.events:,}",
                f"{r.new_events:,}",
                f"{r.seconds:.1f}",
                said(state_of(r, is_served=is_served, is_kept=store.has_files(r.number))),
                _against_parent(r.report),
            )
        out.print(table)
        newest = next((r.report for r in reversed(records) if r.report), {})
        if (reason := _too_few_requests(newest)) is not None:
            out.print(said(reason), markup=False)


def promote(
    bundle: BundlePath, number: Number, database: Database = None, folder: StateFolder = None, as_json: AsJson = False
) -> None:
    """Serve a version from now on; a running service takes it over within a second."""
    with reported_errors(as_json), _learner(bundle, database, folder) as learner:
        _print_served(learner.promote(number), as_json)


def rollback(
    bundle: BundlePath, database: Database = None, folder: StateFolder = None, as_json: AsJson = False
) -> None:
    """Serve the parent of the served version again."""
    with reported_errors(as_json), _learner(bundle, database, folder) as learner:
        _print_served(learner.rollback(), as_json)


def compare_versions(
    first: tuple[Path, int], second: tuple[Path, int], database: str | None, folder: Path | None, as_json: bool
) -> None:
    """Print two versions of one bundle side by side, measured on the events that came after both.

    Raises:
        ConfigError: They are of different bundles.
        NotFoundError: There is no such version, or its files are gone.
    """
    from penchant.reporting import number_format

    if first[0].absolute() != second[0].absolute():
        raise ConfigError(
            "The versions are of different bundles.", where="compare", fix="name two versions of one bundle"
        )
    with _learner(first[0], database, folder) as learner:
        one, other = (learner.versions.record(number) for _, number in (first, second))
        found = learner.compare(one.number, other.number)
    if as_json:
        print_answer(found.as_dict(), as_json)
        return
    table = columns_table(
        "", *(f"{path.name}@{number}" for path, number in (first, second)), said(message("popularity"))
    )
    if found.difference is not None:
        shown = [number_format.interval(found.scores[name]) for name in ("parent", "version", "popularity")]
        table.add_row(found.metric, *shown)
    for label, values in _differences(one, other):
        table.add_row(label, *values)
    out.print(table)
    if found.difference is None:
        out.print(said(message("No event came after both: nothing to compare them on.")), markup=False)
        return
    gap = f"{number_format.difference(found.difference)} {said(found.difference.outcome)}"
    line = message("second minus first on {count} requests after both: {gap}", count=f"{found.requests:,}", gap=gap)
    out.print(said(line), markup=False)


def _differences(one: VersionRecord, other: VersionRecord) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yield what differs in the data and the making of two versions."""
    for label, values in (
        (message("events"), [f"{r.data.events:,}" for r in (one, other)]),
        (message("users"), [f"{r.data.users:,}" for r in (one, other)]),
        (message("items"), [f"{r.data.items:,}" for r in (one, other)]),
        (message("newest event"), [_time(r.data.last_at) for r in (one, other)]),
        (message("made"), [_time(r.made_at) for r in (one, other)]),
    ):
        yield said(label), (values[0], values[1], "" if values[0] == values[1] else "≠")
    for member in sorted({*one.members, *other.members}):
        how = [r.members.get(member, "–") for r in (one, other)]
        if how[0] != how[1]:
            yield member, (how[0], how[1], "≠")


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "–"


@contextmanager
def _learner(bundle: Path, database: str | None, folder: Path | None, **settings: Any) -> Iterator[Learner]:
    part_of_service("service", "serve")
    from penchant.learning.learner import open_learner
    from penchant.learning.settings import LearningConfig

    config = service_config(bundle, database, folder)
    chosen = LearningConfig.read(settings, where="options")
    learner = open_learner(bundle, config.address, config.state_folder / "secret.key", chosen)
    try:
        yield learner
    finally:
        learner.close()


def _print_served(record: VersionRecord, as_json: bool) -> None:
    line = message("version {number} is served", number=record.number)
    print_answer(record.model_dump() if as_json else [said(line)], as_json)


def _told(step: Step) -> Iterator[str]:
    """Yield what a step did, in the language of the command."""
    if step.judged is not None:
        record, found = step.judged
        if found.difference is None:
            yield said(
                message(
                    "version {number} waits: {count} events came after its data, too few to compare it",
                    number=record.number,
                    count=found.requests,
                )
            )
        else:
            yield said(_judged(record.number, found)) + " " + _against_parent(found.as_dict())
            if (reason := _too_few_requests(found.as_dict())) is not None:
                yield said(reason)
    if step.made is not None:
        yield said(
            message(
                "version {number} learned from {count} new events in {seconds} s",
                number=step.made.number,
                count=f"{step.made.new_events:,}",
                seconds=f"{step.made.seconds:.1f}",
            )
        )
    elif step.judged is None:
        yield said(message("there are no new events"))
    if step.unknown_items:
        yield said(
            message("{count} events are of items that the bundle does not have", count=f"{step.unknown_items:,}")
        )
    if step.unreadable:
        yield said(message("events of {count} users cannot be read and are left out", count=step.unreadable))
    yield said(message("version {number} is served", number=step.served.number))


def _judged(number: int, found: Judgement) -> Message:
    named = {"number": number, "count": f"{found.requests:,}"}
    if found.verdict == "promoted":
        return message("version {number} is no worse on {count} requests and is served:", **named)
    if found.verdict == "rejected" and found.difference is not None and found.difference.high < 0:
        return message("version {number} is worse on {count} requests and is not served:", **named)
    if found.verdict == "rejected":
        return message("version {number} is not shown to be no worse on {count} requests and is not served:", **named)
    return message("version {number} is not told apart yet on {count} requests:", **named)


def _too_few_requests(report: dict[str, Any]) -> Message | None:
    found: Message | None = part_of_service("served_versions", "serve").too_few_requests(report)
    return found


def _against_parent(report: dict[str, Any]) -> str:
    """Return the comparison of a version with its parent in one line; "" before there is one."""
    shown = part_of_service("served_versions", "serve").shown_scores(report)
    if shown is None:
        return ""
    figures = f"{shown['metric']} {shown['version']}, {shown['parent']} ({shown['difference']}), "
    return figures + said(message("popularity {score}", score=shown["popularity"]))


def _record(record: VersionRecord, served: VersionRecord | None, is_kept: bool) -> dict[str, Any]:
    is_served = served is not None and record.number == served.number
    return {**record.model_dump(), "is_served": is_served, "is_kept": is_kept}


def _plain(step: Step) -> dict[str, Any]:
    return {
        "served": step.served.number,
        "made": None if step.made is None else step.made.model_dump(),
        "judged": None if step.judged is None else {"number": step.judged[0].number, **step.judged[1].as_dict()},
        "new_events": step.new_events,
        "unknown_items": step.unknown_items,
        "unreadable": step.unreadable,
    }
