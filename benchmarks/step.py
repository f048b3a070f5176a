"""A training step beside the bare forward and backward of the same network.

In: nothing; histories are drawn. Out: CPU seconds of both on the same batches, and their ratio: what the loader, the optimiser and
the bookkeeping leave.

    python benchmarks/step.py
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
import torch

from penchant.core.schema import Content, Histories
from penchant.models.sequence import Sequence, SequenceConfig
from penchant.networks.sequences import Windows
from penchant.networks.trainer import train

USERS, ITEMS, ROUNDS = 1500, 3500, 3


def main() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 160, USERS)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = (rng.zipf(1.3, offsets[-1]) % ITEMS).astype(np.int32)
    at = np.sort(rng.integers(0, 10**15, offsets[-1]))
    histories = Histories([str(u) for u in range(USERS)], offsets, items, at, np.ones(len(items), np.float32), ITEMS)
    member: Any = Sequence(SequenceConfig(epochs=1, held_out_users=0, batch_events=8192), name="step").fit(
        histories, Content()
    )
    config, network = member.config, member.network
    loss = member._loss(histories, config, torch.device("cpu"))
    windows = Windows(histories, config.max_length, config.batch_events, config)
    batches = list(windows.epoch(np.random.default_rng(0)))
    ratios = []
    for _ in range(ROUNDS):
        network.train()
        began = time.process_time()
        for batch in batches:
            network.zero_grad(set_to_none=True)
            loss(network, batch).backward()
        bare = time.process_time() - began
        began = time.process_time()
        train(network, windows, loss, None, config, seed=0, name="step")
        ours = time.process_time() - began
        ratios.append(bare / ours)
        print(f"bare {bare:.2f} s, ours {ours:.2f} s, ratio {bare / ours:.3f}", flush=True)
    print(f"median ratio {median(ratios):.3f} over {len(batches)} batches of about {config.batch_events} events")


if __name__ == "__main__":
    main()
