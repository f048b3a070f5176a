"""Explanations against what the sample world knows: where a motif is drawn, where words are planted, what a user chooses by.

In: a bundle of the sample world, and the world. Out: Markdown rows, with 95 % intervals. A check that fails says FAILS in its row.

    python benchmarks/world_explanations.py runs/demo --world runs/world-small
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from faithfulness import CAUSES, row
from penchant.core.schema import BEHAVIOUR
from penchant.explanation.heat import encoder_heat
from penchant.explanation.modalities import ChannelTastes, modality_evidence
from penchant.metrics.intervals import mean_interval
from penchant.models.channels import centred_unit
from penchant.recommender.recommender import Recommender
from penchant.recommender.stand_in import stand_in
from penchant.world.drawing import COLOURS, MOTIFS
from penchant.world.planted import plant_motifs, plant_topics
from penchant.world.topics import TOPICS
from penchant.world.truth import WorldTruth

POINTING, NAMED, FIDELITY, MODALITY = 0.8, 0.9, 0.8, 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recommender, truth = Recommender.load(given.bundle), WorldTruth.read(given.world)
    rng, began = np.random.default_rng(given.seed), time.process_time()
    print("| check | result | |\n|---|---|---|")
    modalities(recommender, truth, given.users, rng)
    rules(recommender, truth, given.seed)
    pictures(recommender, truth, given.pictures, rng)
    texts(recommender, truth, given.texts, rng)
    print(f"\n{time.process_time() - began:.0f} s CPU")


def share(hits: list[bool], wanted: float) -> tuple[str, bool]:
    """Return a share with its interval and how many there are, and whether it reaches what is wanted."""
    mean = mean_interval(np.array(hits, float))
    return f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] of {len(hits)}, wanted {wanted}", mean.mean >= wanted


def modalities(recommender: Recommender, truth: WorldTruth, most: int, rng: np.random.Generator) -> None:
    """Whether the modality that foretells a user's own choices is the one they choose by."""
    drivers = dict(truth.users.select("user_id", "driver").iter_rows())
    users, tastes = recommender.histories, ChannelTastes.of(recommender.content, recommender.histories)
    lengths, ids = users.lengths(), users.user_ids
    asked = [u for u in rng.permutation(np.flatnonzero(lengths >= 10)) if drivers.get(ids[u]) in CAUSES][:most]
    named = [modality_evidence(tastes, users.rows(int(u), int(u) + 1)).named for u in asked]
    true = [CAUSES[drivers[ids[u]]] for u in asked]
    right = np.array(named) == np.array(true)
    groups = {"": np.ones(len(asked), bool)}
    groups |= {f", {name}": np.array(true) == name for name in CAUSES.values()}
    groups |= {", at least 30 events": lengths[asked] >= 30, ", 10 to 19 events": lengths[asked] < 20}
    for name, chosen in groups.items():
        said, passes = share(right[chosen].tolist(), MODALITY)
        row(f"true modality of a user by their choices, each taken out in turn{name}", said, passes)


def rules(recommender: Recommender, truth: WorldTruth, seed: int) -> None:
    """Whether a tree over the true attributes and others names the one a user chooses by, and how much of the scores it gives."""
    names = ("motif", "topic", "timbre", "circle", "colour", "tempo", "season", "language")
    items = pl.DataFrame({"item_id": recommender.lookup.items.ids}).join(truth.items, on="item_id", how="left")
    codes = {
        name: items[name].cast(pl.Categorical).to_physical().fill_null(-1).cast(pl.Int64).to_numpy() for name in names
    }
    drivers = dict(truth.users.select("user_id", "driver").iter_rows())
    found = stand_in(recommender, attributes=codes, users=450, seed=seed)
    row(
        "fidelity of the points and the tree of 64 leaves on the scores of other users, R2",
        f"{found.fidelity:.3f}, rules of 8 leaves {found.rules_fidelity:.3f}, wanted {FIDELITY}",
        found.fidelity >= FIDELITY,
    )
    users = recommender.histories
    known = np.flatnonzero(users.lengths() > 1)
    chosen = np.random.default_rng(seed).permutation(known)[:450]
    hits: dict[str, list[bool]] = {"": [], ", who choose by content": []}
    for user in chosen[len(chosen) - len(chosen) // 3 :]:
        driver = drivers.get(users.user_ids[user])
        if driver not in CAUSES or users.lengths()[user] < 10:
            continue
        hit = next(iter(found.attribute_of(users.rows(int(user), int(user) + 1)))) == driver
        hits[""].append(hit)
        if CAUSES[driver] != BEHAVIOUR:
            hits[", who choose by content"].append(hit)
    for name, found_hits in hits.items():
        said, passes = share(found_hits, NAMED)
        row(f"true attribute by the tree, users it was not fitted to{name}", said, passes)
    print(f"|  | rules: {'; '.join(map(str, found.rules[:3]))} |  |")


def _direction(recommender: Recommender, channel: str, chosen: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the cosine to the mean of some items, as a taste for what they have in common."""
    e = recommender.content.channels[channel]
    target = centred_unit(e.values, e.usable)[chosen & e.usable].mean(0)
    mean = e.values[e.usable].mean(0)

    def score(vectors: np.ndarray) -> np.ndarray:
        centred = vectors - mean
        return np.asarray(centred @ target / np.maximum(np.linalg.norm(centred, axis=1), 1e-12), np.float64)

    return score


def _values(recommender: Recommender, truth: WorldTruth, name: str) -> np.ndarray:
    items = pl.DataFrame({"item_id": recommender.lookup.items.ids}).join(truth.items, on="item_id", how="left")
    return np.array(items[name].fill_null("").to_list())


def pictures(recommender: Recommender, truth: WorldTruth, count: int, rng: np.random.Generator) -> None:
    """Pointing game of Grad-CAM: two motifs in two corners; the hottest place must be on the asked one."""
    motifs, encoder = (
        _values(recommender, truth, "motif"),
        recommender.encoders.load("image", _channel(recommender, "image")),
    )
    hits, wrong, passed = [], [], []
    for _ in range(count):
        asked, other = (str(m) for m in rng.permutation(list(MOTIFS))[:2])
        planted = plant_motifs((asked, other), str(rng.choice(list(COLOURS))), rng)
        heat = encoder_heat(encoder, "image", planted.image, _direction(recommender, "image", motifs == asked))
        y, x = ((place + 0.5) / size for place, size in zip(heat.hottest, heat.values.shape, strict=True))
        hits.append(planted.is_at(asked, x, y))
        wrong.append(planted.is_at(other, x, y))
        passed.append(heat.passes)
    said, passes = share(hits, POINTING)
    row(
        "pointing game of Grad-CAM on planted motifs",
        f"{said}; on the other motif {np.mean(wrong):.3f}, chance .22; its own check passes for {np.mean(passed):.2f}",
        passes,
    )


def texts(recommender: Recommender, truth: WorldTruth, count: int, rng: np.random.Generator) -> None:
    """Pointing game of token heat: sentences about two topics; the hottest word must be in those about the asked one."""
    topics, encoder = (
        _values(recommender, truth, "topic"),
        recommender.encoders.load("text", _channel(recommender, "text")),
    )
    hits, passed = [], []
    for number in range(count):
        asked, other = (str(t) for t in rng.permutation(list(TOPICS))[:2])
        planted = plant_topics((asked, other), ("en", "zh")[number % 2], rng)
        heat = encoder_heat(encoder, "text", planted.text, _direction(recommender, "text", topics == asked))
        hits.append(planted.is_at(asked, heat.spans[heat.hottest[0]][0]))
        passed.append(heat.passes)
    said, passes = share(hits, POINTING)
    row(
        "pointing game of token heat on planted sentences",
        f"{said}; chance .5; its own check passes for {np.mean(passed):.2f}",
        passes,
    )


def _channel(recommender: Recommender, name: str) -> object:
    return recommender.encoders.of(recommender.facts, recommender.content)[name]


if __name__ == "__main__":
    main()
