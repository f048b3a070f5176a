"""Batches divided among processes: the sum of the parts is the batch, whoever computes them; a process that goes away is noticed."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
from torch import distributed

from joint_training import drawn_histories, fitted_at, network
from penchant.core.executor import Meeting, PeerLostError
from penchant.core.seeds import generator
from penchant.networks.sequences import AugmentationConfig, Windows


def test_parts_of_a_batch_hold_its_targets_once() -> None:
    windows = Windows(drawn_histories(), 10, 300, AugmentationConfig())
    for batch in windows.epoch(generator(0, "test")):
        parts = batch.split(4)
        assert sum(share for _, share in parts) == pytest.approx(1)
        found = torch.cat([part.target[part.target >= 0] for part, _ in parts])
        assert torch.equal(found.sort().values, batch.target[batch.target >= 0].sort().values)
        assert all(part.items.shape[1] == part.lengths.max() for part, _ in parts)


def test_gradients_of_parts_sum_to_those_of_the_batch() -> None:
    train = drawn_histories()
    whole = network(dropout=0.0).fit(train)
    parted = network(dropout=0.0, batch_parts=3).fit(train)
    assert np.allclose(parted.training_history.losses, whole.training_history.losses, atol=1e-4)
    assert np.allclose(parted.score(train), whole.score(train), atol=1e-3)
    assert not np.array_equal(network(batch_parts=3).fit(train).score(train), parted.score(train)), "dropout is drawn"


def joint(size: int, **settings: Any) -> list[Any]:
    """Return what each of so many processes returns, or raised."""
    server = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    name = uuid4().hex
    meetings = [Meeting("127.0.0.1", server.port, name, rank, size, 120.0) for rank in range(size)]
    dies = settings.pop("dies", None)
    pools = [ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) for _ in meetings]
    try:
        asked = [
            pool.submit(fitted_at, meeting, dies=dies == meeting.rank, **settings)
            for pool, meeting in zip(pools, meetings, strict=True)
        ]
        return [one.exception() or one.result() for one in asked]
    finally:
        for pool in pools:
            pool.shutdown()


def test_two_processes_learn_what_one_does_and_the_first_returns_it() -> None:
    alone = fitted_at(None, batch_parts=3)
    first, second = joint(2, batch_parts=3)
    assert alone is not None
    assert second is None
    assert all(np.array_equal(first.arrays()[name], array) for name, array in alone.arrays().items())
    assert first.training_history.losses == alone.training_history.losses


def test_a_process_that_goes_away_ends_the_others_and_training_resumes_with_the_same_result(tmp_path: Path) -> None:
    kept = tmp_path / "network"
    left, _ = joint(2, batch_parts=2, checkpoint=kept, dies=1)
    assert isinstance(left, PeerLostError)
    assert (kept / "manifest.json").exists()
    resumed, _ = joint(2, batch_parts=2, checkpoint=kept)
    alone = fitted_at(None, batch_parts=2)
    assert alone is not None
    assert np.array_equal(resumed.score(drawn_histories()), alone.score(drawn_histories()))
    assert replace(resumed.training_history, seconds=[]) == replace(alone.training_history, seconds=[])
