"""Windows hold every event once, in order, with what came next."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.core.schema import Histories
from penchant.networks.sequences import GAP_BUCKETS, AugmentationConfig, Windows, gaps, hold_out, recent_windows

DAY = 86_400_000_000


def histories(*rows: list[int], weight: float = 1.0) -> Histories:
    """Users whose item numbers rise by one, so that the next item is known."""
    lengths = [len(row) for row in rows]
    items = np.concatenate([np.array(row, np.int32) for row in rows])
    at = np.concatenate([np.arange(n) * DAY for n in lengths]).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Histories(
        [f"u{n}" for n in range(len(rows))], offsets, items, at, np.full(len(items), weight, np.float32), 100
    )


LONG, SHORT = list(range(0, 23)), list(range(50, 54))


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_every_event_is_a_target_once(crop: bool, seed: int) -> None:
    windows = Windows(histories(LONG, [], SHORT), 5, 24, AugmentationConfig(crop=crop))
    seen = [t for b in windows.epoch(np.random.default_rng(seed)) for t in b.target[b.target >= 0].tolist()]
    assert sorted(seen) == LONG + SHORT


def test_a_target_follows_the_events_before_it() -> None:
    for batch in Windows(histories(LONG, SHORT), 5, 24, AugmentationConfig()).epoch(np.random.default_rng(0)):
        for items, target, length in zip(batch.items, batch.target, batch.lengths, strict=True):
            assert (
                target[:length].tolist() == items[:length].tolist()
            )  # target t follows t events: it is event t itself
            assert (target[length:] == -1).all()


def test_dislikes_are_never_targets() -> None:
    batches = Windows(histories(LONG, weight=-1), 5, 24, AugmentationConfig()).epoch(np.random.default_rng(0))
    assert not list(batches)


def test_batches_stay_within_their_size() -> None:
    many = histories(*[LONG] * 40)
    for batch in Windows(many, 10, 64, AugmentationConfig()).epoch(np.random.default_rng(0)):
        assert batch.items.shape[0] * (batch.items.shape[1] + 1) <= 64


def test_inputs_are_the_most_recent_events_at_the_front() -> None:
    batch = recent_windows(histories(LONG, [], SHORT), np.array([0, 1, 2]), 5)
    assert batch.items[0].tolist() == [18, 19, 20, 21, 22]
    assert batch.lengths.tolist() == [5, 0, 4]
    assert batch.items[2].tolist() == [50, 51, 52, 53, 0]
    assert (batch.target == -1).all()


def test_mask_hides_events_and_reorder_keeps_targets() -> None:
    augmentation = AugmentationConfig(mask=0.5, reorder=1.0, crop=False)
    hidden, moved = 0, 0
    for batch in Windows(histories(*[LONG] * 10), 20, 400, augmentation).epoch(np.random.default_rng(0)):
        hidden += int((batch.weight == 0).sum())
        moved += int((batch.items != batch.target[:, :-1]).sum())
        assert sorted(batch.target[batch.target >= 0].tolist())
    assert hidden > 50
    assert moved > 10


def test_gaps_tell_a_tie_from_a_day_and_a_beginning() -> None:
    known = histories([1, 2, 3], [4, 5])
    known.at[:3] = [0, 0, DAY]
    bucket = gaps(known)
    assert bucket[1] == 0
    assert 0 < bucket[2] < GAP_BUCKETS - 1
    assert bucket[0] == bucket[3] == GAP_BUCKETS - 1


def test_hold_out_takes_the_last_event_and_nothing_else() -> None:
    known = histories(*[LONG] * 8)
    left, before, truth = hold_out(known, 2, np.random.default_rng(0))
    assert left.num_events == known.num_events - 2
    assert truth.tolist() == [22, 22]
    assert before.item_index[-1] == 21


def test_hold_out_of_almost_nobody_takes_nothing() -> None:
    known = histories(SHORT, SHORT)
    left, _, truth = hold_out(known, 10, np.random.default_rng(0))
    assert left.num_events == known.num_events
    assert len(truth) == 0
