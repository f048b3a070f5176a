"""Attribution of a network over histories, on the data of one bundle: is it true, which modality does it find, and how long does it take?

In: a bundle of the sample world, and the world. A network is fitted to the bundle's histories without each user's last event. Out: Markdown rows, with 95 %
intervals over users. A check that fails says FAILS in its row.

    python benchmarks/network_attribution.py runs/demo --world runs/world-small --users 100
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from faithfulness import CAUSES, difference, row
from penchant.core.schema import BEHAVIOUR, Content, Histories
from penchant.explanation.attribution import METHODS, Method
from penchant.explanation.network_attribution import LOOSE, Check, attribute_network, checked, explain_network
from penchant.explanation.network_modalities import Coalitions, network_modality_evidence
from penchant.metrics.intervals import mean_interval
from penchant.models.sequence import Sequence
from penchant.recommender.recommender import Recommender
from penchant.world.truth import WorldTruth

WANTED, WANTED_MS = 0.85, 500
CHOICES, OTHERS, STEPS = 5, 2, 8
"""Latest choices of a user whose attribution is read, other items that each is compared with, and points of the path."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--world", type=Path)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--backbone", default="transformer")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recommender, rng, began = Recommender.load(given.bundle), np.random.default_rng(given.seed), time.process_time()
    users = recommender.histories
    last = np.zeros(users.num_events, bool)
    last[users.offsets[1:][users.lengths() > 0] - 1] = True
    network = Sequence(
        name="network", backbone=given.backbone, epochs=given.epochs, dim=64, max_length=50, seed=given.seed
    ).fit(users.where(~last), recommender.content)
    print(
        f"{given.backbone} fitted in {time.process_time() - began:.0f} s CPU: {network.training_history.scores[-1]:.3f} NDCG@10\n"
    )
    asked = [users.rows(int(u), int(u) + 1) for u in rng.permutation(np.flatnonzero(users.lengths() >= 10))]
    print("| check | result | |\n|---|---|---|")
    for method in METHODS:
        checks(network, recommender.content, asked[: given.users], method, rng)
        speed(network, recommender, asked[:50], method)
    if given.world is not None:
        truth = WorldTruth.read(given.world)
        for method in METHODS:
            causes(network, recommender.content, asked, truth, method, given.users, rng)
        shapley(network, recommender.content, asked, truth, given.users)
    print(f"\n{time.process_time() - began:.0f} s CPU")


def checks(
    network: Sequence, content: Content, asked: list[Histories], method: Method, rng: np.random.Generator
) -> None:
    """Deletion, insertion and random parameters, over users; each user's last event is explained by what came before it."""
    found: dict[str, list[Check]] = {}
    errors = []
    for one in asked:
        before, item = one.where(np.arange(one.num_events) < one.num_events - 1), int(one.item_index[-1])
        events, values, whole, base = attribute_network(network, content, before, item, method)
        errors.append(abs(values.sum() - (whole - base)) / max(abs(whole - base), 1e-9))
        for check in checked(network, content, before, item, method, events, rng):
            found.setdefault(check.name, []).append(check)
    for name in ("deletion", "insertion"):
        said, passes = difference([c.value for c in found[name]], [c.against for c in found[name]])
        alone = np.mean([bool(c.passes) for c in found[name]])
        row(
            f"{method}: {name}, mean of 1 to 5 events against random ones",
            f"{said}; holds for {alone:.0%} alone",
            passes,
        )
    mean = mean_interval(np.array([c.value for c in found["randomisation"]]))
    said = f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}], at most {LOOSE}"
    row(f"{method}: rank correlation with random parameters", said, mean.high <= LOOSE)
    if method == "integrated_gradients":
        row(
            f"{method}: sum against the difference of log-probabilities",
            f"median error {np.median(errors):.1%}",
            np.median(errors) < 0.05,
        )


def speed(network: Sequence, recommender: Recommender, asked: list[Histories], method: Method) -> None:
    """CPU time of one explanation with its checks, on one thread."""
    seconds = []
    ids, titles = recommender.lookup.items.ids, recommender.lookup.titles
    for one in [asked[0], *asked]:  # the first imports
        began = time.process_time()
        explain_network("network", network, recommender.content, one, 0, method, item_ids=ids, titles=titles)
        seconds.append(time.process_time() - began)
    median, tail = 1000 * np.quantile(seconds[1:], (0.5, 0.99))
    row(
        f"{method}: CPU time of one explanation with its checks",
        f"median {median:.0f} ms, 99 % {tail:.0f} ms, wanted {WANTED_MS}",
        tail < WANTED_MS,
    )


def causes(
    network: Sequence,
    content: Content,
    asked: list[Histories],
    truth: WorldTruth,
    method: Method,
    most: int,
    rng: np.random.Generator,
) -> None:
    """Whether the part of the tokens that favours a user's own choices, more than other items, is the true reason of their choices."""
    drivers = dict(truth.users.select("user_id", "driver").iter_rows())
    parts = (*network.bases, BEHAVIOUR)
    known = [part for part in parts if part in CAUSES.values()]
    leads, true = [], []
    for one in asked:
        driver = drivers.get(one.user_ids[0])
        if driver not in CAUSES or len(true) == most:
            continue
        free = np.setdiff1d(np.arange(one.num_items), one.item_index)
        lead = []
        for event in range(max(one.num_events - CHOICES, 2), one.num_events):
            before = one.where(np.arange(one.num_events) < event)
            own, *others = (
                attribute_network(network, content, before, int(item), method, steps=STEPS)[1].sum(0)
                for item in (one.item_index[event], *rng.choice(free, OTHERS, replace=False))
            )
            lead.append(own - np.mean(others, axis=0))
        leads.append([np.mean(lead, axis=0)[parts.index(part)] for part in known])
        true.append(CAUSES[driver])
    values = np.array(leads)
    standard = (values - values.mean(0)) / values.std(0)
    for how, scored in (("largest lead", values), ("lead furthest above that of users", standard)):
        named = np.array(known)[scored.argmax(1)]
        for who, chosen in (
            ("", np.ones(len(true), bool)),
            (", those who choose by content", np.array(true) != BEHAVIOUR),
        ):
            mean = mean_interval((named == np.array(true))[chosen].astype(float))
            said = f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] of {chosen.sum()}, wanted {WANTED}"
            row(f"{method}: true modality of a user's choices{who}: {how}", said, mean.mean >= WANTED)


def shapley(network: Sequence, content: Content, asked: list[Histories], truth: WorldTruth, most: int) -> None:
    """Whether the content whose Shapley values favour a user's own choices, each taken out in turn, is the true reason of their choices."""
    drivers = dict(truth.users.select("user_id", "driver").iter_rows())
    chosen = [one for one in asked if drivers.get(one.user_ids[0]) in CAUSES][:most]
    coalitions, began = Coalitions(network, content), time.process_time()
    found = [network_modality_evidence(coalitions, one) for one in chosen]
    seconds = (time.process_time() - began) / max(len(chosen), 1)
    true = np.array([CAUSES[drivers[one.user_ids[0]]] for one in chosen])
    right = np.array([one.named for one in found]) == true
    groups = {"": np.ones(len(true), bool), ", those who choose by content": true != BEHAVIOUR}
    groups |= {f", {cause}": true == cause for cause in CAUSES.values()}
    groups |= {", at least 30 events": np.array([one.num_events >= 30 for one in chosen])}
    for who, some in groups.items():
        mean = mean_interval(right[some].astype(float))
        said = f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] of {some.sum()}, wanted {WANTED}"
        row(
            f"Shapley values: true modality of a user's choices, each taken out in turn{who}", said, mean.mean >= WANTED
        )
    print(f"|  | {1000 * seconds:.0f} ms CPU a user |  |")


if __name__ == "__main__":
    main()
