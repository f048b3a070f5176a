"""Measure new items on MovieLens-1M with plots: among the new alone and over the whole catalog, several draws of new items.

In: the folder of the data and the draws. Out: Markdown rows of NDCG@20 for each recommender, and its ratio to the best content rival.

    python benchmarks/cold.py ../shared/data/ml1m_mm --draws 0 1 2 3 4
    python benchmarks/cold.py ../shared/data/ml1m_mm --catalog

Posters are not read. Settings and weights are chosen on each draw's validation; each test is ranked once a run. The interval resamples
draws, and users within each.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penchant.core.schema import Catalog, Content, Dataset, Histories, Split
from penchant.data.clean.dataset import clean
from penchant.data.read.sources import read
from penchant.data.split.interactions import split
from penchant.encoders.catalog import encode_catalog
from penchant.experiment.fit import OURS, FitConfig, HoldOut, fit
from penchant.experiment.pool import MemberPool
from penchant.experiment.selection import SelectionConfig, ValidationScorer, choose_settings
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.ranking import measure
from penchant.models.member import make_member
from penchant.pipelines.recommendation import RecommendationConfig, at_test, before_test, fuse

ROOT = Path(__file__).resolve().parent.parent
K = 20
BEHAVIOUR = {
    "popularity": {"model": "popularity"},
    "item_knn": {"model": "item_knn", "half_life": 5},
    "ease": {"model": "ease", "regularisation": 500, "half_life": 3},
    "like_plot": {"model": "content_knn", "channel": "plot", "sharpness": 4},
}
"""Beside the content members of configs/movielens-cold.toml, over the whole catalog."""
RIVALS = ("Content kNN", "Content ridge")


@dataclass(frozen=True)
class Draw:
    """One draw of new items.

    Attributes:
        parts: The split.
        validation: Validation stage.
        known: What members are fitted on at the end.
        test: The test.
        new: Which items of the catalog are new in the test.
    """

    parts: Split
    validation: HoldOut
    known: Histories
    test: HoldOut
    new: np.ndarray


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
        draw = draw_items(dataset, config, seed, among="catalog" if given.catalog else "new")
        found.append(whole_catalog(draw, content, config) if given.catalog else among_new(draw, content, config))
        seconds = time.process_time() - began
        means = ", ".join(f"{name} {one.mean():.4f}" for name, one in found[-1].items())
        print(f"draw {seed}: {means}; {seconds:.0f} s CPU", flush=True)
    print_table(found)


def prepare(folder: Path, cache: Path) -> tuple[RecommendationConfig, Dataset, Content]:
    """Return the settings without posters, the clean data and its channels."""
    config = RecommendationConfig.from_toml(ROOT / "configs/movielens-cold.toml")
    members = {
        name: {**table, "weights": {n: w for n, w in table.get("weights", {}).items() if n != "poster"}}
        if table["model"] == "content_regression"
        else table
        for name, table in (config.members or {}).items()
        if "poster" not in name
    }
    channels = {name: channel for name, channel in (config.content or {}).items() if name != "poster"}
    data = config.data.model_copy(update={"path": folder})
    config = config.model_copy(update={"data": data, "members": members, "content": channels})
    dataset = clean(read(data), config.clean, config.media, cache=cache / "media")
    embeddings, _ = encode_catalog(dataset.catalog, channels, cache=cache / "vectors", limits=config.media)
    return config, dataset, Content(embeddings)


def draw_items(dataset: Dataset, config: RecommendationConfig, seed: int, *, among: str) -> Draw:
    own = config.model_copy(update={"seed": seed, "split": config.split.model_copy(update={"new_items_among": among})})
    catalog: Catalog = dataset.catalog
    parts = split(dataset.interactions, own.split, seed)
    validation, known = before_test(catalog, parts, own)
    new = catalog.table["item_id"].is_in(parts.cold_items).to_numpy()
    return Draw(parts, validation, known, at_test(catalog, parts, own), new)


def among_new(draw: Draw, content: Content, config: RecommendationConfig) -> dict[str, np.ndarray]:
    """Return NDCG of each user where the new items alone are ranked."""
    fused, fusion = fuse(content, draw.validation, config)
    settings = FitConfig(ablation=False, lift_new_items=False)
    trained = fit(dict(config.members or {}), draw.validation, draw.known, fused, fusion, settings, cutoff=K)
    rows = {row.name: row.weights for row in trained.rows if row.role in ("ours", "baseline")}
    return per_user(trained.pool.rank, rows, draw.test, draw.test.truth)


def whole_catalog(draw: Draw, content: Content, config: RecommendationConfig) -> dict[str, np.ndarray]:
    """Return NDCG of each user where new and known items compete; "... of new" counts the choices of new items alone."""
    fused, fusion = fuse(content, draw.validation, config)
    members = {**BEHAVIOUR, **(config.members or {})}
    arms = {f"{OURS} with the lift": {**members, "new_items": {"model": "new_items"}}, f"{OURS} without it": members}
    # the first value of each grid: baselines of behaviour are not what is asked here
    settings = FitConfig(ablation=False, lift_new_items=False, selection=SelectionConfig(max_events=0))
    pools: list[tuple[MemberPool, dict[str, EnsembleWeights]]] = [content_rivals(draw, fused)]
    for name, tables in arms.items():
        trained = fit(tables, draw.validation, draw.known, fused, fusion, settings, cutoff=K)
        rows = {name: trained.ours.weights, "EASE": EnsembleWeights({"EASE": 1.0})}
        pools.append((trained.pool, rows))
    out: dict[str, np.ndarray] = {}
    for kind, mask in (("", draw.new | True), (" of new", draw.new), (" of known", ~draw.new)):
        wanted = draw.test.truth.where(mask[draw.test.truth.item_index])
        for pool, rows in pools:
            out |= {f"{row}{kind}": one for row, one in per_user(pool.rank, rows, draw.test, wanted).items()}
    return out


def content_rivals(draw: Draw, content: Content) -> tuple[MemberPool, dict[str, EnsembleWeights]]:
    """Return content kNN and ridge with the settings that are best on this draw's validation."""
    stage = draw.validation
    scorer = ValidationScorer.sample(stage.histories, stage.truth, K, 1000, stage.candidates, stage.tie_order)
    tables = {
        "Content kNN": {"model": "content_knn", "channel": ["plot", "fused"], "sharpness": [4, 1, 12]},
        "Content ridge": {"model": "content_regression", "smoothing": 0, "regularisation": [10, 1, 100]},
    }
    chosen = choose_settings(tables, stage.histories, content, scorer, SelectionConfig())
    members = {name: make_member(name, table).fit(draw.known, content) for name, table in chosen.items()}
    return MemberPool(members), {name: EnsembleWeights({name: 1.0}) for name in members}


def per_user(rank, rows, test: HoldOut, truth: Histories) -> dict[str, np.ndarray]:
    users = np.flatnonzero(np.bincount(truth.user_index(), truth.weight > 0, len(truth)) > 0)
    lists = rank(rows, test.histories.take(users), K, candidates=test.candidates, tie_order=test.tie_order)
    return {name: measure(one, truth.take(users), ks=[K])[f"ndcg@{K}"].to_numpy() for name, one in lists.items()}


def print_table(found: list[dict[str, np.ndarray]], draws: int = 2000) -> None:
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
        for _ in range(draws):
            chosen = rng.integers(0, len(found), len(found))
            sums = np.zeros(2)
            for number in chosen:
                users = rng.integers(0, len(found[number][name]), len(found[number][name]))
                sums += [found[number][name][users].mean(), found[number][best][users].mean()]
            ratios.append(sums[0] / sums[1])
        low, high = np.quantile(ratios, [0.025, 0.975])
        ratio = means.sum() / sum(one[best].mean() for one in found)
        print(f"| {name} | {means.mean():.4f} ({means.std():.4f}) | {ratio:.2f} [{low:.2f}, {high:.2f}] |")


if __name__ == "__main__":
    main()
