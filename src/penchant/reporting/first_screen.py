"""The first screen of a report: what a reader needs to decide.

In: the measurements of a run. Out: data warnings, whether it is good, where the lead comes from, what each modality is worth and costs, and what
to do next, as sentences in the reader's language.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from penchant.core.messages import Message, Translator, message
from penchant.data.doctor.warnings import DataWarning
from penchant.metrics.ablation import DOES_NOT_PAY, PAYS, Ablation
from penchant.metrics.comparison import Leaderboard
from penchant.metrics.intervals import BETTER, SAME, WORSE, Difference, Interval
from penchant.metrics.slices import Slice
from penchant.reporting import number_format
from penchant.reporting.conclusions import ablation_sentences, lift_of, payoff_sentence
from penchant.reporting.labels import metric_label

TIME_SINCE = message("time since the last known event")
"""Dimension of the slices that say how much of a lead is the order inside one visit."""
TOO_FEW = message("too few users")
MAX_WARNINGS, MAX_STEPS = 3, 3
HARMFUL = 0.15
"""Weight of a data warning that stands before the results."""
COSTLY = 0.1
"""Share of the time of encoding from which a modality without a gain is worth leaving out."""
WORTH_SAVING = 5.0
"""Seconds of encoding below which nothing is gained by leaving a modality out."""
COMPLETE = 0.98
"""Share of items with a modality from which nothing is missing."""

VERDICTS: Mapping[str, Message] = {
    BETTER: message("Yes: it recommends better than the best baseline, {baseline}. {metric} is higher by {lift}."),
    SAME: message("Not shown: on these users it cannot be told apart from the best baseline, {baseline}."),
    WORSE: message("No: the best baseline, {baseline}, recommends better. {metric} is lower by {lift}."),
}


@dataclass(frozen=True)
class Coverage:
    """How many items have a modality, and what its channels take to encode.

    Attributes:
        share: 0 to 1.
        missing: Items without it.
        seconds: NaN where it was not measured.
    """

    share: float
    missing: int
    seconds: float


def verdict(board: Leaderboard, translate: Translator) -> str:
    """Return whether ours is better than the best baseline, in plain words; "" without a comparison."""
    if board.ours is None or board.metric not in board.ours.differences:
        return ""
    gain, base = board.ours.differences[board.metric], board.row(board.best_baseline).scores[board.metric]
    return verdict_of(gain.outcome, board.best_baseline, board.metric, gain.mean, base.mean, translate)


def verdict_of(outcome: str, baseline: str, metric: str, gain: float, base: float, translate: Translator) -> str:
    """Return the verdict on a difference to a baseline.

    Args:
        outcome: "better", "worse" or "not distinguishable".
        baseline: Its name.
        metric: The deciding one.
        gain: The difference.
        base: The baseline's mean.
        translate: Into the reader's language.
    """
    return translate(
        VERDICTS[outcome],
        baseline=translate.said(baseline),
        metric=metric_label(translate, metric),
        lift=lift_of(gain, base).lstrip(f"+{number_format.MINUS}"),
    )


def strongest_sentence(board: Leaderboard, translate: Translator) -> str:
    """Return the comparison with the baseline that is best on the test, where that is another than the one chosen on validation."""
    if board.ours is None or board.to_strongest is None:
        return ""
    theirs, gain = board.row(board.strongest).scores[board.metric], board.to_strongest
    return translate(
        "Of all baselines, {baseline} is best on the test itself, {metric} {theirs}: ours against it {difference}, {outcome}.",
        baseline=translate.said(board.strongest),
        metric=metric_label(translate, board.metric),
        theirs=number_format.number(theirs.mean, number_format.decimals(gain)),
        difference=number_format.difference(gain),
        outcome=translate(gain.outcome),
    )


def ceiling_sentence(board: Leaderboard, ceiling: Mapping[str, Interval], translate: Translator) -> str:
    """Return how much of what can be reached is reached; "" where nobody knows it."""
    best = ceiling.get(board.metric)
    if best is None or board.ours is None or not best.mean > 0:
        return ""
    ours, base = board.ours.scores[board.metric], board.row(board.best_baseline).scores[board.metric]
    return translate(
        "Lists made from the true taste of every user would reach {metric} {best}; the rest is chance. {name} reaches {ours} of that, "
        "{baseline} {theirs}.",
        metric=metric_label(translate, board.metric),
        best=number_format.interval(best),
        name=translate.said(board.ours.name),
        ours=number_format.percent(ours.mean / best.mean, 0),
        baseline=translate.said(board.best_baseline),
        theirs=number_format.percent(base.mean / best.mean, 0),
    )


def lead_sentence(slices: Sequence[Slice], translate: Translator, *, has_requests: bool = False) -> str:
    """Return where in time the difference to the best baseline comes from; "" where the times are not known.

    Args:
        slices: Of the report.
        translate: Into the reader's language.
        has_requests: Whether a user may have several requests.
    """
    rows = [row for row in slices if row.dimension == TIME_SINCE]
    total = sum(row.num_rows for row in rows)
    if not rows or not total:
        return ""
    # a user with several requests may be in several groups, so that shares of users would not add up
    template = (
        message("{group} ({share} of requests) {difference}, {outcome}")
        if has_requests
        else message("{group} ({share} of users) {difference}, {outcome}")
    )
    parts = [
        translate(
            template,
            group=translate.said(row.group),
            share=number_format.percent(row.num_rows / total, 0),
            difference=number_format.difference(row.difference),
            outcome=translate(TOO_FEW if math.isnan(row.difference.low) else row.difference.outcome),
        )
        for row in rows
    ]
    return translate(
        "By the time since a user's last known event, {metric}: {parts}.",
        metric=metric_label(translate, rows[0].metric),
        parts=translate("; ").join(parts),
    )


def modality_sentences(ablation: Ablation, coverage: Mapping[str, Coverage], translate: Translator) -> list[str]:
    """Return whether each modality pays and what it costs; those without a gain that cost little share one sentence."""
    total = sum(c.seconds for c in coverage.values() if not math.isnan(c.seconds))
    minor = [
        p
        for p in ablation.payoffs
        if p.outcome == SAME and p.cost is not None and p.cost.once <= COSTLY * max(total, 1.0)
    ]
    if len(minor) < 2:
        return ablation_sentences(ablation, translate)
    said = [payoff_sentence(p, ablation.metric, translate) for p in ablation.payoffs if p not in minor]
    names = translate(", ").join(translate.channel(p.channel) for p in minor)
    return [*said, translate("Not distinguishable from noise, and cheap: {channels}.", channels=names)]


def warning_sentences(concerns: Sequence[DataWarning], translate: Translator) -> list[str]:
    """Return the data warnings that a reader must know before the results."""
    return [translate.said(c.what) for c in concerns if c.weight >= HARMFUL][:MAX_WARNINGS]


def next_steps(
    concerns: Sequence[DataWarning],
    board: Leaderboard | None,
    ablation: Ablation | None,
    coverage: Mapping[str, Coverage],
    translate: Translator,
) -> list[str]:
    """Return what to do next, at most three: the worst of the data, the modality that costs or promises most, then what is left.

    Args:
        concerns: The worst first.
        board: Ours and the baselines.
        ablation: Value of each modality.
        coverage: By modality.
        translate: Into the language of the report.
    """
    of_data = [
        translate("{problem} To do: {fix}.", problem=translate.said(c.what), fix=translate.said(c.fix))
        for c in concerns
    ]
    of_results = [*_about_comparison(board, translate), *_about_modalities(ablation, coverage, translate)]
    found = [*of_data[:1], *of_results[:2], *of_data[1:], *of_results[2:]]
    return found[:MAX_STEPS]


def _about_comparison(board: Leaderboard | None, translate: Translator) -> Iterator[str]:
    gain = None if board is None or board.ours is None else board.ours.differences.get(board.metric)
    if board is None or gain is None:
        return
    if gain.outcome == WORSE:
        yield translate(
            "{baseline} alone is better: serve it, and look at the slices for the users who lose.",
            baseline=translate.said(board.best_baseline),
        )
    elif gain.outcome == SAME and not math.isnan(gain.detectable):
        yield translate(
            "A difference below {size} would not be seen with {users} users: bring more users or events before choosing by it.",
            size=number_format.number(gain.detectable, number_format.decimals(gain)),
            users=number_format.count(gain.num_users),
        )


def _about_modalities(
    ablation: Ablation | None, coverage: Mapping[str, Coverage], translate: Translator
) -> Iterator[str]:
    """Yield one step for each modality: leave it out, pay attention to its cost, or complete it; the largest matter first."""
    if ablation is None:
        return
    total = sum(c.seconds for c in coverage.values() if not math.isnan(c.seconds))
    found: list[tuple[float, str]] = []
    for payoff in ablation.payoffs:
        name, gain, have = translate.channel(payoff.channel), payoff.gain, coverage.get(payoff.channel)
        if payoff.outcome == DOES_NOT_PAY:
            found.append((2.0, translate("Leave out {channel}: lists are better without it.", channel=name)))
        elif payoff.outcome == PAYS and have is not None and have.share < COMPLETE:
            text = translate(
                "{channel}: pays, and {missing} items ({share}) have none; add it there.",
                channel=name[:1].upper() + name[1:],
                missing=number_format.count(have.missing),
                share=number_format.percent(1 - have.share, 0),
            )
            found.append((1.0 + _size(gain), text))
        elif payoff.outcome == SAME and have is not None and have.seconds > max(COSTLY * total, WORTH_SAVING):
            text = translate(
                "{channel}: {time} to encode and no gain to see; leave it out, or try another encoder.",
                channel=name[:1].upper() + name[1:],
                time=number_format.seconds(have.seconds),
            )
            found.append((1.5, text))
    for _, text in sorted(found, key=lambda pair: -pair[0]):
        yield text


def _size(gain: Difference) -> float:
    return min(max(gain.mean, 0.0), 0.4)
