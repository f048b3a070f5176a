"""Data warnings: the most harmful problems of a data set.

In: the facts of a diagnosis. Out: at most five warnings, worst first, each with its number and its fix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from penchant.core.schema import Finding
from penchant.data.doctor.survey import ContentCoverage, DatasetSizes, PopularityProfile
from penchant.data.split.leakage import LeakageReport, LeakingColumn, TimeTies

MAX_CONCERNS = 5
UNCOUNTED = (
    "items.roles",
    "users.roles",
    "events.time_unit",
    "events.recognised_time",
    "events.unused_columns",
    "files.encoding",
    "files.separator",
    "model.auto",
)
"""Findings that tell how the data was read: a count of them says nothing."""


@dataclass(frozen=True)
class DataWarning:
    """One data warning.

    Attributes:
        weight: Harm, 0 to 1: 1 invalidates every number, .5 costs much of the possible gain, below .05 is left out.
        what: The problem, with its number.
        fix: What to do.
    """

    weight: float
    what: str
    fix: str


def rank_warnings(
    *,
    sizes: DatasetSizes,
    coverage: Sequence[ContentCoverage],
    popularity: PopularityProfile,
    languages: Mapping[str, float],
    ties: TimeTies,
    outcomes: Sequence[LeakingColumn],
    leaks: LeakageReport | None,
    findings: Sequence[Finding],
) -> list[DataWarning]:
    """Return at most `MAX_CONCERNS`, the worst first."""
    concerns = [
        *_about_outcomes(outcomes),
        *_about_split(leaks),
        *_about_time(ties),
        *_about_size(sizes),
        *_about_items(popularity, sizes),
        *_about_content(coverage, languages),
        *about_findings(findings),
    ]
    return most_harmful(concerns)


def most_harmful(concerns: Iterable[DataWarning]) -> list[DataWarning]:
    """Return at most `MAX_CONCERNS`, the worst first, without those that hardly matter."""
    return sorted((c for c in concerns if c.weight >= 0.05), key=lambda concern: -concern.weight)[:MAX_CONCERNS]


def warning_lines(concerns: Sequence[DataWarning]) -> Iterator[str]:
    """Yield the warnings as lines of text."""
    if not concerns:
        yield "No warnings."
        return
    yield "Warnings, most harmful first"
    for number, concern in enumerate(concerns, 1):
        yield f"  {number}. {concern.what}"
        yield f"     fix: {concern.fix}"


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the findings as lines of text, an empty one first; nothing where there is none."""
    shown = [finding for finding in findings if finding.count]
    if not shown:
        return
    yield ""
    yield "Findings"
    for finding in shown:
        counted = f"{finding.count:,} of {finding.total:,} {finding.action}; "
        yield f"  {finding.check}: {'' if finding.check in UNCOUNTED else counted}{finding.advice}"
        yield from (f"    {example}" for example in finding.examples[:3])


def _about_outcomes(outcomes: Sequence[LeakingColumn]) -> Iterator[DataWarning]:
    for outcome in outcomes:
        yield DataWarning(
            abs(outcome.correlation),
            f"The column {outcome.column!r} of {outcome.table} follows the {outcome.statistic} "
            f"(rank correlation {outcome.correlation:.2f}): it was probably computed from all events, test included.",
            f"leave {outcome.column!r} out of the attributes",
        )


def _about_split(leaks: LeakageReport | None) -> Iterator[DataWarning]:
    if leaks is None:
        return
    if leaks.early:
        yield DataWarning(
            1.0,
            f"{leaks.early:.1%} of the test events lie before the end of training, which this split excludes.",
            "make the split again from the events",
        )
    if leaks.ahead > 0.05:
        yield DataWarning(
            0.2 * leaks.ahead,
            f"{leaks.ahead:.0%} of the test events lie before the last training event: later choices of other users are known.",
            'expect other numbers in service; set split.kind = "rolling_time" to see them',
        )
    if leaks.same_rows:
        yield DataWarning(
            0.9, f"{leaks.same_rows:,} events are in two parts of the split.", "drop duplicate events first"
        )


def _about_time(ties: TimeTies) -> Iterator[DataWarning]:
    if ties.untimed > 0.05:
        yield DataWarning(
            0.4 * ties.untimed,
            f"{ties.untimed:.0%} of the events have no time: what came last cannot be known.",
            "map a time column; until then events without a time count as the oldest",
        )
    if ties.last_two * ties.file_order > 0.01:
        yield DataWarning(
            ties.last_two * ties.file_order,
            f"The last two events of {ties.last_two:.0%} of users share a time, and the rows of {ties.file_order:.0%} of "
            "users are sorted by item id: file order would reveal what comes last.",
            "keep the seeded random order of ties (the default), and do not compare with results that used file order",
        )
    elif ties.last_two > 0.3:
        yield DataWarning(
            0.3 * ties.last_two,
            f"The last two events of {ties.last_two:.0%} of users share a time: which came last is random.",
            "log finer times, or predict several events at once (split.kind = 'user_time') instead of the last one",
        )


def _about_size(sizes: DatasetSizes) -> Iterator[DataWarning]:
    if sizes.users < 200:
        yield DataWarning(
            0.6,
            f"There are only {sizes.users:,} users: most differences between models will not be significant.",
            "bring more users, and read the intervals rather than the numbers",
        )
    if sizes.events_per_user and sizes.events_per_user[2] < 5:
        yield DataWarning(
            0.5,
            f"Half of the users have {sizes.events_per_user[2]:.0f} events or fewer.",
            "count more kinds of events (views, carts), and lean on content channels",
        )


def _about_items(popularity: PopularityProfile, sizes: DatasetSizes) -> Iterator[DataWarning]:
    if popularity.untouched:
        share = popularity.untouched / sizes.items
        yield DataWarning(
            0.5 * share,
            f"{popularity.untouched:,} items ({share:.0%}) have no events; only content can recommend them.",
            "give them text or pictures and turn on content channels"
            if popularity.untouched_bare
            else "turn on content channels; all of these items have content",
        )
    if popularity.top_percent > 0.2:
        yield DataWarning(
            0.4 * popularity.top_percent,
            f"The top 1 % of items hold {popularity.top_percent:.0%} of the events: popularity alone will look good.",
            "compare with the Popularity row, and read the slices by item popularity",
        )


def _about_content(coverage: Sequence[ContentCoverage], languages: Mapping[str, float]) -> Iterator[DataWarning]:
    if not coverage:
        yield DataWarning(
            0.4, "The items have no text, picture or sound: new items cannot be recommended.", "map content columns"
        )
    for cover in coverage:
        if cover.items < 0.98:
            yield DataWarning(
                0.5 * (1 - cover.items),
                f"{1 - cover.items:.0%} of the items, which draw {1 - cover.events:.0%} of the events, have no {cover.modality}.",
                f"add the missing ones ({', '.join(cover.columns)}); until then they are filled in from related items",
            )
    other = 1 - languages.get("en", 0.0)
    if languages and other > 0.05:
        top = next(name for name in languages if name != "en")
        yield DataWarning(
            0.4 * other,
            f"{other:.0%} of the texts are not English (mostly {top!r}).",
            'take a text encoder of many languages: encoder = "e5"',
        )


def about_findings(findings: Sequence[Finding]) -> Iterator[DataWarning]:
    """Return findings of cleaning, weighted by the share of the data that they affect."""
    for finding in findings:
        if finding.check == "files.encoding":  # read right as far as can be told, and one file is no share of the data
            continue
        share = finding.count / max(finding.total, 1)
        if finding.severity == "error":
            weight = 1.0
        elif finding.severity == "warning" or finding.action in {"dropped", "masked"}:
            weight = 0.5 * share
        else:
            continue
        yield DataWarning(
            weight,
            f"{finding.check}: {finding.count:,} of {finding.total:,} ({share:.1%}) {finding.action}.",
            finding.advice or "see the examples",
        )
