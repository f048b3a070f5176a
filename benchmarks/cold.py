"""Measure new items on MovieLens-1M with plots: among the new alone, and beside known items, several draws of new items.

In: the folder of the data and the draws. Out: Markdown rows of NDCG@20 for each recommender, and its ratio to the best content rival.

    python benchmarks/cold.py ../shared/data/ml1m_mm
    python benchmarks/cold.py ../shared/data/ml1m_mm --catalog

Among the new: `split.kind = "cold_items"`. With --catalog, the last tenth of each user's events is the test, and a tenth of the items is
unknown before it: their events leave training and validation, nobody is recommended what they had chosen before, and "of new" counts the
choices of those items alone. Posters are not read. Settings, weights and the lift are chosen on each draw's validation; each test is
ranked once a run. The interval resamples draws, and users within each.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from penchant.core.schema import Content, Dataset, Histories
from penchant.data.clean.dataset import clean
from penchant.data.read.sources import read
from penchant.data.split.interactions import SplitConfig, split
from penchant.encoders.catalog import encode_catalog
from penchant.experiment.fit import OURS, FitConfig, HoldOut, fit
from penchant.experiment.new_items import NEW_ITEMS, draw_items
from penchant.experiment.pool import MemberPool
from penchant.experiment.scoring import weighted_sum
from penchant.experiment.selection import SelectionConfig, choose_settings
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.ranking import measure
from penchant.models.ensemble import batch_users, blocked_items, top_k
from penchant.models.member import make_member
from penchant.pipelines.recommendation import at_test, before_test, fuse
from penchant.pipelines.recommendation_settings import FusionConfig, RecommendationConfig

ROOT = Path(__file__).resolve().parent.parent
K = 20
BEHAVIOUR = {
    "popularity": {"model": "popularity"},
    "item_knn": {"model": "item_knn", "half_life": 5},
    "ease": {"model": "ease", "regularisation": 500, "half_life": 3},
}
"""Beside the content members of configs/movielens-cold.toml, over the whole catalog."""
RIVALS = ("Content kNN", "Content ridge")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--catalog", action="store_true")
    parser.add_argument("--cache", type=Path, default=ROOT / ".penchant")
    given = parser.parse_args()
    config, dataset, content = prepare(given.folder, given.cache)
    found: list[dict[str, np.ndarray]] = []
    for seed in given.draws:
        began = time.process_time()
        rank = beside_known if given.catalog else among_new
        found.append(rank(dataset, content, config.model_copy(update={"seed": seed})))
        seconds = time.process_time() - began
        means = ", ".join(f"{name} {one.mean():.4f}" for name, one in found[-1].items())
        print(f"draw {seed}: {means}; {seconds:.0f} s CPU", flush=True)
        print_table(found)


def prepare(folder: Path, cache: Path) -> tuple[RecommendationConfig, Dataset, Content]:
    """Return the settings without posters, the clean data and its channels."""
    config = RecommendationConfig.from_toml(ROOT / "configs/movielens-cold.toml")
    members = {
        name: {**table, "weights": {n: w for n, w in table.get("weights", {}).items() if n != "poster"}}
        for name, table in (config.members or {}).items()
        if "poster" not in name
    }
    channels = {name: channel for name, channel in (config.content or {}).items() if name != "poster"}
    data = config.data.model_copy(update={"path": folder})
    fusion = FusionConfig(dim=[64], whiten=[False], impute=False)
    config = config.model_copy(update={"data": data, "members": members, "content": channels, "fusion": fusion})
    dataset = clean(read(data), config.clean, config.media, cache=cache / "media")
    embeddings, _ = encode_catalog(dataset.catalog, channels, cache=cache / "vectors", limits=config.media)
    return config, dataset, Content(embeddings)


def among_new(dataset: Dataset, content: Content, config: RecommendationConfig) -> dict[str, np.ndarray]:
    """Return NDCG of each user where the new items alone are ranked."""
    parts = split(dataset.interactions, config.split, config.seed)
    validation, known = before_test(dataset.catalog, parts, config)
    test = at_test(dataset.catalog, parts, config)
    fused, fusion = fuse(content, validation, config)
    trained = fit(dict(config.members or {}), validation, known, fused, fusion, FitConfig(ablation=False), cutoff=K)
    rows = {row.name: row.weights for row in trained.rows if row.role in ("ours", "baseline")}
    users = with_choices(test.truth)
    histories, truth = test.histories.take(users), test.truth.take(users)
    lists = trained.pool.rank(rows, histories, K, candidates=test.candidates, tie_order=test.tie_order)
    return {name: measure(one, truth, ks=[K])[f"ndcg@{K}"].to_numpy() for name, one in lists.items()}


def beside_known(dataset: Dataset, content: Content, config: RecommendationConfig) -> dict[str, np.ndarray]:
    """Return NDCG of each user where new and known items compete, over all choices, those of new items and those of known ones."""
    config = config.model_copy(update={"split": SplitConfig(kind="user_time", request_time="hidden")})
    parts = split(dataset.interactions, config.split, config.seed)
    validation, known = before_test(dataset.catalog, parts, config)
    test = at_test(dataset.catalog, parts, config)
    new = draw_items(known, config.seed + 1)
    stage = replace(validation, histories=without(validation.histories, new), truth=without(validation.truth, new))
    fused, fusion = fuse(content, stage, config)
    members = {**BEHAVIOUR, **(config.members or {})}
    # the first value of each grid: baselines of behaviour are not what is asked here
    settings = FitConfig(ablation=False, selection=SelectionConfig(max_events=0))
    trained = fit(members, stage, without(known, new), fused, fusion, settings, cutoff=K)
    weights = trained.ours.weights
    plain = weights.only([name for name in weights if name != NEW_ITEMS])
    rivals, chosen = content_rivals(stage, without(known, new), fused)
    pool = MemberPool({**trained.pool.members, **rivals})
    rows = {OURS: plain, **chosen, "EASE": EnsembleWeights({"EASE": 1.0})}
    lifts = {
        f"{OURS}, new items lifted": (plain, weights.get(NEW_ITEMS, 0.0)),
        **{n: (w, 0.0) for n, w in rows.items()},
    }
    users = with_choices(test.truth)
    full, truth = test.histories.take(users), test.truth.take(users)
    out: dict[str, list[np.ndarray]] = {f"{n}{kind}": [] for kind in ("", " of new", " of known") for n in lifts}
    size = batch_users(truth.num_items)
    for start in range(0, len(users), size):
        batch = full.rows(start, start + size)
        wanted = truth.rows(start, start + size)
        seen = without(batch, new)
        scores = dict(pool.standardised(seen, sorted({name for row, _ in lifts.values() for name in row})))
        for name, (row, lift) in lifts.items():
            total = weighted_sum(scores, row, seen) + np.float32(lift) * new
            total[blocked_items(batch)] = -np.inf
            ranked = top_k(total, K, batch.user_ids, test.tie_order)
            for kind, mask in (("", new | True), (" of new", new), (" of known", ~new)):
                some = wanted.where(mask[wanted.item_index])
                gains = measure(ranked, some, ks=[K])[f"ndcg@{K}"].to_numpy()  # of users with such a choice
                out[f"{name}{kind}"].append(gains)
    print(f"<!-- weights {dict(weights)} -->")
    return {name: np.concatenate(parts) for name, parts in out.items()}


def without(histories: Histories, items: np.ndarray) -> Histories:
    return histories.where(~items[histories.item_index])


def with_choices(truth: Histories) -> np.ndarray:
    return np.flatnonzero(np.bincount(truth.user_index(), truth.weight > 0, len(truth)) > 0)


def content_rivals(
    stage: HoldOut, known: Histories, content: Content
) -> tuple[dict[str, object], dict[str, EnsembleWeights]]:
    """Return content kNN and ridge with the settings that are best on this draw's validation."""
    scorer = stage.scorer(K, 1000)
    tables = {
        "Content kNN": {"model": "content_knn", "channel": ["plot", "fused"], "sharpness": [4, 1, 12]},
        "Content ridge": {"model": "content_regression", "smoothing": 0, "regularisation": [10, 1, 100]},
    }
    chosen = choose_settings(tables, stage.histories, content, scorer, SelectionConfig())
    members = {f"{name} alone": make_member(name, table).fit(known, content) for name, table in chosen.items()}
    return members, {name: EnsembleWeights({f"{name} alone": 1.0}) for name in chosen}


def print_table(found: list[dict[str, np.ndarray]], resamples: int = 2000) -> None:
    """Print means over draws with their deviation, and the ratio to the best rival of the same kind."""
    rng = np.random.default_rng(0)
    print(
        f"\n| recommender | NDCG@{K}, mean of {len(found)} draws (deviation) | times the best content rival |\n|---|---|---|"
    )
    for name in found[0]:
        means = np.array([one[name].mean() for one in found])
        kind = next((kind for kind in (" of new", " of known") if name.endswith(kind)), "")
        rivals = [rival + kind for rival in RIVALS if rival + kind in found[0]]
        best = max(rivals, key=lambda rival: np.mean([one[rival].mean() for one in found]))
        ratios = []
        for _ in range(resamples):
            sums = np.zeros(2)
            for number in rng.integers(0, len(found), len(found)):
                users = rng.integers(0, len(found[number][name]), len(found[number][name]))
                sums += [found[number][name][users].mean(), found[number][best][users].mean()]
            ratios.append(sums[0] / sums[1])
        low, high = np.quantile(ratios, [0.025, 0.975])
        ratio = means.sum() / sum(one[best].mean() for one in found)
        print(f"| {name} | {means.mean():.4f} ({means.std():.4f}) | {ratio:.2f} [{low:.2f}, {high:.2f}] |", flush=True)


if __name__ == "__main__":
    main()
