"""Are explanations true? Every check of `explanation/faithfulness.py` on one bundle, each with what it would have to show.

In: a bundle; the folder of the sample world it was made from, for known causes; a bundle of the same data and another seed, for stability.
Out: Markdown tables with paired 95 % intervals over users. A check that fails says FAILS in its row.

    penchant demo --size small --output runs/demo
    python benchmarks/faithfulness.py runs/demo --world runs/world-small --users 100
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.schema import BEHAVIOUR, Histories
from penchant.explanation.attribution import attribute
from penchant.explanation.faithfulness import (
    TOLERANCE,
    agreement,
    curves,
    event_contributions,
    share_of_top,
    statement_errors,
    with_random_parameters,
)
from penchant.metrics.intervals import mean_interval, paired_difference
from penchant.models.event_log import EventLog
from penchant.models.member import make_member
from penchant.recommender.lists import Edit, RankingOptions
from penchant.recommender.recommender import Recommender
from penchant.world.truth import WorldTruth

MOST, DRAWS, K = 5, 10, 10
STABLE = 0.8
"""Rank correlation of the reasons of two fits, at least."""
CAUSES = {"motif": "image", "topic": "text", "timbre": "audio", "circle": BEHAVIOUR}
"""True reason of a choice to the channel that shows it."""
WANTED = 0.95
"""Share of users whose true modality should be found."""
LOOSE = 0.5
"""Rank correlation with the explanations of a model without knowledge, at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--world", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recommender, rng, began = Recommender.load(given.bundle), np.random.default_rng(given.seed), time.process_time()
    long_enough = np.flatnonzero(recommender.histories.lengths() >= 2 * MOST)
    chosen = np.sort(rng.permutation(long_enough)[: given.users])
    asked = [recommender.histories.rows(int(user), int(user) + 1) for user in chosen]
    best = [recommender.lookup.row(recommender.recommend(one, 1, reasons=False)[0].item_id) for one in asked]
    print(f"{len(asked)} users with at least {2 * MOST} events, the first item of each list; {recommender!r}\n")
    print("| check | result | |\n|---|---|---|")
    deletion(recommender, asked, best, rng)
    statements(recommender, asked, best)
    if given.other is not None:
        stability(recommender, Recommender.load(given.other), asked, best)
    drawn(recommender, asked, best, rng)
    if given.world is not None:
        causes(recommender, asked, WorldTruth.read(given.world))
    counterfactuals(recommender, asked)
    print(f"\n{time.process_time() - began:.0f} s CPU")


def row(check: str, result: str, passes: bool) -> None:
    print(f"| {check} | {result} | {'passes' if passes else 'FAILS'} |", flush=True)


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[str, bool]:
    """Return the paired difference with its interval, and whether it is above 0."""
    one = paired_difference(np.array(first), np.array(second))
    return f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]", one.outcome == "better"


def deletion(recommender: Recommender, asked: list[Histories], best: list[int], rng: np.random.Generator) -> None:
    """Deletion and insertion curves, and the same for the explanations of a model whose parameters are in random order."""
    ensemble, random_model = recommender.ensemble, with_random_parameters(recommender.ensemble, rng)
    found, misled, alike = [], [], []
    for one, item in zip(asked, best, strict=True):
        told, other = (event_contributions(model, one, item) for model in (ensemble, random_model))
        orders = (np.argsort(-values, kind="stable") for values in (told, other))
        drawn, without = (
            curves(ensemble, one, item, order, most=MOST, draws=draws, rng=rng)
            for order, draws in zip(orders, (DRAWS, 1), strict=True)
        )
        found.append([drawn.deletion, drawn.random_deletion, drawn.insertion, drawn.random_insertion])
        misled.append(without.deletion)
        alike.append(agreement(told, other))
    curve, wrong = np.array(found), np.array(misled)  # (users, kinds, m), (users, m)
    for name, kind in (("deletion", 0), ("insertion", 2)):
        for m in (1, 3, MOST):
            own, drawn = curve[:, kind, m - 1], curve[:, kind + 1, m - 1]
            said, passes = difference(own, drawn)
            row(f"{name}, {m} events", f"{own.mean():.3f}, random {drawn.mean():.3f}, {said}", passes)
    said, passes = difference(curve[:, 0].mean(1), wrong.mean(1))
    row("deletion against reasons of random parameters", said, passes)
    mean = mean_interval(np.array(alike))
    row(
        "rank correlation with reasons of random parameters",
        f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}], at most {LOOSE}",
        mean.high <= LOOSE,
    )


def statements(recommender: Recommender, asked: list[Histories], best: list[int]) -> None:
    """Whether each member's score drops by the sum it stated for the five strongest events, with ages and deviation held fixed."""
    errors: dict[str, list[float]] = {name: [] for name in recommender.ensemble.members}
    for one, item in zip(asked, best, strict=True):
        strongest = np.argsort(-event_contributions(recommender.ensemble, one, item), kind="stable")[:MOST]
        for name, error in statement_errors(recommender.ensemble, one, item, strongest).items():
            errors[name].append(error)
    for name, values in errors.items():
        largest = f"largest {max(values):.1e}, mean {np.mean(values):.1e}"
        row(f"stated sum of {name}", f"{largest}, at most {TOLERANCE:.0e}", max(values) <= TOLERANCE)


def stability(first: Recommender, second: Recommender, asked: list[Histories], best: list[int]) -> None:
    """Whether a run with another seed gives the same reasons for the same user and item."""
    values = []
    for one, item in zip(asked, best, strict=True):
        again = second.history(one.user_ids[0])
        if not np.array_equal(again.item_index, one.item_index):
            again = one  # ties in time have another order under another seed
        values.append(
            (event_contributions(first.ensemble, one, item), event_contributions(second.ensemble, again, item))
        )
    alike("reasons of another seed", values)


def drawn(recommender: Recommender, asked: list[Histories], best: list[int], rng: np.random.Generator) -> None:
    """Whether members fitted on two other draws of the users, half of them each, give the same reasons for the same user and item."""
    users, found = recommender.histories, []
    order = rng.permutation(len(users))
    for half in (np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])):
        tables = {name: recommender.tables[name] for name in recommender.ensemble.members}
        train = users.take(half)
        members = {name: make_member(name, table).fit(train, recommender.content) for name, table in tables.items()}
        observed = replace(recommender.ensemble, members=members).observed(EventLog.of(users))
        found.append([event_contributions(observed, one, item) for one, item in zip(asked, best, strict=True)])
    alike("reasons of members fitted on the other half of the users", list(zip(*found, strict=True)))


def alike(what: str, values: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    ranks, shares = [agreement(*pair) for pair in values], [share_of_top(*pair, m=3) for pair in values]
    rank, share = mean_interval(np.array(ranks)), mean_interval(np.array(shares))
    shown = f"{rank.mean:.3f} [{rank.low:.3f}, {rank.high:.3f}], of the first three in common {share.mean:.3f}"
    row(f"rank correlation with the {what}", shown, rank.low > STABLE)


def causes(recommender: Recommender, asked: list[Histories], truth: WorldTruth) -> None:
    """Whether the channel of largest contribution is the true reason: of a user's list, and of one choice."""
    users = dict(truth.users.select("user_id", "driver").iter_rows())
    events = {
        (user, item, at.replace(tzinfo=UTC).timestamp()): reason
        for user, item, at, reason in truth.events().select("user_id", "item_id", "at", "reason").iter_rows()
        if reason in CAUSES
    }
    lists, drivers, choices, reasons = [], [], [], []
    for one in asked:
        driver = users.get(one.user_ids[0])
        if driver in CAUSES:
            items = [recommender.lookup.row(s.item_id) for s in recommender.recommend(one, K, reasons=False)]
            lists.append(_parts(recommender, one, np.array(items)))
            drivers.append(CAUSES[driver])
        for event in range(one.num_events - 1, MOST, -1):
            item = int(one.item_index[event])
            reason = events.get((one.user_ids[0], recommender.lookup.items.ids[item], one.at[event] / 1e6))
            if reason is not None:  # the last choice with a known reason, explained by what came before it
                before = one.where(np.arange(one.num_events) < event)
                choices.append(_parts(recommender, before, np.array([item])))
                reasons.append(CAUSES[reason])
                break
    for name, parts, true in (("user's list", lists, drivers), ("choice", choices, reasons)):
        values, names = np.array(parts), np.array(list(CAUSES.values()))  # (users, alone or Shapley, channels)
        common = pl.Series(true).mode().sort()[0]
        alone, shapley = values[:, 0], values[:, 1]
        ways = {
            "largest contribution": alone,
            "largest Shapley value": shapley,
            "contribution furthest above the mean of users": alone - alone.mean(0),
            "Shapley value furthest above the mean of users": shapley - shapley.mean(0),
        }
        for how, scored in ways.items():
            is_true = (names[scored.argmax(1)] == np.array(true)).astype(float)
            said, is_better = difference(is_true, (np.array(true) == common).astype(float))
            mean = mean_interval(is_true)
            row(
                f"true reason of a {name}: {how}",
                f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] of {len(true)}, wanted {WANTED}; against always {common} {said}",
                mean.mean >= WANTED and is_better,
            )


def _parts(recommender: Recommender, history: Histories, rows: np.ndarray) -> list[list[float]]:
    """Return what a user's events add to the scores by each channel of `CAUSES`, read alone, and its Shapley value.

    The prior is left out: what is added for any user is no user's reason.
    """
    found = attribute(recommender.ensemble, history, rows)
    found = replace(found, values=found.values[:, 1:])
    return [
        [float(parts[channel].sum()) if channel in parts else 0.0 for channel in CAUSES.values()]
        for parts in (found.by_channel(), found.shapley())
    ]


def counterfactuals(recommender: Recommender, asked: list[Histories]) -> None:
    """Whether every counterfactual holds when the list is asked for again in the plain way."""
    leaving, entering, confirmed, smallest, sizes, seconds = 0, 0, 0, 0, [], []
    ids = recommender.lookup.items.ids
    for number, one in enumerate(asked):
        whole = recommender.recommend(one, 4 * K, reasons=False)
        for place in (number % K, K + number % (2 * K)):
            began = time.perf_counter()
            found = recommender.counterfactual(one, whole[place].item_id, K)
            seconds.append(time.perf_counter() - began)
            own = RankingOptions(k=K, deny=[ids[item] for item in one.item_index])
            if found.removal is not None:
                leaving, sizes = leaving + 1, [*sizes, len(found.removal.events)]
                smallest += found.removal.is_smallest
                gone = np.isin(one.item_index, recommender.lookup.rows([item for item, _ in found.removal.events]))
                again = recommender.recommend(one.where(~gone), options=own)
                confirmed += found.item_id not in [s.item_id for s in again]
            elif found.change is not None:
                entering += 1
                edit = Edit(found.change.name, found.change.value, found.change.action, found.change.strength)
                confirmed += found.item_id in [s.item_id for s in recommender.recommend(one, options=own, edits=[edit])]
    shown = (
        f"{confirmed} of {leaving + entering} hold; of {len(asked)} items in lists {leaving} leave without {np.mean(sizes):.1f} events on average "
        f"({smallest} with no smaller set), of as many outside {entering} enter by one edit; median {1000 * np.median(seconds):.0f} ms, "
        f"99 % {1000 * np.quantile(seconds, 0.99):.0f} ms"
    )
    row("counterfactuals ranked again", shown, confirmed == leaving + entering)


if __name__ == "__main__":
    main()
