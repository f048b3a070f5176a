"""A network whose encoders are trained with it against the same network with frozen ones.

In: a configuration. Out: NDCG@10 on the test, and the paired difference to frozen encoders, for text, pictures and both.

    python benchmarks/end_to_end.py configs/world-next.toml --text text --picture image --seeds 0 1 2

Each row is fitted on the training part alone. All rows of one seed share the epochs with frozen encoders (`--epochs`); then each has the same further
epochs (`--tuned-epochs`), the first row with frozen encoders, the others with trained ones. As in a run, the further epochs are kept where the score
of held-out training users is better. The test chooses nothing. The interval draws seeds and users. A finished row is not run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from networks import METRIC, fewer, prepared
from penchant.core.logs import show_logs
from penchant.core.schema import Content
from penchant.experiment.fit import HoldOut
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.intervals import hierarchical
from penchant.metrics.ranking import measure
from penchant.models.member import make_member
from penchant.pipelines.recommendation_settings import RecommendationConfig

HELD = 1e-12
"""A learning rate that leaves the encoders as they are."""
FROZEN = "frozen encoders"


def rows(text: str | None, picture: str | None, asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the settings of fine-tuning by the name of the row."""
    channels = [name for name in (text, picture) if name is not None]
    common = {"epochs": asked.tuned_epochs, "max_tokens": asked.max_tokens, "items_per_step": asked.items_per_step}
    if asked.learning_rate is not None:
        common["learning_rate"] = asked.learning_rate
    found: dict[str, dict[str, Any]] = {FROZEN: {"channels": channels[-1:], "learning_rate": HELD, "items_per_step": 2}}
    if text is not None:
        found["text, LoRA"] = {"channels": [text]}
    if picture is not None:
        found["picture, LoRA"] = {"channels": [picture]}
    if len(channels) > 1:
        found["text and picture, LoRA"] = {"channels": channels}
        found["text and picture, the whole block"] = {"channels": channels, "rank": 0}
    return {name: {**common, **table} for name, table in found.items()}


def one_row(
    table: dict[str, Any], start: Path, validation: HoldOut, test: HoldOut, content: Content, file: Path
) -> None:
    """Fit on train, rank the test, and keep each user's scores; `start` holds the epochs with frozen encoders."""
    own = file.with_suffix("")
    if start.exists():
        shutil.copytree(start, own, dirs_exist_ok=True)
    began = time.process_time()
    member = make_member("network", table)
    member.checkpoint = own
    member.fit(validation.histories, content)
    seconds = time.process_time() - began
    if not start.exists():
        shutil.copytree(own, start)
    users = np.flatnonzero(test.truth.lengths() > 0)
    pool = MemberPool({"network": member})
    ranked = pool.rank(
        {"network": EnsembleWeights({"network": 1.0})}, test.histories.take(users), 10, candidates=test.candidates
    )["network"]
    is_kept = bool(getattr(member, "tuned", {}))
    measure(ranked, test.truth.take(users), ks=(10,), metrics=("ndcg",)).write_parquet(file)
    file.with_suffix(".json").write_text(json.dumps({"seconds": seconds, "is_kept": is_kept, "table": table}))
    for folder in (own, own.with_name(f"{own.name}-tuned")):
        shutil.rmtree(folder, ignore_errors=True)


def report(names: list[str], seeds: list[int], folder: Path) -> list[str]:
    """Return the table of what is there."""
    lines = ["| encoders | NDCG@10 by seed | against frozen | kept | CPU seconds |", "|---|---|---|---|---|"]
    values: dict[str, np.ndarray] = {}
    for name in names:
        files = [folder / f"{name.replace(' ', '-')}-{seed}.parquet" for seed in seeds]
        if not all(file.exists() for file in files):
            continue
        values[name] = np.stack([pl.read_parquet(file).sort("user_id")[METRIC].to_numpy() for file in files])
        about = [json.loads(file.with_suffix(".json").read_text()) for file in files]
        said = ""
        if name != FROZEN:
            found = hierarchical(values[name] - values[FROZEN])
            if len(seeds) > 1:
                low, high = np.nanpercentile(found.draws, [2.5, 97.5])
                said = f"{found.mean:+.4f} [{low:+.4f}, {high:+.4f}]"
            else:
                said = f"{found.mean:+.4f}, one seed"
        kept = f"{sum(one['is_kept'] for one in about)} of {len(seeds)}"
        scores = ", ".join(f"{score:.4f}" for score in values[name].mean(axis=1))
        lines.append(f"| {name} | {scores} | {said} | {kept} | {np.mean([one['seconds'] for one in about]):.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--text", help="channel of text")
    parser.add_argument("--picture", help="channel of pictures")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--tuned-epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, help="of trained encoders")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--items-per-step", type=int, default=24)
    parser.add_argument("--folder", type=Path, default=Path("runs/end-to-end"), help="of finished rows")
    parser.add_argument("--max-users", type=int, help="learn from and rank so many users only, evenly spaced")
    parser.add_argument("--content-alone", action="store_true", help="no ids: an item is what its content says")
    parser.add_argument("--only", nargs="+", help="rows whose name holds one of these words, beside the frozen ones")
    asked = parser.parse_args()
    show_logs()
    config = RecommendationConfig.from_toml(asked.config)
    validation, test, content = prepared(config, is_fused=False)
    validation, test = (fewer(stage, asked.max_users) for stage in (validation, test))
    tables = rows(asked.text, asked.picture, asked)
    if asked.only:
        tables = {n: t for n, t in tables.items() if n == FROZEN or any(word in n for word in asked.only)}
    folder = asked.folder / f"{config.name}-{'content' if asked.content_alone else 'ids'}"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in asked.seeds:
        for name, fine_tune in tables.items():
            file = folder / f"{name.replace(' ', '-')}-{seed}.parquet"
            if not file.exists():
                common = {"model": "sequence", "epochs": asked.epochs, "seed": seed, "use_ids": not asked.content_alone}
                table = {**common, "channels": sorted({c for c in (asked.text, asked.picture) if c})}
                one_row({**table, "fine_tune": fine_tune}, folder / f"start-{seed}", validation, test, content, file)
        print("\n".join(report(list(tables), [s for s in asked.seeds if s <= seed], folder)), flush=True)


if __name__ == "__main__":
    main()
