"""What each family, fusion level, loss and input of a network is worth, one change at a time.

In: a configuration whose content the networks read. Out: one table: NDCG@10 on the test with intervals, against the first row.

    python benchmarks/networks.py configs/movielens-next.toml --epochs 6
    python benchmarks/networks.py configs/movielens-next.toml --blocks --on validation

Every row is fitted on the training part alone with the same epochs and seed; nothing is chosen. A finished row is not run again. With --blocks the
rows are gated blocks (LiGR), sampled softmax and longer histories.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.logs import show_logs
from penchant.core.schema import Content
from penchant.encoders.catalog import default_channels
from penchant.experiment.defaults import default_members
from penchant.experiment.fit import HoldOut
from penchant.experiment.pool import MemberPool, weighed_users
from penchant.experiment.selection import without_grid
from penchant.experiment.weighting import HALVES, LEAST_SQUARES
from penchant.fusion.late import FOLDS, EnsembleConfig, EnsembleWeights
from penchant.metrics.comparison import per_user
from penchant.metrics.intervals import BootstrapMeans
from penchant.metrics.ranking import measure
from penchant.models.member import Member, make_member
from penchant.pipelines.recommendation import (
    RecommendationConfig,
    at_test,
    before_test,
    clean,
    encode_catalog,
    fuse,
    read,
    split,
    stop_on_errors,
)

METRIC = "ndcg@10"
QUICK = (
    "popularity",
    "recent_popularity",
    "item_knn",
    "rp3beta",
    "ease",
    "transitions",
    "content_knn",
    "content_regression",
)
"""Members beside the network with --stack."""
MORE = {"ease": {"max_items": 6_000}}
ROWS: dict[str, dict[str, Any]] = {
    "Transformer, gated, softmax": {},
    "GRU": {"backbone": "gru"},
    "LSTM": {"backbone": "lstm"},
    "RNN": {"backbone": "rnn"},
    "CNN": {"backbone": "cnn", "layers": 4},
    "two towers": {"backbone": "mean"},
    "graph network": {"model": "graph_network"},
    "concatenation": {"fusion": "concat"},
    "attention over modalities": {"fusion": "attention"},
    "ids alone": {"channels": []},
    "content alone": {"use_ids": False},
    "sampled softmax": {"loss": "sampled_softmax"},
    "BCE": {"loss": "bce"},
    "BPR": {"loss": "bpr"},
    "with InfoNCE": {"align": 0.1},
    "content blanked": {"content_dropout": 0.2},
    "with InfoNCE of two views": {"views": 0.1, "content_dropout": 0.2},
    "without times": {"times": False},
    "masked and reordered": {"mask": 0.1, "reorder": 0.3},
}
BLOCKS: dict[str, dict[str, Any]] = {
    "Transformer, softmax, length 100": {},
    "LiGR": {"backbone": "ligr"},
    "sampled softmax": {"loss": "sampled_softmax"},
    "sampled softmax, all items alike": {"loss": "sampled_softmax", "negative_power": 0},
    "sampled softmax, half of the batch": {"loss": "sampled_softmax", "negative_power": 0, "in_batch": 0.5},
    "LiGR, sampled softmax, half of the batch": {
        "backbone": "ligr",
        "loss": "sampled_softmax",
        "negative_power": 0,
        "in_batch": 0.5,
    },
    "length 200": {"max_length": 200},
    "LiGR, length 200": {"backbone": "ligr", "max_length": 200},
    "GRU": {"backbone": "gru"},
}
"""What eSASRec is made of, one change at a time and together."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blocks", action="store_true", help="the rows of eSASRec instead")
    parser.add_argument("--on", choices=["test", "validation"], default="test")
    parser.add_argument(
        "--stack", action="store_true", help="with other members, weights fitted on (other) validation users"
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", help="places of the rows to fit, from 0; the first is always shown"
    )
    parser.add_argument("--max-users", type=int, help="learn from and rank so many users only, evenly spaced")
    parser.add_argument("--rank-all", action="store_true", help="rank every user, whoever was learned from")
    asked = parser.parse_args()
    if asked.stack and asked.rank_all and asked.on == "validation":
        parser.error("weights are fitted on the validation users that are learned from: --rank-all is for the test")
    show_logs()
    config = RecommendationConfig.from_toml(asked.config)
    validation, test, content = prepared(config, is_fused=not asked.blocks)
    stage = validation if asked.on == "validation" else test
    validation = fewer(validation, asked.max_users)
    if asked.max_users is not None and not asked.rank_all:
        stage = validation if asked.on == "validation" else fewer(test, asked.max_users)
    rows = BLOCKS if asked.blocks else {**ROWS, **without_each(content)}
    folder = Path("runs/networks") / f"{config.name}-{asked.epochs}-{asked.seed}-{asked.max_users or 'all'}"
    folder = folder.with_name(
        folder.name
        + "-all-ranked" * asked.rank_all
        + "-blocks" * asked.blocks
        + "-validation" * (asked.on == "validation")
    )
    folder.mkdir(parents=True, exist_ok=True)
    others = quick_members(validation, content) if asked.stack else {}
    wanted = range(len(rows)) if asked.rows is None else asked.rows
    for place, (name, change) in enumerate(rows.items()):
        file = folder / f"{place:02d}.parquet"
        if not file.exists() and place in wanted:
            table = {"model": "sequence", "epochs": asked.epochs, "seed": asked.seed, **change}
            one_row(name, table, validation, stage, content, file, others)
    shown = {n: folder / f"{p:02d}.parquet" for p, n in enumerate(rows) if p in {0, *wanted}}
    print("\n".join(report(shown)))
    if asked.stack:
        print("\n".join(["", "with other members:", "", *report({n: stacked(file) for n, file in shown.items()})]))


def without_each(content: Content) -> dict[str, dict[str, Any]]:
    return {f"without {name}": {"channels": sorted(set(content.channels) - {name})} for name in content.channels}


def prepared(config: RecommendationConfig, *, is_fused: bool = True) -> tuple[HoldOut, HoldOut, Content]:
    """Return what the pipeline has after fusion, or before it."""
    dataset = stop_on_errors(clean(read(config.data), config.clean, config.media, cache=config.cache / "media"))
    parts = split(dataset.interactions, config.split, config.seed)
    validation, _ = before_test(dataset.catalog, parts, config)
    test = at_test(dataset.catalog, parts, config)
    channels = default_channels(dataset.catalog) if config.content is None else config.content
    vectors, _ = encode_catalog(dataset.catalog, channels, cache=config.cache / "vectors", limits=config.media)
    content = Content(vectors)
    return validation, test, fuse(content, validation, config)[0] if is_fused else content


def fewer(stage: HoldOut, max_users: int | None) -> HoldOut:
    """Keep some users; the same ones in either stage."""
    if max_users is None or max_users >= len(stage.histories):
        return stage
    users = np.linspace(0, len(stage.histories) - 1, max_users).astype(np.int64)
    return replace(stage, histories=stage.histories.take(users), truth=stage.truth.take(users))


def quick_members(validation: HoldOut, content: Content) -> dict[str, Member]:
    """Fit the default members that take seconds, each with its first settings."""
    tables = default_members(content, has_time=True, num_events=validation.train.num_events)
    return {
        name: make_member(name, {**without_grid(table), **MORE.get(str(table["model"]), {})}).fit(
            validation.train, content
        )
        for name, table in tables.items()
        if table["model"] in QUICK
    }


def stacked(file: Path) -> Path:
    return file.with_stem(f"{file.stem}-stacked")


def one_row(
    name: str,
    table: dict[str, Any],
    validation: HoldOut,
    stage: HoldOut,
    content: Content,
    file: Path,
    others: dict[str, Member],
) -> None:
    """Fit on train, rank the test or validation, and keep each user's scores."""
    began = time.process_time()
    member = make_member(
        name, {k: v for k, v in table.items() if table["model"] == "sequence" or k in ("model", "seed")}
    )
    member.fit(validation.histories, content)
    seconds = time.process_time() - began
    users = np.flatnonzero(stage.truth.lengths() > 0)
    histories, truth = stage.histories.take(users), stage.truth.take(users)
    ranked = MemberPool({name: member}).rank(
        {name: EnsembleWeights({name: 1.0})}, histories, 10, candidates=stage.candidates
    )[name]
    measure(ranked, truth, ks=(10,), metrics=("ndcg",)).write_parquet(file)
    facts = json.dumps({"seconds": seconds, "table": table})
    if others:
        with_others({**others, name: member}, validation, stage).write_parquet(stacked(file))
        stacked(file).with_suffix(".json").write_text(facts)
    file.with_suffix(".json").write_text(facts)


def with_others(members: dict[str, Member], validation: HoldOut, stage: HoldOut) -> pl.DataFrame:
    """Return the scores of the ensemble of each user: on the test, or on each half of validation with the weights of the other half."""
    pool, names, config = MemberPool(members), sorted(members), EnsembleConfig(bands=1)
    users = weighed_users(validation.truth, config)
    moments = pool.moments(names, validation.histories, validation.truth, config, candidates=validation.candidates)
    parts = []
    halves = ((HALVES[0], HALVES[1]), (HALVES[1], HALVES[0])) if stage is validation else (((0, 1, 2, 3), None),)
    for own, other in halves:
        row = LEAST_SQUARES.fit(names, {"length": moments.folds(*own)}, None, config)
        print(other, {member: round(weight, 3) for member, weight in row.items()}, flush=True)
        asked = np.flatnonzero(stage.truth.lengths() > 0)
        if other is not None:
            asked = users[np.isin(np.arange(len(users)) % FOLDS, other)]
        histories, truth = stage.histories.take(asked), stage.truth.take(asked)
        ranked = pool.rank({"all": row}, histories, 10, candidates=stage.candidates)["all"]
        parts.append(measure(ranked, truth, ks=(10,), metrics=("ndcg",)))
    return pl.concat(parts)


def report(rows: dict[str, Path]) -> list[str]:
    """Return the table; outcomes allow for the number of rows (Holm)."""
    names, files = list(rows), list(rows.values())
    tables = {name: pl.read_parquet(file) for name, file in rows.items()}
    means = BootstrapMeans(np.hstack([per_user(tables, name, (METRIC,)) for name in names]))
    changes = means.differences([(place, 0) for place in range(1, len(names))])
    lines = [f"| network | {METRIC} | against the first row | CPU seconds of fit |", "|---|---|---|---|"]
    for place, (name, file) in enumerate(zip(names, files, strict=True)):
        score, seconds = means.interval(place), json.loads(file.with_suffix(".json").read_text())["seconds"]
        said = ""
        if place:
            change = changes[place - 1]
            said = f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}] {change.outcome}"
        lines.append(f"| {name} | {score.mean:.4f} [{score.low:.4f}, {score.high:.4f}] | {said} | {seconds:.0f} |")
    return lines


if __name__ == "__main__":
    main()
