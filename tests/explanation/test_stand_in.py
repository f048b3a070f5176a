"""A stand-in gives what readable attributes can give of a score, names the attribute a user follows, and says what it lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from penchant.cli import app
from penchant.core.errors import DataError
from penchant.core.schema import Histories
from penchant.explanation.stand_in import LIKE, SHARE, ReadableFeatures, distil
from penchant.recommender.recommender import Recommender

ITEMS, USERS = 60, 40
RNG = np.random.default_rng(0)
GENRE, COLOUR = np.arange(ITEMS) % 3, np.arange(ITEMS) // 3 % 4


def crowd() -> tuple[Histories, np.ndarray]:
    """Return users who choose by genre (even) or by colour (odd), and scores that follow just that."""
    items, scores = [], []
    for user in range(USERS):
        codes = GENRE if user % 2 == 0 else COLOUR
        liked = np.flatnonzero(codes == RNG.integers(3))
        items.append(RNG.choice(liked, 8, replace=False))
        scores.append((codes == codes[liked[0]]).astype(np.float32))
    at = np.tile(np.arange(8), USERS) * 86_400_000_000
    offsets = np.arange(0, 8 * USERS + 1, 8)
    flat = np.concatenate(items).astype(np.int32)
    return Histories(
        [f"u{n}" for n in range(USERS)], offsets, flat, at, np.ones(len(flat), np.float32), ITEMS
    ), np.stack(scores)


def test_the_attribute_a_user_follows_is_found_and_fidelity_is_that_of_others() -> None:
    users, scores = crowd()
    features = ReadableFeatures.of(users, {"genre": GENRE, "colour": COLOUR}, {"price": RNG.random(ITEMS)}, scores[:28])
    table = features.table(users.rows(0, 1))
    own = GENRE[users.item_index[0]]
    assert table[own == GENRE, 0] == pytest.approx(1)
    assert table[own != GENRE, 0] == pytest.approx(0)
    pairs = [(users.rows(u, u + 1), scores[u]) for u in range(USERS)]
    found = distil(features, pairs[:28], pairs[28:])
    assert found.fidelity > 0.8
    assert found.rules_fidelity < found.fidelity + 0.01
    named = [next(iter(found.attribute_of(history))) for history, _ in pairs[28:]]
    right = [name == ("genre" if u % 2 == 0 else "colour") for u, name in zip(range(28, USERS), named, strict=True)]
    assert sum(right) >= 9
    assert SHARE + "genre" in list(found.importance)[:3]
    assert found.rules[0].score > found.rules[-1].score
    assert sum(rule.share for rule in found.rules) == pytest.approx(1)
    noise = [(history, RNG.random(ITEMS).astype(np.float32)) for history, _ in pairs]
    poor = distil(features, noise[:28], noise[28:])
    assert poor.fidelity < 0.2
    assert "do not stand for it" in poor.text


def test_likeness_of_content_gives_what_attributes_do_not_tell() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(ITEMS, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    users, _ = crowd()
    scores = np.stack([rows @ rows[users.rows(u, u + 1).item_index].mean(0) for u in range(USERS)])
    scores = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    pairs = [(users.rows(u, u + 1), scores[u]) for u in range(USERS)]
    without = ReadableFeatures.of(users, {"genre": GENRE}, {}, scores[:28])
    assert distil(without, pairs[:28], pairs[28:]).fidelity < 0.6
    features = ReadableFeatures.of(users, {"genre": GENRE}, {}, scores[:28], {"image": rows})
    found = distil(features, pairs[:28], pairs[28:])
    assert found.fidelity > 0.98  # scores are a line in standard deviations of the likeness
    assert next(iter(found.weights())) == LIKE + "image"
    assert found.weights()[LIKE + "image"] == pytest.approx(1, abs=0.05)
    assert LIKE + "image" not in found.attribute_of(pairs[0][0])


def test_rules_of_a_bundle(shop: Path) -> None:
    recommender = Recommender.load(shop)
    found = recommender.stand_in()
    assert found.num_users == (27, 13)
    assert {SHARE + "genres", SHARE + "topic", "price"} <= set(found.importance)
    printed = CliRunner().invoke(app, ["rules", str(shop), "--json"])
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.output)["fidelity"] == pytest.approx(found.fidelity)
    few = replace(recommender, histories=recommender.histories.rows(0, 3))
    with pytest.raises(DataError, match="3 users and 24 items make no stand-in"):
        few.stand_in()
