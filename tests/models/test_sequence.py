"""What a network over histories does beside the contract in tests/checks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from penchant.core.artifacts import write_artifact
from penchant.core.errors import ConfigError
from penchant.core.schema import Content, Embeddings, Histories
from penchant.models.member import make_member
from penchant.models.sequence import Sequence, SequenceConfig, batch_of

ITEMS = 12
SMALL = {
    "dim": 8,
    "layers": 1,
    "epochs": 30,
    "learning_rate": 0.03,
    "batch_events": 128,
    "dropout": 0.0,
    "max_length": 8,
    "held_out_users": 0,
}


def walkers(users: int = 60) -> Histories:
    """Everyone goes round the ring of items, one step at a time, from a place of their own."""
    rows = (np.arange(6) + np.arange(users)[:, None]) % ITEMS
    offsets = np.arange(users + 1, dtype=np.int64) * 6
    at = np.tile(np.arange(6, dtype=np.int64) * 1_000_000, users)
    return Histories(
        [str(u) for u in range(users)],
        offsets,
        rows.ravel().astype(np.int32),
        at,
        np.ones(rows.size, np.float32),
        ITEMS,
    )


def content(**channels: np.ndarray) -> Content:
    return Content(
        {n: Embeddings(n, "text", v.astype(np.float32), np.ones(ITEMS, bool), n) for n, v in channels.items()}
    )


def make(**options: object) -> Sequence:
    return Sequence(SequenceConfig(**{**SMALL, **options}), name="net")


def test_it_learns_what_follows() -> None:
    member = make(channels=[]).fit(walkers(), Content())
    scores = member.score(walkers(ITEMS))
    assert (scores.argmax(1) == (np.arange(ITEMS) + 6) % ITEMS).mean() > 0.9


def test_equal_seeds_give_equal_scores_and_other_seeds_do_not() -> None:
    first, again, other = (
        make(channels=[], epochs=2, seed=s).fit(walkers(), Content()).score(walkers(2)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    "options", [{}, {"backbone": "ligr", "loss": "sampled_softmax", "negatives": 32, "in_batch": 0.5}], ids=str
)
def test_refit_goes_on_from_before_and_learns_new_events(options: dict[str, object]) -> None:
    before = make(channels=[], **options).fit(walkers(), Content())
    after = make(channels=[], refit_epochs=1, **options).refit(walkers(80), Content(), before)
    assert len(after.training_history.losses) == 1
    assert after.training_history.losses[0] < before.training_history.losses[0] / 1.5


def test_a_stopped_fit_goes_on(tmp_path: Path) -> None:
    member = make(channels=[], epochs=3)
    member.checkpoint = tmp_path / "kept"
    first = member.fit(walkers(), Content()).score(walkers(3))
    again = make(channels=[], epochs=3)
    again.checkpoint = tmp_path / "kept"
    np.testing.assert_array_equal(again.fit(walkers(), Content()).score(walkers(3)), first)
    assert again.training_history.seconds == member.training_history.seconds  # read back, not trained


def test_one_event_and_a_long_history_are_scored() -> None:
    member = make(channels=[], epochs=1).fit(walkers(), Content())
    long = Histories(
        ["a"],
        np.array([0, 40]),
        np.tile(np.arange(10, dtype=np.int32), 4),
        np.arange(40),
        np.ones(40, np.float32),
        ITEMS,
    )
    assert np.isfinite(member.score(long)).all()
    assert np.isfinite(member.score(long.rows(0, 1).take(np.array([0])))).all()
    prior, events = member.contributions(long)
    assert (events[:-8] == 0).all()  # beyond max_length nothing is read
    np.testing.assert_allclose(prior + events.sum(0), member.score(long)[0], rtol=1e-4)


def test_a_modality_missing_for_every_item_has_no_say() -> None:
    words = np.random.default_rng(0).normal(size=(ITEMS, 5))
    absent = Embeddings("sound", "audio", np.zeros((ITEMS, 4), np.float32), np.zeros(ITEMS, bool), "sound")
    known = Content({**content(words=words).channels, "sound": absent})
    member = make(use_ids=False, epochs=3).fit(walkers(), known)
    assert np.isfinite(member.score(walkers(3))).all()


def test_both_ends_of_a_sampled_loss_share_one_table_of_items() -> None:
    member = make(channels=[], loss="sampled_softmax", negatives=6, in_batch=0.5, epochs=1).fit(walkers(), Content())
    assert member.network is not None
    tables = [name for name, weight in member.network.state_dict().items() if weight.shape == (ITEMS, 8)]
    assert tables == ["items.ids.weight"]
    ids, before = member.network.items.ids, member.score(walkers(2))
    assert ids is not None
    with torch.no_grad():
        ids.weight[0] += torch.arange(8) / 4  # the first user has it in the history, the second has not
    member._settle()
    after = member.score(walkers(2))
    odds_before, odds_after = (np.log(s[:, 8] / s[:, 9]) for s in (before, after))
    assert abs(odds_after[0] - odds_before[0]) > 1e-3
    assert odds_after[1] == pytest.approx(odds_before[1], abs=1e-5)
    assert abs(np.log(after[1, 0] / after[1, 9]) - np.log(before[1, 0] / before[1, 9])) > 1e-3  # as a candidate


@pytest.mark.parametrize("in_batch", [0.0, 0.5, 1.0])
def test_sampled_softmax_learns_what_follows(in_batch: float) -> None:
    options = {"loss": "sampled_softmax", "negatives": 8, "negative_power": 0, "in_batch": in_batch}
    member = make(channels=[], backbone="ligr", **options).fit(walkers(), Content())
    assert (member.score(walkers(ITEMS)).argmax(1) == (np.arange(ITEMS) + 6) % ITEMS).mean() > 0.9


def test_neither_content_nor_ids_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs content channels or ids"):
        make(channels=[], use_ids=False).fit(walkers(), Content())


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="dim = 8 is not a multiple of heads = 3"):
        make(heads=3)


def test_it_starts_from_a_network_of_an_earlier_bundle(tmp_path: Path) -> None:
    before = make(channels=[]).fit(walkers(), Content())

    def write(folder: Path) -> None:
        save_file({f"net/{key}": array for key, array in before.arrays().items()}, folder / "ensemble.safetensors")
        table = {"model": "sequence", **before.config.model_dump(mode="json", exclude_defaults=True)}
        (folder / "ensemble.json").write_text(json.dumps({"members": {"net": table}}))

    write_artifact(tmp_path / "bundle", write, kind="bundle")
    options = {"channels": [], "epochs": 1, "learning_rate": 1e-9, "pretrained": tmp_path / "bundle"}
    after = make(**options).fit(walkers(), Content())
    np.testing.assert_allclose(after.score(walkers(4)), before.score(walkers(4)), rtol=1e-3)
    with pytest.raises(ConfigError, match="The bundle 'bundle' holds no network 'other'"):
        Sequence(SequenceConfig(**{**SMALL, **options}), name="other").fit(walkers(), Content())


def test_small_sets_get_small_batches_so_that_an_epoch_has_steps_enough() -> None:
    assert [batch_of(n) for n in (0, 1_000, 37_000, 562_000, 10_000_000)] == [128, 128, 578, 8192, 8192]
    small, large = (
        make(batch_events=events, channels=[], epochs=2).fit(walkers(300), Content()).training_history.losses[-1]
        for events in (None, 8192)
    )
    assert small < 0.5 * large


VIEWS: list[tuple[str, dict[str, float]]] = [
    *((model, {name: 0.5}) for model in ("sequence", "graph_network") for name in ("content_dropout", "content_noise")),
    ("sequence", {"views": 1.0, "content_dropout": 0.2}),
]


@pytest.mark.parametrize(("model", "setting"), VIEWS)
def test_views_of_content_change_what_is_learned_and_not_what_is_scored(model: str, setting: dict[str, float]) -> None:
    ring = content(ring=np.eye(ITEMS), noise=np.random.default_rng(0).standard_normal((ITEMS, 4)))
    size = {"epochs": 2, "dim": 8, "held_out_users": 0}
    plain, changed = (
        make_member("net", {"model": model, **size, **table}).fit(walkers(), ring) for table in ({}, setting)
    )
    assert not np.allclose(plain.score(walkers(3)), changed.score(walkers(3)))
    np.testing.assert_array_equal(changed.score(walkers(3)), changed.score(walkers(3)))


def test_two_views_of_an_item_agree_more_after_training_for_it() -> None:
    ring = content(ring=np.random.default_rng(0).standard_normal((ITEMS, 16)))
    losses = []
    for views in (0.0, 5.0):
        member = make(views=views, content_dropout=0.3, use_ids=False).fit(walkers(), ring)
        assert member.network is not None
        torch.manual_seed(0)
        member.network.train()
        losses.append(np.mean([float(member.network.items.agreement(torch.arange(ITEMS)).detach()) for _ in range(50)]))
    assert losses[1] < 0.8 * losses[0]
