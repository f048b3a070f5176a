"""What a network's early stopping sees: held-out users' last events, which are not learned from; nothing when refit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hand_made import histories
from penchant.core.schema import Content, Histories
from penchant.models import sequence
from penchant.models.member import make_member
from penchant.networks.trainer import TrainingHistory

USERS, COMMON = 24, 6
ROWS = [[(user + n) % COMMON for n in range(4)] + [COMMON + user] for user in range(USERS)]
"""Each user's last item is theirs alone."""
TRAIN = histories(ROWS, COMMON + USERS)
TABLE = {"model": "sequence", "backbone": "gru", "dim": 8, "layers": 1, "heads": 1, "epochs": 2, "held_out_users": 5}


class Watched:
    """Stands for the training loop: keeps what would be learned from and what would be scored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learned: list[set[int]] = []
        self.held: list[tuple[Histories, np.ndarray]] = []
        self.scored: list[bool] = []

        def train(network: Any, batches: Any, loss: Any, score: Any, config: Any, **_: Any) -> TrainingHistory:
            seen: set[int] = set()
            for batch in batches.epoch(np.random.default_rng(0)):
                seen |= set(batch.items.flatten().tolist()) | set(batch.target[batch.target >= 0].tolist())
            self.learned.append(seen)
            self.scored.append(score is not None)
            if score is not None:
                score()
            return TrainingHistory()

        def held_out(_: Any, known: Histories, truth: np.ndarray) -> float:
            self.held.append((known, truth))
            return 0.0

        monkeypatch.setattr(sequence, "train", train)
        monkeypatch.setattr(sequence.Sequence, "_held_out", held_out)


def test_held_out_events_are_scored_and_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    member = make_member("network", TABLE).fit(TRAIN, Content())
    known, truth = watched.held[0]
    assert len(truth) == len(known) == 5
    assert [f"u{item - COMMON}" for item in truth] == known.user_ids  # their own last item
    assert known.lengths().tolist() == [4] * 5
    assert not set(truth.tolist()) & set(known.item_index.tolist())
    assert watched.learned[0] == set(range(COMMON + USERS)) - set(truth.tolist())
    again = make_member("network", TABLE).refit(TRAIN, Content(), member)
    assert watched.scored == [True, False]
    assert watched.learned[1] == set(range(COMMON + USERS))
    assert again is not member


def test_nothing_is_held_out_where_the_settings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    make_member("network", {**TABLE, "held_out_users": 0}).fit(TRAIN, Content())
    assert watched.scored == [False]
    assert watched.learned[0] == set(range(COMMON + USERS))


def test_held_out_score_is_the_ndcg_of_the_next_item_among_untouched_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    member: Any = make_member("network", TABLE).fit(TRAIN, Content())
    known, truth = histories([[0, 1], [2]], COMMON + USERS), np.array([3, 4])
    scores = member.score(known)
    scores[0, [0, 1]] = scores[1, 2] = -1
    ranks = [(row > row[item]).sum() for row, item in zip(scores, truth, strict=True)]
    wanted = np.mean([1 / np.log2(rank + 2) if rank < 10 else 0 for rank in ranks])
    assert member._held_out(known, truth) == pytest.approx(wanted)
