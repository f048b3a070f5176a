"""A language model as the user model, beside popularity and a small network that learn from the same few users.

In: a run's settings, how many users and latest events, and minutes for each fit. Out: NDCG@10 over the whole catalog on
validation users, in a table. The test part is not looked at.

    python benchmarks/llm.py configs/movielens-next.toml --users 600 --events 15 --minutes 8
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from networks import prepared
from penchant.core.logs import show_logs
from penchant.core.schema import Histories
from penchant.core.seeds import generator
from penchant.experiment.pool import MemberPool
from penchant.experiment.selection import ValidationScorer
from penchant.fusion.late import EnsembleWeights
from penchant.models import MODELS
from penchant.pipelines.recommendation_settings import RecommendationConfig

NETWORK = {"held_out_users": 150}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "popularity": ("popularity", {}),
    "Transformer": ("sequence", {**NETWORK, "epochs": 40, "patience": 5, "batch_events": 128}),
    "language model, frozen": ("language_model", NETWORK),
    "language model, LoRA": ("language_model", {**NETWORK, "lora_rank": 8, "learning_rate": 1e-3}),
    "language model, frozen, 8 blocks": ("language_model", {**NETWORK, "layers": 8, "epochs": 20}),
    "language model, a token a channel": ("language_model", {**NETWORK, "tokens": "modalities"}),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--events", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--validation-users", type=int, default=1000)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    given = parser.parse_args()
    show_logs()
    stage, _, content = prepared(RecommendationConfig.from_toml(given.config))
    scorer = ValidationScorer.sample(stage.histories, stage.truth, 10, given.validation_users, stage.candidates)
    some = few(stage.histories, given.users, given.events)
    print(
        f"| learned from {len(some):,} users' last {given.events} events | NDCG@10 | fit, s | epochs |\n|---|---|---|---|"
    )
    for title in given.rows:
        model, options = ROWS[title]
        if model != "popularity":
            options = {**options, "max_length": given.events, "minutes": given.minutes}
        cls = MODELS.load(model)
        began = time.perf_counter()
        member = cls(cls.config_class(**options), name=title).fit(some, content)
        seconds = time.perf_counter() - began
        epochs = len(member.training_history.losses) if hasattr(member, "training_history") else 0
        print(
            f"| {title} | {scorer(MemberPool({'': member}), EnsembleWeights({'': 1.0})):.4f} | {seconds:.0f} | {epochs} |",
            flush=True,
        )


def few(histories: Histories, num_users: int, num_events: int) -> Histories:
    able = np.flatnonzero(histories.lengths() > 1)
    users = generator(0, "train.users").choice(able, min(num_users, len(able)), replace=False)
    chosen = histories.take(np.sort(users))
    return chosen.where(chosen.ages() < num_events)


if __name__ == "__main__":
    main()
