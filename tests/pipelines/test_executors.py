"""A run whose parts are computed elsewhere, on copies and in another order, equals the run in this process. On Ray: tests/cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from safetensors.numpy import load_file

from copying_executor import CopyingExecutor
from penchant.core.executor import Executor, LocalExecutor, computing_on
from penchant.models import user_sums
from penchant.pipelines.recommendation import RecommendationConfig, run

SETTINGS: dict[str, Any] = {
    "name": "run",
    "fit": {"lift_new_items": False},
    "evaluation": {"max_users": 60},
    "content": {
        "text": {"encoder": "tfidf", "columns": ["title"]},
        "sound": {"encoder": "mel", "columns": ["sound"], "batch_size": 2},
    },
    "members": {
        "popularity": {"model": "popularity"},
        "knn": {"model": "item_knn", "half_life": [0, 5]},
        "ease": {"model": "ease", "regularisation": [5, 50]},
        "next": {"model": "transitions", "window": 2},
        "lifted": {"model": "lifted", "of": {"model": "ease", "regularisation": 5}},
        "like_sound": {"model": "content_knn", "channel": "sound"},
        "content": {"model": "content_regression"},
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 24 items of two kinds with a sound each, and 240 users who like one kind."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for item in range(24):
        tone = np.sin(2 * np.pi * (200 if item < 12 else 1500) * np.arange(8000) / 16000)
        soundfile.write(folder / f"{item}.wav", 0.3 * tone + 0.01 * rng.standard_normal(8000), 16000)
    titles = [f"{'low' if item < 12 else 'high'} tune {item}" for item in range(24)]
    sounds = [f"{item}.wav" for item in range(24)]
    pl.DataFrame({"item_id": [f"i{n}" for n in range(24)], "title": titles, "sound": sounds}).write_csv(
        folder / "items.csv"
    )
    events = []
    for user in range(240):
        liked = rng.permutation(12)[:7] + 12 * (user % 2)
        events += [
            (f"u{user}", f"i{item}", 1_700_000_000 + 86_400 * (user % 7) + 60 * place)
            for place, item in enumerate(liked)
        ]
    pl.DataFrame(events, schema=["user_id", "item_id", "at"], orient="row").write_csv(folder / "events.csv")
    return folder


def ran(data: Path, folder: Path, executor: Executor) -> tuple[dict[str, np.ndarray], dict[str, Any], pl.DataFrame]:
    places = {
        "output": folder / "bundle",
        "cache": folder / "cache",
        "data": {"path": data, "media": {"audio": "sound"}},
    }
    with computing_on(executor):
        run(RecommendationConfig.read({**SETTINGS, **places}, where="test")).recommend_all(folder / "lists.parquet", 5)
    files = sorted((folder / "bundle").glob("*.safetensors"))
    arrays = {f"{file.name}/{key}": array for file in files for key, array in load_file(file).items()}
    weights = json.loads((folder / "bundle" / "ensemble.json").read_text())["weights"]
    return arrays, weights, pl.read_parquet(folder / "lists.parquet")


def test_shards_computed_elsewhere_in_any_order_give_the_same_bundle_and_lists(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, weights, lists = ran(data, tmp_path / "here", LocalExecutor())
    monkeypatch.setattr(user_sums, "SHARD_EVENTS", 300)
    elsewhere = CopyingExecutor()
    found, found_weights, found_lists = ran(data, tmp_path / "there", elsewhere)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.allclose(found[name], array, rtol=1e-6, atol=1e-6), name
    assert found_weights == pytest.approx(weights, abs=1e-5)
    assert found_lists.drop("score").equals(lists.drop("score"))
    titles = {title: elsewhere.titles.count(title) for title in elsewhere.titles}
    for step in ("inspect audio", "choose settings", "sum over users", "fit", "sum up moments", "rank", "recommend"):
        assert titles.get(step), (step, titles)
    assert titles["encode sound"] == 3  # 24 items in four batches of two at a time
    before = len(elsewhere.titles)
    ran(data, tmp_path / "there", elsewhere)
    assert not {"inspect audio", "encode sound"} & set(elsewhere.titles[before:])  # nothing written is made again
