"""Training that is stopped goes on, and training that breaks keeps what was good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penchant.core.errors import TrainingError
from penchant.networks.trainer import TrainerConfig, TrainingHistory, pick_device, train


class Points:
    """Points on the line y = 2 x; from epoch `broken` on they are no numbers."""

    def __init__(self, broken: int = 99) -> None:
        self.broken, self.begun = broken, 0

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        self.begun += 1
        for _ in range(self.num_batches()):
            x = torch.from_numpy(rng.normal(size=(16, 1)).astype(np.float32))
            yield x * (float("nan") if self.begun > self.broken else 1.0)

    def num_batches(self) -> int:
        return 8


def loss(network: nn.Module, batch: Tensor) -> Tensor:
    return (network(batch) - 2 * batch).pow(2).mean()


def learn(
    config: TrainerConfig,
    checkpoint: Path | None = None,
    points: Points | None = None,
    scores: list[float] | None = None,
    stop_after: int | None = None,
) -> tuple[nn.Module, TrainingHistory]:
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    left = iter(scores or [])

    def report(epoch: int, value: float) -> None:
        if epoch + 1 == stop_after:
            raise KeyboardInterrupt

    score = (lambda: next(left)) if scores else (lambda: -float((network.weight.detach() - 2).abs()))
    found = train(
        network, points or Points(), loss, score, config, seed=1, name="line", checkpoint=checkpoint, report=report
    )
    return network, found


SETTINGS = TrainerConfig(epochs=6, learning_rate=0.15, patience=6)


def test_it_learns_the_line() -> None:
    network, history = learn(SETTINGS)
    assert network.weight.item() == pytest.approx(2, abs=0.2)
    assert history.losses[-1] < history.losses[0] / 4


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, history = learn(SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        learn(SETTINGS, tmp_path / "kept", stop_after=3)
    points = Points()
    resumed, again = learn(SETTINGS, tmp_path / "kept", points)
    assert points.begun == 3
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict())
    assert again.losses == pytest.approx(history.losses)


def test_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first, _ = learn(SETTINGS, tmp_path / "kept")
    points = Points()
    second, _ = learn(SETTINGS, tmp_path / "kept", points)
    assert points.begun == 0
    torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_a_damaged_checkpoint_is_not_trusted(tmp_path: Path) -> None:
    learn(SETTINGS, tmp_path / "kept")
    file = tmp_path / "kept" / "network.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    points = Points()
    learn(SETTINGS, tmp_path / "kept", points)
    assert points.begun == 6


def test_the_best_epoch_is_kept_and_patience_ends_it() -> None:
    _, history = learn(TrainerConfig(epochs=9, patience=2), scores=[0.1, 0.5, 0.4, 0.3, 0.9])
    assert history.best == 1
    assert len(history.scores) == 4


def test_a_loss_that_is_no_number_keeps_the_last_good_weights() -> None:
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    with pytest.raises(
        TrainingError, match=r"The loss became nan in epoch 3\.\n  where: line; the weights of epoch 2 are kept"
    ):
        train(network, Points(broken=2), loss, None, SETTINGS, seed=1, name="line")
    assert torch.isfinite(network.weight).all()
    assert network.weight.item() != pytest.approx(nn.Linear(1, 1).weight.item())


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"There is no device 'cuda:77' here"):
        pick_device("cuda:77")
