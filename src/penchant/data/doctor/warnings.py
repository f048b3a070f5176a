"""Data warnings: the most harmful problems of a data set.

In: the facts of a diagnosis. Out: at most five warnings, worst first, each with its number and its fix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from penchant.core.messages import channel_names, message
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
    split_kind: str | None = None,
) -> list[DataWarning]:
    """Return at most `MAX_CONCERNS`, the worst first; `split_kind` is that of the split the leaks are of."""
    concerns = [
        *_about_outcomes(outcomes),
        *_about_split(leaks),
        *_about_time(ties, predicts_one=split_kind in (None, "last_out")),
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
        yield message("No warnings.")
        return
    yield message("Warnings, most harmful first")
    for number, concern in enumerate(concerns, 1):
        yield message("  {number}. {what}", number=number, what=concern.what)
        yield message("     fix: {fix}", fix=concern.fix)


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the findings as lines of text, an empty one first; nothing where there is none."""
    shown = [finding for finding in findings if finding.count]
    if not shown:
        return
    yield ""
    yield message("Findings")
    for finding in shown:
        if finding.check in UNCOUNTED:
            yield message("  {check}: {advice}", check=finding.check, advice=finding.advice)
        else:
            given = {
                "check": finding.check,
                "count": f"{finding.count:,}",
                "total": f"{finding.total:,}",
                "advice": finding.advice,
            }
            if finding.action == "kept":  # nothing was done, and "68 of 200 kept" reads as if the others were dropped
                yield message("  {check}: {count} of {total}; {advice}", **given)
            else:
                action = ACTIONS.get(finding.action, finding.action)
                yield message("  {check}: {count} of {total} {action}; {advice}", **given, action=action)
        yield from (message("    {example}", example=example) for example in finding.examples[:3])


def _about_outcomes(outcomes: Sequence[LeakingColumn]) -> Iterator[DataWarning]:
    for outcome in outcomes:
        yield DataWarning(
            abs(outcome.correlation),
            message(
                "The column {column} of {table} follows the {statistic} (rank correlation {correlation}): it was probably computed from all "
                "events, test included.",
                column=repr(outcome.column),
                table=outcome.table,
                statistic=outcome.statistic,
                correlation=f"{outcome.correlation:.2f}",
            ),
            message("leave {column} out of the attributes", column=repr(outcome.column)),
        )


def _about_split(leaks: LeakageReport | None) -> Iterator[DataWarning]:
    if leaks is None:
        return
    if leaks.early:
        yield DataWarning(
            1.0,
            message(
                "{share} of the test events lie before the end of training, which this split excludes.",
                share=f"{leaks.early:.1%}",
            ),
            message("make the split again from the events"),
        )
    if leaks.ahead > 0.05:
        yield DataWarning(
            0.2 * leaks.ahead,
            message(
                "{share} of the test events lie before the last training event: later choices of other users are known.",
                share=f"{leaks.ahead:.0%}",
            ),
            message('expect other numbers in service; set split.kind = "rolling_time" to see them'),
        )
    if leaks.same_rows:
        yield DataWarning(
            0.9,
            message("{count} events are in two parts of the split.", count=f"{leaks.same_rows:,}"),
            message("drop duplicate events first"),
        )


def _about_time(ties: TimeTies, *, predicts_one: bool) -> Iterator[DataWarning]:
    if ties.untimed > 0.05:
        yield DataWarning(
            0.4 * ties.untimed,
            message("{share} of the events have no time: what came last cannot be known.", share=f"{ties.untimed:.0%}"),
            message("map a time column; until then events without a time count as the oldest"),
        )
    if ties.last_two * ties.file_order > 0.01:
        yield DataWarning(
            ties.last_two * ties.file_order,
            message(
                "The last two events of {share} of users share a time, and the rows of {sorted} of users are sorted by item id: file order "
                "would reveal what comes last.",
                share=f"{ties.last_two:.0%}",
                sorted=f"{ties.file_order:.0%}",
            ),
            message(
                "keep the seeded random order of ties (the default), and do not compare with results that used file order"
            ),
        )
    elif predicts_one and ties.last_two > 0.3:
        yield DataWarning(
            0.3 * ties.last_two,
            message(
                "The last two events of {share} of users share a time: which came last is random.",
                share=f"{ties.last_two:.0%}",
            ),
            message(
                "log finer times, or predict several events at once (split.kind = 'user_time') instead of the last one"
            ),
        )


def _about_size(sizes: DatasetSizes) -> Iterator[DataWarning]:
    if sizes.users < 200:
        yield DataWarning(
            0.6,
            message(
                "There are only {users} users: most differences between models will not be significant.",
                users=f"{sizes.users:,}",
            ),
            message("bring more users, and read the intervals rather than the numbers"),
        )
    if sizes.events_per_user and sizes.events_per_user[2] < 5:
        yield DataWarning(
            0.5,
            message("Half of the users have {count} events or fewer.", count=f"{sizes.events_per_user[2]:.0f}"),
            message("count more kinds of events (views, carts), and lean on content channels"),
        )


def _about_items(popularity: PopularityProfile, sizes: DatasetSizes) -> Iterator[DataWarning]:
    if popularity.untouched:
        share = popularity.untouched / sizes.items
        yield DataWarning(
            0.5 * share,
            message(
                "{count} items ({share}) have no events; only content can recommend them.",
                count=f"{popularity.untouched:,}",
                share=f"{share:.0%}",
            ),
            message("give them text or pictures and turn on content channels")
            if popularity.untouched_bare
            else message("turn on content channels; all of these items have content"),
        )
    if popularity.top_percent > 0.2:
        yield DataWarning(
            0.4 * popularity.top_percent,
            message(
                "The top 1 % of items hold {share} of the events: popularity alone will look good.",
                share=f"{popularity.top_percent:.0%}",
            ),
            message("compare with the Popularity row, and read the slices by item popularity"),
        )


def _about_content(coverage: Sequence[ContentCoverage], languages: Mapping[str, float]) -> Iterator[DataWarning]:
    if not coverage:
        yield DataWarning(
            0.4,
            message("The items have no text, picture or sound: new items cannot be recommended."),
            message("map content columns"),
        )
    for cover in coverage:
        if cover.items < 0.98:
            yield DataWarning(
                0.5 * (1 - cover.items),
                message(
                    "{share} of the items, which draw {events} of the events, have no {modality}.",
                    share=f"{1 - cover.items:.0%}",
                    events=f"{1 - cover.events:.0%}",
                    modality=channel_names([cover.modality]),
                ),
                message(
                    "add the missing ones ({columns}); until then they are filled in from related items",
                    columns=", ".join(cover.columns),
                ),
            )
    other = 1 - languages.get("en", 0.0)
    if languages and other > 0.05:
        top = next(name for name in languages if name != "en")
        yield DataWarning(
            0.4 * other,
            message(
                "{share} of the texts are not English (mostly {language}).", share=f"{other:.0%}", language=repr(top)
            ),
            message('take a text encoder of many languages: encoder = "e5"'),
        )


ACTIONS = {name: message(name) for name in ("kept", "repaired", "dropped", "masked")}
"""What was done about a finding, as reports say it."""


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
            message(
                "{check}: {count} of {total} ({share}) {action}.",
                check=finding.check,
                count=f"{finding.count:,}",
                total=f"{finding.total:,}",
                share=f"{share:.1%}",
                action=ACTIONS.get(finding.action, finding.action),
            ),
            finding.advice or message("see the examples"),
        )
