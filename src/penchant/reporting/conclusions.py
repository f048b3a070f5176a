"""The report's findings as plain sentences.

In: a league, an ablation, a judged yes-or-no, and a language. Out: sentences with their intervals.
"""

from __future__ import annotations

import math

from penchant.metrics.ablation import DOES_NOT_PAY, Ablation, AblationRow, Payoff
from penchant.metrics.classification_results import Labelled, LabelledRow
from penchant.metrics.comparison import Cost, League, LeagueRow
from penchant.metrics.interest import Classified
from penchant.metrics.intervals import SAME, Interval
from penchant.reporting import number_format
from penchant.reporting.messages import Words


def league_sentences(league: League, words: Words) -> list[str]:
    """Return how ours stands against the best baseline: first what people found, then the deciding metric if it is another."""
    ours = league.ours or next((row for row in league.rows if row.differences), None)
    if ours is None:  # a baseline alone has nothing to stand against
        return []
    plain = f"recall@{league.metric.partition('@')[2]}"
    metrics = [m for m in (plain, league.metric) if m in league.metrics]
    return [_headline(league, ours, metric, words) for metric in dict.fromkeys(metrics)]


def payoff_sentence(payoff: Payoff, metric: str, words: Words) -> str:
    """Return whether one channel pays, what it brings and what it costs."""
    gain, sign = payoff.gain, -1 if payoff.verdict == DOES_NOT_PAY else 1
    low, high = sorted((sign * gain.low, sign * gain.high))
    change = number_format.interval(Interval(sign * gain.mean, low, high, gain.num_users))
    if payoff.verdict == SAME:
        change = number_format.difference(gain)
    channel = words.channel(payoff.channel)
    text = words(
        f"sentence_{payoff.verdict}",
        channel=channel[:1].upper() + channel[1:],
        metric=words.metric(metric),
        gain=change,
    )
    if payoff.cost is None:
        return text
    return text + words("between_sentences") + _cost_sentence(payoff.cost, words)


def ablation_sentences(ablation: Ablation, words: Words) -> list[str]:
    """Return one sentence for each channel, the largest gain first."""
    return [payoff_sentence(payoff, ablation.metric, words) for payoff in ablation.payoffs]


def classified_sentence(classified: Classified, words: Words) -> str:
    """Return what an AUC means."""
    auc = classified.auc
    interval = "" if math.isnan(auc.low) else f" [{number_format.percent(auc.low)}, {number_format.percent(auc.high)}]"
    return words(
        "headline_auc", name=words.said(classified.name), auc=number_format.percent(auc.mean), interval=interval
    )


def labelled_sentences(labelled: Labelled, words: Words) -> list[str]:
    """Return how often the answer is right, whether fusion helps, what is left to a person, and what a reader must know."""
    ours, asked = labelled.ours.scores, labelled.asked
    said = [
        words(
            "labelled_headline",
            accuracy=number_format.interval(ours["accuracy"]),
            f1=number_format.interval(ours["macro_f1"]),
            auc=number_format.interval(ours["auc"]),
            samples=number_format.count(labelled.num_samples),
        )
    ]
    verdict = labelled.verdict()
    if verdict:
        said.append(words(f"fusion_{verdict}") + words("between_sentences") + _against_each(labelled, words))
    if asked.share > 0:
        shares = (asked.share, asked.accuracy, asked.accuracy_of_all)
        share, rest, everything = (number_format.percent(value) for value in shares)
        said.append(words("labelled_asked", share=share, accuracy=rest, all=everything))
    return [*said, *map(words.said, labelled.notes)]


def labelled_role(row: LabelledRow, words: Words) -> str:
    """Return what kind of row it is, and what it looks at."""
    uses = " + ".join(words.channel(name) for name in row.uses)
    return words(row.role) + words("colon") + uses if uses else words(row.role)


def arm_name(row: AblationRow, words: Words) -> str:
    """Return what to call one arm of the ablation: "all but text"."""
    uses = " + ".join(words.channel(name) for name in row.uses)
    return words(f"arm_{row.kind}", channel=words.channel(row.channel), uses=uses)


def _cost_sentence(cost: Cost, words: Words) -> str:
    if cost.seconds <= 0 and cost.milliseconds <= 0:
        return words("sentence_no_cost")
    once, each = (
        number_format.seconds(value) if value > 0 else words("nothing_measurable")
        for value in (cost.seconds, cost.milliseconds / 1000)
    )
    return words("sentence_cost", seconds=once, milliseconds=each)


def _against_each(labelled: Labelled, words: Words) -> str:
    """Return ours minus each modality alone."""
    gaps = [(row, row.difference) for row in labelled.rows if row.role == "alone" and row.difference is not None]
    parts = [f"{' + '.join(words.channel(u) for u in row.uses)} {number_format.difference(gap)}" for row, gap in gaps]
    return words("fusion_against", metric=words.metric(labelled.metric), gaps=words("semicolon").join(parts))


def _headline(league: League, ours: LeagueRow, metric: str, words: Words) -> str:
    gain, base = ours.differences[metric], league.row(league.best_baseline).scores[metric]
    facts = {"name": words.said(ours.name), "baseline": league.best_baseline, "verdict": words(gain.verdict)}
    if not metric.startswith("recall@"):
        digits_ = number_format.decimals(gain)
        mine, theirs = (number_format.number(v.mean, digits_) for v in (ours.scores[metric], base))
        change = number_format.difference(gain)
        return words(
            "headline_metric", metric=words.metric(metric), ours=mine, theirs=theirs, difference=change, **facts
        )
    places = 1 if abs(gain.mean) >= 0.005 else 2
    mine, theirs = (number_format.percent(v.mean, places) for v in (ours.scores[metric], base))
    k, change = metric.partition("@")[2], number_format.points(gain, places)
    return words("headline_recall", k=k, ours=mine, theirs=theirs, difference=change, **facts)
