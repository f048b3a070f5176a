"""Measure what the aspects of reviews are worth in a constructed shop, where a user learns from a purchase what they cannot stand.

In: seeds. Out: a Markdown table of differences in NDCG with paired 95 % intervals over the users of all seeds.

    python benchmarks/aspects.py --seeds 0 1 2

Shoes have a colour, a sole and a brand. A user likes two colours and cannot stand two soles, which they do not know before they have bought one: then
some of them write so ("lovely colour, poor sole"; half of the users in Chinese), and all choose other soles from then on. To a model of clicks the
purchase is a reason to recommend more of the same. The last event of each user is the test; settings and weights by validation.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.schema import Dataset
from penchant.data.read.sources import from_tables
from penchant.pipelines.recommendation_settings import RecommendationConfig
from user_content import POPULAR, K, difference, rank_last_events

ITEMS, EVENTS, REVIEW_SHARE = 300, 12, 0.4
LIKED, BLAMED = 2.5, -3.0
"""Utility of a liked colour, and of a sole that the user has found out they cannot stand."""
COLUMNS = {
    "colour": ("red", "blue", "green", "black", "white", "brown", "yellow", "purple"),
    "sole": ("rubber", "leather", "cork", "foam", "wood", "rope"),
    "brand": tuple("ABCDEFGHIJ"),
}
NAMES = {"colour": ["颜色"], "sole": ["鞋底"]}
PRAISE = {
    "en": {
        "colour": ("lovely colour", "I love the colour", "beautiful colour"),
        "sole": ("good sole", "the soles are comfortable"),
    },
    "zh": {"colour": ("颜色很漂亮", "喜欢这个颜色"), "sole": ("鞋底很舒服", "鞋底不错")},
}
BLAME = {
    "en": {
        "colour": ("I do not like the colour", "ugly colour"),
        "sole": ("poor sole", "the sole is terrible", "bad sole"),
    },
    "zh": {"colour": ("颜色不好看", "颜色太丑"), "sole": ("鞋底太差", "鞋底很糟糕")},
}
JOIN = {"en": (", ", " but "), "zh": ("，", "，但是")}
MEMBERS = {
    "popularity": {"model": "popularity"},
    "ease": {"model": "ease", "regularisation": [50, 200, 500], "half_life": [0, 3]},
    "like": {"model": "content_knn", "channel": "attributes", "sharpness": [4, 1], "half_life": [0, 3]},
    "content": {"model": "content_regression", "regularisation": [1, 10, 100], "smoothing": [2000, 200]},
    "own": {
        "model": "user_content_regression",
        "channels": ["review"],
        "learns": ["halves", "later"],
        "half_life": [0, 5],
        "regularisation": [10, 100],
    },
    "aspects": {"model": "aspects", "half_life": [0, 5]},
}
SETTINGS = {
    "name": "aspects",
    "split": {"kind": "last_out"},
    "content": {"attributes": {"encoder": "attributes", "columns": list(COLUMNS)}},
    "user_content": {
        "review": {"encoder": "tfidf", "columns": ["text"]},
        "aspects": {"encoder": "aspects", "columns": ["text"], "options": {"names": NAMES}},
    },
    "members": MEMBERS,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--users", type=int, default=1_000)
    given = parser.parse_args()
    tables, began = [], time.process_time()
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as cache:
            config = RecommendationConfig.read(
                {**SETTINGS, "seed": seed, "cache": cache}, where="benchmarks/aspects.py"
            )
            data, wrote = shop(seed, given.users)
            table = rank_last_events(config, data, Path(cache))
        tables.append(table.with_columns(wrote=table["user_id"].is_in(wrote)))
    table = pl.concat(tables, how="diagonal")
    print(
        f"NDCG@{K} {table['all'].mean():.4f}, popularity {table[POPULAR].mean():.4f}; {time.process_time() - began:.0f} s CPU\n"
    )
    print("| removed | users who wrote of a sole | difference | others | difference |\n|---|---|---|---|---|")
    for column in ("without aspects", "without review", "without attribute"):
        parts = (table.filter("wrote"), table.filter(~pl.col("wrote")))
        cells = [cell for part in parts for cell in (str(part.height), difference(part, "all", column))]
        print(f"| {column.removeprefix('without ')} | {' | '.join(cells)} |")


def shop(seed: int, num_users: int) -> tuple[Dataset, list[str]]:
    """Return the shop, and the users who blamed a sole before their last event."""
    rng = np.random.default_rng(seed)
    codes = {name: rng.integers(0, len(values), ITEMS) for name, values in COLUMNS.items()}
    weight = np.exp(rng.normal(0, 0.7, ITEMS))
    rows, wrote = [], []
    for user in range(num_users):
        spoken = "zh" if user % 2 else "en"
        liked = rng.permutation(len(COLUMNS["colour"]))[:2]
        hated = rng.permutation(len(COLUMNS["sole"]))[:2]
        known: set[int] = set()
        utility = weight * np.exp(LIKED * np.isin(codes["colour"], liked))
        for number in range(EVENTS):
            now = utility * np.exp(BLAMED * np.isin(codes["sole"], list(known)))
            item = int(rng.choice(ITEMS, p=now / now.sum()))
            utility[item] = 0
            colour, sole = bool(codes["colour"][item] in liked), bool(codes["sole"][item] in hated)
            text = _review(spoken, colour, sole, rng) if rng.random() < REVIEW_SHARE else None
            if sole:
                known.add(int(codes["sole"][item]))
                if text is not None and number < EVENTS - 1:
                    wrote.append(f"u{user}")
            rows.append((f"u{user}", f"i{item}", 1_700_000_000 + 86_400 * number + user, text))
    events = pl.DataFrame(rows, ["user_id", "item_id", "at", "text"], orient="row")
    columns = {name: [values[code] for code in codes[name]] for name, values in COLUMNS.items()}
    items = pl.DataFrame({"item_id": [f"i{number}" for number in range(ITEMS)], **columns})
    return from_tables(events, items), sorted(set(wrote))


def _review(spoken: str, likes_colour: bool, hates_sole: bool, rng: np.random.Generator) -> str:
    """Return a review of a colour and a sole, in this order or the other."""
    colour = (PRAISE if likes_colour else BLAME)[spoken]["colour"]
    sole = (BLAME if hates_sole else PRAISE)[spoken]["sole"]
    parts = [str(rng.choice(colour)), str(rng.choice(sole))]
    return str(rng.choice(JOIN[spoken])).join(parts if rng.random() < 0.5 else parts[::-1])


if __name__ == "__main__":
    main()
