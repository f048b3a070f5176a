"""Conclusions of a report in plain sentences.

In: a leaderboard, an ablation, results of interest or of classes, and a language. Out: sentences with their intervals.
"""

from __future__ import annotations

import math

from penchant.core.messages import Translator, message
from penchant.metrics.ablation import DOES_NOT_PAY, Ablation, AblationRow, ModalityValue
from penchant.metrics.classification_results import ClassificationResults, ClassificationRow
from penchant.metrics.comparison import Cost, Leaderboard, LeaderboardRow
from penchant.metrics.interest import InterestResults
from penchant.metrics.intervals import SAME, Difference, Interval
from penchant.reporting import number_format
from penchant.reporting.labels import ARMS, FUSIONS, PAYOFFS, metric_label

NEARLY_ALL = 0.95
"""Share of a cost from which it is said to be nearly all of it."""
LIKED = message(
    "Asked whether a user likes an item, {name} puts a liked item above a disliked one {auc} of the time{interval}. "
    "Disliked is what the user rated or marked so."
)
CHOSEN = message(
    "Asked whether a user would choose an item, {name} puts a chosen one above one drawn at random from those the user never touched "
    "{auc} of the time{interval}. Nobody said what they dislike."
)


def leaderboard_sentences(leaderboard: Leaderboard, translate: Translator, pool: str = "") -> list[str]:
    """Return the comparison of ours with the best baseline: first recall, then the metric of the leaderboard if it is another.

    Args:
        leaderboard: Ours and the baselines.
        translate: Into the language of the report.
        pool: What the lists were ranked from ("the whole catalog"); "" leaves it out.
    """
    ours = leaderboard.ours or next((row for row in leaderboard.rows if row.differences), None)
    if ours is None:  # a baseline alone has no comparison
        return []
    plain = f"recall@{leaderboard.metric.partition('@')[2]}"
    metrics = [m for m in (plain, leaderboard.metric) if m in leaderboard.metrics]
    return [_headline(leaderboard, ours, metric, translate, pool) for metric in dict.fromkeys(metrics)]


def order_sentence(leaderboard: Leaderboard, translate: Translator) -> str:
    """Return what the rows are ordered by, over how many users and lists, and what the intervals allow for."""
    facts = {"metric": metric_label(translate, leaderboard.metric), "users": number_format.count(leaderboard.num_users)}
    if leaderboard.num_requests > leaderboard.num_users:
        first = translate(
            "Ordered by {metric}, the mean of {requests} requests of {users} users.",
            requests=number_format.count(leaderboard.num_requests),
            **facts,
        )
    else:
        first = translate("Ordered by {metric} over {users} users.", **facts)
    second = translate(
        "Intervals are 95 %; those of differences, and outcomes, allow for the number of rows of the same role that are compared."
    )
    return translate("{first} {second}", first=first, second=second)


def outcome(gain: Difference, translate: Translator) -> str:
    """Return the word for a difference, with the size that would have been seen where none was."""
    word, unseen = translate(gain.outcome), power(gain, translate)
    return translate("{first} ({second})", first=word, second=unseen) if unseen else word


def power(gain: Difference, translate: Translator) -> str:
    """Return how large a difference would have been seen, where none was; "" else."""
    if gain.outcome != SAME or math.isnan(gain.detectable):
        return ""
    return translate(
        "below {size} would not be seen", size=number_format.number(gain.detectable, number_format.decimals(gain))
    )


def payoff_sentence(payoff: ModalityValue, metric: str, translate: Translator) -> str:
    """Return whether one channel pays, with its gain and its cost."""
    gain, sign = payoff.gain, -1 if payoff.outcome == DOES_NOT_PAY else 1
    low, high = sorted((sign * gain.low, sign * gain.high))
    change = number_format.interval(Interval(sign * gain.mean, low, high, gain.num_users))
    if payoff.outcome == SAME:
        change = number_format.difference(gain)
    channel = translate.channel(payoff.channel)
    text = translate(
        PAYOFFS[payoff.outcome],
        channel=channel[:1].upper() + channel[1:],
        metric=metric_label(translate, metric),
        gain=change,
    )
    if payoff.cost is None:
        return text
    return translate("{first} {second}", first=text, second=_cost_sentence(payoff.cost, translate))


def ablation_sentences(ablation: Ablation, translate: Translator) -> list[str]:
    """Return one sentence for each channel, the largest gain first."""
    return [payoff_sentence(payoff, ablation.metric, translate) for payoff in ablation.payoffs]


def classified_sentence(classified: InterestResults, translate: Translator) -> str:
    """Return the meaning of an AUC."""
    auc = classified.auc
    interval = "" if math.isnan(auc.low) else f" [{number_format.percent(auc.low)}, {number_format.percent(auc.high)}]"
    asked = LIKED if classified.is_explicit else CHOSEN
    return translate(
        asked, name=translate.said(classified.name), auc=number_format.percent(auc.mean), interval=interval
    )


def labelled_sentences(labelled: ClassificationResults, translate: Translator) -> list[str]:
    """Return accuracy, whether fusion helps, the share left to reviewers, and the notes."""
    ours, review = labelled.ours.scores, labelled.review_load
    sentences = [
        translate(
            "Of {samples} test samples, accuracy is {accuracy}, macro F1 {f1}, AUC {auc}.",
            accuracy=number_format.interval(ours["accuracy"]),
            f1=number_format.interval(ours["macro_f1"]),
            auc=number_format.interval(ours["auc"]),
            samples=number_format.count(labelled.num_samples),
        )
    ]
    if labelled.against_simple is not None:
        sentences.append(_against_simple(labelled, labelled.against_simple, translate))
    outcome = labelled.outcome()
    if outcome:
        compared = _against_each(labelled, translate)
        sentences.append(translate("{first} {second}", first=translate(FUSIONS[outcome]), second=compared))
    if review.share > 0:
        shares = (review.share, review.accuracy, review.accuracy_of_all)
        share, rest, everything = (number_format.percent(value) for value in shares)
        sentences.append(
            translate(
                "With {share} of them left to a reviewer, the accuracy of the other answers is {accuracy}, instead of {all}.",
                share=share,
                accuracy=rest,
                all=everything,
            )
        )
    if labelled.coverage is not None:
        kept = labelled.coverage
        sentences.append(
            translate(
                "The true class is among the plausible ones for {kept} of them, promised {promised}; {single} have a single plausible class.",
                kept=number_format.interval(kept.kept),
                promised=number_format.percent(kept.promised),
                single=number_format.percent(kept.single),
            )
        )
    return [*sentences, *map(translate.said, labelled.notes)]


def _against_simple(labelled: ClassificationResults, gap: Difference, translate: Translator) -> str:
    """Return ours minus the best simple row, the one comparison that was planned."""
    metric = metric_label(translate, labelled.metric)
    if gap.low == gap.high == 0:
        return translate("Ours is the best simple row on validation: nothing else was clearly better there.")
    return translate(
        "Ours minus the best simple row on validation, {metric}: {gap}: {outcome}.",
        metric=metric,
        gap=number_format.difference(gap),
        outcome=translate(gap.outcome),
    )


def labelled_role(row: ClassificationRow, translate: Translator) -> str:
    """Return the role of a row, and the modalities it reads."""
    uses = " + ".join(translate.channel(name) for name in row.uses)
    return translate(row.role) + translate(": ") + uses if uses else translate(row.role)


def arm_name(row: AblationRow, translate: Translator) -> str:
    """Return the name of one arm of the ablation: "all but text"."""
    uses = " + ".join(translate.channel(name) for name in row.uses)
    return translate(ARMS[row.kind], channel=translate.channel(row.channel), uses=uses)


def _cost_sentence(cost: Cost, translate: Translator) -> str:
    if math.isnan(cost.encoding):
        return translate("What its content takes to encode was not measured.")
    if cost.once <= 0 and cost.milliseconds <= 0:
        return translate("It has no measurable cost.")
    once, each = (
        number_format.seconds(value) if value > 0 else translate("nothing measurable")
        for value in (cost.once, cost.milliseconds / 1000)
    )
    if cost.encoding >= NEARLY_ALL * cost.once > 0:
        return translate(
            "It costs {seconds} once, nearly all of it to encode the content, and {milliseconds} per user.",
            seconds=once,
            milliseconds=each,
        )
    if cost.encoding > 0:
        return translate(
            "It costs {seconds} once, {encoding} of it to encode the content, and {milliseconds} per user.",
            seconds=once,
            encoding=number_format.seconds(cost.encoding),
            milliseconds=each,
        )
    return translate("It costs {seconds} once and {milliseconds} per user.", seconds=once, milliseconds=each)


def _against_each(labelled: ClassificationResults, translate: Translator) -> str:
    """Return ours minus each modality alone."""
    gaps = [(row, row.difference) for row in labelled.rows if row.role == "alone" and row.difference is not None]
    parts = [
        f"{' + '.join(translate.channel(u) for u in row.uses)} {number_format.difference(gap)}" for row, gap in gaps
    ]
    return translate(
        "Ours minus each alone, {metric}: {gaps}.",
        metric=metric_label(translate, labelled.metric),
        gaps=translate("; ").join(parts),
    )


def lift_of(gain: float, base: float) -> str:
    """Return a difference as a share of the baseline's mean, with its sign."""
    if not base > 0:
        return number_format.MISSING
    share = 100 * gain / base
    return f"{number_format.signed(share, 0 if abs(share) >= 2 else 1)} %"


def _headline(leaderboard: Leaderboard, ours: LeaderboardRow, metric: str, translate: Translator, pool: str) -> str:
    gain, base = ours.differences[metric], leaderboard.row(leaderboard.best_baseline).scores[metric]
    facts = {
        "name": translate.said(ours.name),
        "baseline": leaderboard.best_baseline,
        "outcome": translate(gain.outcome),
    }
    if not metric.startswith("recall@"):
        digits_ = number_format.decimals(gain)
        mine, theirs = (number_format.number(v.mean, digits_) for v in (ours.scores[metric], base))
        change = number_format.difference(gain)
        if unseen := power(gain, translate):
            change = translate("{first} ({second})", first=change, second=unseen)
        return translate(
            "{metric}: {name} {ours}, {baseline} {theirs}: {outcome}, {difference}.",
            metric=metric_label(translate, metric),
            ours=mine,
            theirs=theirs,
            difference=change,
            **facts,
        )
    places = 1 if abs(gain.mean) >= 0.005 else 2
    mine, theirs = (number_format.percent(v.mean, places) for v in (ours.scores[metric], base))
    k, change = metric.partition("@")[2], number_format.points(gain, places)
    if pool:
        k = translate("{count} recommendations from {pool}", count=k, pool=translate.said(pool))
    else:
        k = translate("{count} recommendations", count=k)
    return translate(
        "{name} finds {ours} of what users chose next within {lists}; {baseline} finds {theirs}: {outcome}, {difference} points, relatively {lift}.",
        lists=k,
        ours=mine,
        theirs=theirs,
        difference=change,
        lift=lift_of(gain.mean, base.mean),
        **facts,
    )
