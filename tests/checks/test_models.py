"""Every model in the table keeps the contract of a recommender, on a world whose right answer can be seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penchant.core.schema import LATEST, Content, Embeddings, Histories, UserChannel, UserEmbeddings
from penchant.fusion.concat import Concat, ConcatConfig
from penchant.fusion.late import standardise
from penchant.models import MODELS
from penchant.models.member import FittedItems, Member
from penchant.recommender.index import VectorIndex

CLUSTERS, PER_CLUSTER, USERS, EVENTS = 5, 12, 150, 12
ITEMS = CLUSTERS * PER_CLUSTER
CLUSTER = np.repeat(np.arange(CLUSTERS), PER_CLUSTER)
COLD = np.flatnonzero(np.arange(ITEMS) % PER_CLUSTER == PER_CLUSTER - 1)
NO_PICTURE = np.flatnonzero(np.arange(ITEMS) % PER_CLUSTER == 3)
NO_WORDS = np.flatnonzero(np.arange(ITEMS) % PER_CLUSTER == 5)

NETWORK = {
    "dim": 16,
    "layers": 1,
    "epochs": 20,
    "patience": 20,
    "learning_rate": 0.02,
    "batch_events": 500,
    "held_out_users": 0,
    "dropout": 0.0,
    "id_dropout": 0.3,
    "negatives": 20,
    "max_length": 10,
}
LANGUAGE_MODEL = {**{k: v for k, v in NETWORK.items() if k != "layers"}, "language_model": "written by a fixture"}
SAMPLES: dict[str, dict[str, Any]] = {
    "context_popularity": {"pseudo_events": 5},
    "content_prior": {},
    "popularity": {},
    "random_order": {},
    "new_items": {},
    "recent_popularity": {},
    "trend": {"days": 2, "against_days": 9},
    "new_arrivals": {"days": 10},
    "lifted": {"of": {"model": "ease", "regularisation": 10}, "window_days": 5},
    "compressed": {"of": {"model": "ease", "regularisation": 10}, "entries": 20},
    "distilled": {**NETWORK, "teachers": {"content": {"model": "content_regression"}}, "taught_epochs": 4},
    "item_knn": {"neighbours": 20},
    "rp3beta": {"neighbours": 20},
    "ease": {"regularisation": 10},
    "graph_filter": {"content_weight": 0.3, "neighbours": 5},
    "content_knn": {"neighbours": 12},
    "content_regression": {"regularisation": 1, "smoothing": 20},
    "session_regression": {"regularisation": 10},
    "transitions": {},
    "aspects": {},
    "user_content_knn": {"channel": "photo", "item_channel": "picture"},
    "user_content_regression": {"regularisation": 1},
    "graph_network": {"dim": 16, "epochs": 15, "neighbours": 8, "batch_users": 50},
    "sequence": {**NETWORK, "backbone": "transformer", "fusion": "gated"},
    "language_model": dict(LANGUAGE_MODEL),
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, options) for name, options in SAMPLES.items()},
    "new_items when added": ("new_items", {"of": "added"}),
    "popularity of late": ("popularity", {"half_life_days": 3, "user_exponent": 0.5}),
    "item_knn of late": ("item_knn", {"half_life": 4, "last_events": 6}),
    "user_content_regression of what comes later": (
        "user_content_regression",
        {"regularisation": 1, "learns": "later", "half_life": 3},
    ),
    "user_content_knn of late": (
        "user_content_knn",
        {"channel": "photo", "item_channel": "picture", "half_life": 2},
    ),
    "ease with content": ("ease", {"regularisation": 10, "content_weight": 20}),
    "ease of the most touched": ("ease", {"regularisation": 10, "max_items": 40}),
    "ease with dropout": ("ease", {"regularisation": 5, "dropout": 0.3}),
    "ease of counts": ("ease", {"regularisation": 10, "strength": "log"}),
    "session_regression across gaps": ("session_regression", {"regularisation": 10, "min_gap_hours": 1}),
    "graph_filter without content": ("graph_filter", {"hops": 2, "ideal_weight": 0.3, "ideal_dim": 8}),
    "sparse graph_filter": ("graph_filter", {"max_dense_items": 10, "max_entries": 30, "hops": 2, "ideal_weight": 0.1}),
    "content_knn of words": ("content_knn", {"channel": "words", "neighbours": 8, "sharpness": 2}),
    "content_knn of twins": ("content_knn", {"channel": "words", "sharpness": 12, "source_exponent": 0.5}),
    "content_knn per candidate": ("content_knn", {"channel": "picture", "neighbours": 8, "per_candidate": True}),
    "content_knn of every pair": ("content_knn", {"channel": "picture", "neighbours": 0, "whiten_dim": 4}),
    "content_regression of pictures": ("content_regression", {"channels": ["picture"], "max_items": 10}),
    "session_regression of the most touched": ("session_regression", {"regularisation": 10, "max_items": 40}),
    "graph_network: BPR": (
        "graph_network",
        {"dim": 16, "epochs": 15, "neighbours": 8, "batch_users": 50, "loss": "bpr"},
    ),
    "sequence: GRU, attention, BCE": ("sequence", {**NETWORK, "backbone": "gru", "fusion": "attention", "loss": "bce"}),
    "sequence: LSTM, side by side, BPR": (
        "sequence",
        {**NETWORK, "backbone": "lstm", "fusion": "concat", "loss": "bpr"},
    ),
    "sequence: CNN, sampled softmax": (
        "sequence",
        {**NETWORK, "backbone": "cnn", "loss": "sampled_softmax", "align": 0.1},
    ),
    "sequence: LiGR, sampled softmax of the batch": (
        "sequence",
        {**NETWORK, "backbone": "ligr", "loss": "sampled_softmax", "negatives": 64, "in_batch": 0.5},
    ),
    "sequence: RNN, no content": ("sequence", {**NETWORK, "backbone": "rnn", "channels": []}),
    "sequence: two towers": ("sequence", {**NETWORK, "backbone": "mean", "use_ids": False}),
    "language_model: every channel, LoRA": (
        "language_model",
        {**LANGUAGE_MODEL, "tokens": "modalities", "lora_rank": 2, "use_ids": False},
    ),
    "compressed: all entries": ("compressed", {"of": {"model": "session_regression", "regularisation": 10}}),
    "compressed: the most touched": (
        "compressed",
        {"of": {"model": "ease", "regularisation": 10, "max_items": 40}, "entries": 20, "bits": 32},
    ),
    "compressed: neighbours": ("compressed", {"of": {"model": "item_knn", "neighbours": 20}, "entries": 15, "bits": 8}),
    "compressed: content": ("compressed", {"of": {"model": "ease", "content_weight": 20}, "entries": 20}),
    "compressed: content_knn": (
        "compressed",
        {"of": {"model": "content_knn", "channel": "words", "neighbours": 8}, "entries": 6},
    ),
    "compressed: content_knn of every pair": (
        "compressed",
        {"of": {"model": "content_knn", "channel": "picture", "neighbours": 0}, "entries": 20},
    ),
    "compressed: content_regression": (
        "compressed",
        {"of": {"model": "content_regression", "regularisation": 1, "smoothing": 20}, "rank": 12},
    ),
    "compressed: lifted": (
        "compressed",
        {"of": {"model": "lifted", "of": {"model": "ease", "regularisation": 10}, "window_days": 5}, "entries": 20},
    ),
    "transitions both ways": ("transitions", {"backward": 0.3, "max_gap_days": 5, "gap_half_life_days": 2}),
}
READS_CONTENT = (
    "graph_filter",
    "content_knn",
    "content_regression",
    "ease with content",
    "compressed: content",
    "compressed: content_regression",
    "content_regression of pictures",
    "distilled",
    "graph_network",
    "sequence",
    "sequence: GRU, attention, BCE",
    "sequence: LSTM, side by side, BPR",
    "sequence: LiGR, sampled softmax of the batch",
    "sequence: CNN, sampled softmax",
    "sequence: two towers",
    "language_model",
    "language_model: every channel, LoRA",
)
IMPERSONAL = (
    "content_prior",
    "context_popularity",
    "random_order",
    "new_items",
    "new_items when added",
    "popularity",
    "popularity of late",
    "recent_popularity",
    "trend",
    "new_arrivals",
)


@pytest.fixture(scope="module", autouse=True)
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a language model with random weights and no words, and tell those variants where it is."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    size = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=4, num_hidden_layers=2, **size)).save_pretrained(folder)
    for model, options in VARIANTS.values():
        if model == "language_model":
            options["language_model"] = str(folder)
    return folder


MOTIFS = np.random.default_rng(6).normal(size=(CLUSTERS, 8))
"""What the pictures of each cluster have in common."""
PHOTOS = UserEmbeddings(
    "photo",
    "image",
    "events",
    (MOTIFS[CLUSTER] + 0.4 * np.random.default_rng(5).normal(size=(ITEMS, 8)) + 1).astype(np.float32),
    "picture",
)
"""Every third event has a photo that shows the cluster of its item."""
KINDS = UserEmbeddings(
    "aspects",
    "text",
    "events",
    np.array([[0.0] * CLUSTERS + [1.0]], np.float32),
    "kinds",
    learned={
        "aspects": np.arange(1, CLUSTERS + 1, dtype=np.uint64),
        "owner": np.ones(CLUSTERS, np.uint32),
        "column_codes": np.array([99], np.uint64),
        "column_numbers": np.array([1], np.uint32),
        "item_rows": np.arange(ITEMS, dtype=np.uint32),
        "item_aspects": CLUSTER.astype(np.uint32),
    },
)
"""A review that praises the kind of the item, which is its cluster; without a sign of its own, so that a dislike turns it."""
DEVICES = UserEmbeddings(
    "device", "attribute", "requests", np.eye(CLUSTERS, dtype=np.float32), "context", labels=tuple("abcde")
)
"""Each cluster has a device of its own."""


@dataclass(frozen=True)
class World:
    """Users who walk around one ring of items each; the last step is held back."""

    train: Histories
    truth: np.ndarray
    favourite: np.ndarray
    content: Content


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(0)
    favourite = rng.choice(CLUSTERS, USERS, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    rows = []
    for cluster in favourite:
        position = rng.integers(PER_CLUSTER - 1)
        row = []
        for _ in range(EVENTS + 1):
            position = (position + rng.integers(1, 3)) % (PER_CLUSTER - 1)
            row.append(cluster * PER_CLUSTER + position)
        for stray in rng.choice(EVENTS, 2, replace=False):
            row[stray] = rng.choice(np.setdiff1d(np.arange(ITEMS), COLD))
        rows.append(row)
    walked = np.array(rows)
    return World(histories(walked[:, :-1]), walked[:, -1], favourite, content(rng))


def histories(items: np.ndarray, weight: np.ndarray | None = None) -> Histories:
    users, length = items.shape
    at = np.tile(np.arange(length) * 86_400_000_000, users).astype(np.int64)
    offsets = np.arange(users + 1, dtype=np.int64) * length
    said = np.ones(items.size, np.float32) if weight is None else weight.astype(np.float32).ravel()
    flat = items.ravel().astype(np.int32)
    shown = np.where((np.arange(items.size) % 3 == 0) & (flat < ITEMS), flat, -1).astype(np.int32)
    used = np.where(flat < ITEMS, CLUSTER[flat % ITEMS], -1).astype(np.int32)
    last = used.reshape(users, length)[:, -1] if length else np.full(users, -1, np.int32)
    praised = np.where(shown >= 0, 0, -1).astype(np.int32)
    channels = {
        "photo": UserChannel(PHOTOS, shown),
        "aspects": UserChannel(KINDS, praised),
        "device": UserChannel(DEVICES, used, last),
    }
    ids = [f"u{u}" for u in range(users)]
    return Histories(ids, offsets, flat, at, said, ITEMS, user_channels=channels)


def content(rng: np.random.Generator) -> Content:
    channels = {}
    for name, missing, dim in (("words", NO_WORDS, 16), ("picture", NO_PICTURE, 8)):
        centres = rng.normal(size=(CLUSTERS, dim))
        values = (MOTIFS if name == "picture" else centres)[CLUSTER] + 0.4 * rng.normal(size=(ITEMS, dim)) + 3
        present = ~np.isin(np.arange(ITEMS), missing)
        values[missing] = 0
        modality = "text" if name == "words" else "image"
        channels[name] = Embeddings(name, modality, values.astype(np.float32), present, name)
    fused = Concat(ConcatConfig(dim=8))(channels)
    return Content(channels, fused, {"photo": "picture", "aspects": "kinds", "device": "context"})


def make(variant: str) -> Member:
    model, options = VARIANTS[variant]
    cls = MODELS.load(model)
    member: Member = cls(cls.config_class.read(options, where="test"), name=variant)
    return member


def recall(scores: np.ndarray, world: World, k: int = 10) -> float:
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((top == world.truth[:, None]).any(1).mean())


@pytest.fixture(scope="module", params=VARIANTS)
def fitted(request: pytest.FixtureRequest, world: World) -> Member:
    return make(request.param).fit(world.train, world.content)


def test_every_entry_has_a_sample() -> None:
    assert set(SAMPLES) == set(MODELS.names())


def test_scores_are_finite_float32_for_every_item(fitted: Member, world: World) -> None:
    scores = fitted.score(world.train)
    assert scores.shape == (USERS, ITEMS)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_a_user_scores_the_same_alone_and_in_a_batch(fitted: Member, world: World) -> None:
    together = fitted.score(world.train)
    alone = np.concatenate([fitted.score(world.train.rows(u, u + 1)) for u in range(10)])
    np.testing.assert_allclose(alone, together[:10], rtol=1e-4, atol=1e-5 * np.abs(together).max())


def test_fitting_and_scoring_leave_the_histories_alone(world: World, request: pytest.FixtureRequest) -> None:
    rng = np.random.default_rng(1)
    items = rng.integers(0, ITEMS, (20, 9))
    items[:, 4] = items[:, 1]  # a repeat: summing it up must not touch what was given
    given = histories(items, rng.choice([-1, 0.5, 1, 2], items.shape))
    arrays = ("offsets", "item_index", "at", "weight")
    before = {name: getattr(given, name).copy() for name in arrays}
    for variant in VARIANTS:
        member = make(variant).fit(given, world.content)
        member.score(given)
        member.contributions(given.rows(0, 1))
        for name in arrays:
            np.testing.assert_array_equal(getattr(given, name), before[name], err_msg=f"{variant}: {name}")


def test_a_new_user_is_scored_from_what_they_did(fitted: Member, world: World) -> None:
    stranger = histories(np.array([[12, 14, 16, 17]]))
    scores = fitted.score(stranger)[0]
    assert np.isfinite(scores).all()
    if fitted.name not in IMPERSONAL:
        assert scores[CLUSTER == 1].mean() > scores[CLUSTER != 1].mean()


def test_an_empty_history_gets_the_prior(fitted: Member, world: World) -> None:
    nobody = Histories.empty(ITEMS)
    prior, events = fitted.contributions(nobody)
    assert events.shape == (0, ITEMS)
    np.testing.assert_allclose(fitted.score(nobody)[0], prior, atol=1e-6)


def test_contributions_sum_to_the_score(fitted: Member, world: World) -> None:
    for user in range(5):
        one = world.train.rows(user, user + 1)
        score = fitted.score(one)[0]
        prior, events = fitted.contributions(one)
        assert events.shape == (EVENTS, ITEMS)
        np.testing.assert_allclose(prior + events.sum(0), score, rtol=1e-4, atol=1e-4 * np.abs(score).max())


DENSE_BEFORE = (
    "compressed",
    "compressed: the most touched",
    "compressed: content",
    "compressed: content_knn of every pair",
    "compressed: lifted",
)
"""Variants whose rows have typical values besides their entries: every item is scored."""
SCORES_CHOSEN_ITEMS = [
    v
    for v, (model, _) in VARIANTS.items()
    if model
    not in (
        "random_order",
        "context_popularity",
        "aspects",
        "user_content_knn",
        "user_content_regression",
        "graph_network",
        "distilled",
        "sequence",
        "language_model",
    )
    and v not in DENSE_BEFORE
]
"""Variants that score chosen items without the others."""


def over_its_catalog(fitted: Member, grown: bool, request: pytest.FixtureRequest) -> tuple[Member, int]:
    """Return the member, with the items of the grown catalog where asked, and the number of items it scores."""
    if not grown:
        return fitted, ITEMS
    more = request.getfixturevalue("grown_content")
    num_items = len(next(iter(more.channels.values())).present)
    return fitted.add_items(more, range(ITEMS, num_items)), num_items


@pytest.mark.parametrize("grown", [False, True])
def test_contributions_to_chosen_items_are_those_of_all(
    fitted: Member, world: World, grown: bool, request: pytest.FixtureRequest
) -> None:
    member, num_items = over_its_catalog(fitted, grown, request)
    rng = np.random.default_rng(0)
    for user in (0, 7, 0):  # what is kept of the first request holds for the third
        one = replace(world.train.rows(user, user + 1), num_items=num_items)
        early = int(one.at[len(one.at) // 2])
        for asked in (one, one.requested(LATEST), one.requested(np.array([early]))):
            prior, events = member.contributions(asked)
            size = max(np.abs(prior).max(), np.abs(events).max(initial=0)) + 1e-6
            for chosen in (rng.permutation(num_items)[:9], np.array([3, num_items - 1, 3]), np.zeros(0, np.int64)):
                (own_prior, own_events), means = member.contributions_to(asked, chosen)
                np.testing.assert_allclose(own_prior, prior[chosen], rtol=1e-5, atol=1e-6 * size)
                np.testing.assert_allclose(own_events, events[:, chosen], rtol=1e-4, atol=1e-6 * size)
                np.testing.assert_allclose(means, [prior.mean(), *events.mean(1)], rtol=1e-4, atol=1e-6 * size)


@pytest.mark.parametrize("grown", [False, True])
def test_scores_of_chosen_items_are_those_of_all(
    fitted: Member, world: World, grown: bool, request: pytest.FixtureRequest
) -> None:
    member, num_items = over_its_catalog(fitted, grown, request)
    scorer = member.item_scorer(num_items, VectorIndex)
    assert (scorer is not None) == (fitted.name in SCORES_CHOSEN_ITEMS) or isinstance(member, FittedItems)
    if scorer is None:
        return
    rng = np.random.default_rng(0)
    for user in (0, 7, 31):
        one = replace(world.train.rows(user, user + 1), num_items=num_items).requested(LATEST)
        scores, found = member.score(one)[0], scorer.of(one)
        chosen = rng.permutation(num_items)[:9]
        size = np.abs(scores).max() + 1e-6
        np.testing.assert_allclose(found.of(chosen), scores[chosen], rtol=1e-5, atol=1e-6 * size)
        scaled = standardise(scores[None])
        np.testing.assert_allclose(found.mean, scaled.mean[0, 0], rtol=1e-5, atol=1e-6 * size)
        np.testing.assert_allclose(found.std, scores.std(dtype=np.float64), rtol=1e-4, atol=1e-6 * size)
        best = found.best(8)
        assert len(np.unique(best)) == len(best) <= 8
        rest = np.setdiff1d(np.arange(num_items), best)
        if len(best) == 8:
            assert scores[best].min() >= scores[rest].max() - 1e-5 * size


def test_restored_arrays_give_equal_scores_bit_for_bit(fitted: Member, world: World) -> None:
    twin = make(fitted.name).restore({key: array.copy() for key, array in fitted.arrays().items()})
    np.testing.assert_array_equal(twin.score(world.train), fitted.score(world.train))


def test_it_beats_chance_and_popularity(fitted: Member, world: World) -> None:
    chance = recall(np.random.default_rng(0).random((USERS, ITEMS)), world)
    popular = recall(make("popularity").fit(world.train, world.content).score(world.train), world)
    found = recall(fitted.score(world.train), world)
    assert found > chance or fitted.name.startswith(
        ("random_order", "new_items", "trend")
    )  # nothing rises in this world
    if fitted.name not in IMPERSONAL:
        assert found > popular


@pytest.mark.parametrize("variant", READS_CONTENT)
def test_an_item_nobody_touched_is_scored_from_its_content(variant: str, world: World) -> None:
    scores = make(variant).fit(world.train, world.content).score(world.train)[:, COLD]
    best = CLUSTER[COLD][scores.argmax(1)]
    assert (best == world.favourite).mean() > 0.7


@pytest.mark.parametrize("variant", ["content_knn of words", "content_knn per candidate", "content_knn of every pair"])
def test_an_item_without_content_scores_the_mean_of_those_with_some(variant: str, world: World) -> None:
    member = make(variant).fit(world.train, world.content)
    missing = NO_WORDS if "words" in variant else NO_PICTURE
    scores = member.score(world.train)
    rest = np.delete(scores, missing, axis=1).mean(1)
    np.testing.assert_allclose(scores[:, missing], np.tile(rest[:, None], len(missing)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v not in IMPERSONAL])
def test_a_dislike_lowers_what_is_alike(variant: str, world: World) -> None:
    member = make(variant).fit(world.train, world.content)
    items = np.array([[12, 14, 16, 0, 1, 2]])
    liked = member.score(histories(items))[0]
    disliked = member.score(histories(items, np.array([[1, 1, 1, -1, -1, -1]])))[0]
    assert np.isfinite(disliked).all()
    assert disliked[CLUSTER == 0].mean() < liked[CLUSTER == 0].mean()


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_to_learn_from_still_scores(variant: str, world: World) -> None:
    member = make(variant).fit(histories(np.zeros((3, 0), int)), world.content)
    assert np.isfinite(member.score(world.train.rows(0, 2))).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_dislikes_still_scores(variant: str, world: World) -> None:
    given = histories(np.array([[1, 2, 3], [4, 5, 6]]), -np.ones((2, 3)))
    member = make(variant).fit(given, world.content)
    assert np.isfinite(member.score(given)).all()


LIKED, UNLIKE = 14, 38
NEW = range(ITEMS, ITEMS + 3)


@pytest.fixture(scope="module")
def grown_content(world: World) -> Content:
    """Return the content with a twin of `LIKED`, a twin of `UNLIKE`, and an item without content at the end."""
    channels = {}
    for name, e in world.content.channels.items():
        values = np.concatenate([e.values, e.values[[LIKED, UNLIKE]], np.zeros((1, e.dim), np.float32)])
        present = np.concatenate([e.present, [True, True, False]])
        channels[name] = replace(e, values=values, present=present)
    return Content(channels, Concat(ConcatConfig(dim=8))(channels))


def test_added_items_leave_the_order_of_the_others_and_the_member_itself(
    fitted: Member, world: World, grown_content: Content
) -> None:
    before = fitted.score(world.train)
    arrays = {name: array.copy() for name, array in fitted.arrays().items()}
    grown = fitted.add_items(grown_content, NEW)
    after = grown.score(replace(world.train, num_items=NEW.stop))
    assert after.shape == (USERS, NEW.stop)
    assert after.dtype == np.float32
    assert np.isfinite(after).all()
    in_new_order = np.take_along_axis(before, np.argsort(after[:, :ITEMS], axis=1), 1)
    assert (np.diff(in_new_order, axis=1) >= -1e-6 * np.abs(before).max()).all()
    np.testing.assert_array_equal(fitted.score(world.train), before)
    for name, array in fitted.arrays().items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_contributions_sum_to_the_score_with_events_on_added_items(
    fitted: Member, world: World, grown_content: Content
) -> None:
    grown = fitted.add_items(grown_content, NEW)
    history = replace(histories(np.array([[12, NEW[0], 16, NEW[2], 17]])), num_items=NEW.stop)
    prior, events = grown.contributions(history)
    score = grown.score(history)[0]
    assert events.shape == (5, NEW.stop)
    np.testing.assert_allclose(prior + events.sum(0), score, rtol=1e-4, atol=1e-4 * np.abs(score).max())


def test_arrays_with_added_items_restore_equal_scores(fitted: Member, world: World, grown_content: Content) -> None:
    grown = fitted.add_items(grown_content, NEW)
    twin = make(fitted.name).restore({key: array.copy() for key, array in grown.arrays().items()})
    given = replace(histories(np.array([[12, NEW[0], 16, 17], [40, 41, NEW[2], 43]])), num_items=NEW.stop)
    np.testing.assert_array_equal(twin.score(given), grown.score(given))


def test_an_added_item_is_scored_from_its_content(fitted: Member, world: World, grown_content: Content) -> None:
    restored = make(fitted.name).restore({key: array.copy() for key, array in fitted.arrays().items()})
    grown = restored.add_items(grown_content, NEW)
    liked, unlike, unknown = grown.score(replace(histories(np.array([[12, LIKED, 16, 19]])), num_items=NEW.stop))[
        0, ITEMS:
    ]
    if fitted.name == "content_prior":
        everyone = fitted.score(world.train)[0]
        np.testing.assert_allclose([liked, unlike], everyone[[LIKED, UNLIKE]], rtol=1e-4, atol=1e-6)
    elif fitted.name in READS_CONTENT or fitted.name.startswith(
        ("aspects", "compressed: content_knn", "content_knn", "graph_network", "user_content")
    ):
        assert liked > unlike
        assert liked > unknown
    elif fitted.name != "random_order":
        np.testing.assert_allclose([liked, unlike], unknown, rtol=1e-5)


def test_items_may_be_added_twice(fitted: Member, world: World, grown_content: Content) -> None:
    first = Content({n: rows(e, NEW.start + 1) for n, e in grown_content.channels.items()})
    first = replace(first, fused=None if grown_content.fused is None else rows(grown_content.fused, NEW.start + 1))
    twice = fitted.add_items(first, range(ITEMS, ITEMS + 1)).add_items(grown_content, range(ITEMS + 1, NEW.stop))
    assert twice.score(replace(world.train, num_items=NEW.stop)).shape == (USERS, NEW.stop)


def rows(e: Embeddings, stop: int) -> Embeddings:
    imputed = None if e.imputed is None else e.imputed[:stop]
    return replace(e, values=e.values[:stop], present=e.present[:stop], imputed=imputed)
