"""A run reads what users write and are: it ranks, it is an arm of the ablation, it is in the bundle, and it leaves with its user."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from penchant.core.artifacts import MANIFEST, checksum
from penchant.core.errors import ArtifactError, ConfigError
from penchant.core.schema import Histories
from penchant.data.read.sources import from_tables
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.recommender.recommender import Recommender
from penchant.world import WorldConfig, make_world

TASTES = ("sea", "hill", "town")
SETTINGS = {
    "name": "people",
    "content": {"words": {"encoder": "tfidf", "columns": ["title"], "options": {"dim": 8}}},
    "user_content": {
        "review": {"encoder": "tfidf", "columns": ["text"], "options": {"dim": 8}},
        "who": {"of": "users", "encoder": "attributes", "columns": ["region"]},
    },
    "data": {"context": ["device"]},
    "context": {"time": []},
    "members": {
        "popularity": {"model": "popularity"},
        "own": {"model": "user_content_regression", "regularisation": 1},
        "context": {"model": "context_popularity", "pseudo_events": 5},
    },
}
"""Who lives in a region likes one kind of item; on a tablet they choose even ones; popularity is all that is left of behaviour."""


def tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(0)
    items = pl.DataFrame({"item_id": [f"{taste}{n}" for taste in TASTES for n in range(12)]}).with_columns(
        title=pl.format("{} number", pl.col("item_id"))
    )
    rows = []
    for user in range(90):
        taste = TASTES[user % 3]
        for place, n in enumerate(rng.permutation(12)[:7]):
            text = f"I love the {taste}, says number {user}" if user < 60 and place % 3 == 0 else None
            device = "tablet" if n % 2 == 0 else "phone"
            rows.append((f"u{user:02d}", f"{taste}{n}", 1_700_000_000 + 86_400 * place + user, text, device))
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "at", "text", "device"], orient="row")
    users = pl.DataFrame(
        {"user_id": [f"u{user:02d}" for user in range(93)], "region": [TASTES[u % 3] for u in range(93)]}
    )
    return events, items, users


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    folder = tmp_path_factory.mktemp("people")
    table = {**SETTINGS, "output": folder / "bundle", "cache": folder / "cache"}
    config = RecommendationConfig.read(table, where="test")
    return run(config, from_tables(*tables(), config.data))


def kinds(rows: np.ndarray) -> list[str]:
    return [TASTES[row // 12] for row in rows]


def test_each_kind_of_user_content_is_an_arm_and_a_reason(bundle: Recommender) -> None:
    report = json.loads((bundle.folder / "report" / "report.json").read_text())  # type: ignore[operator]
    used = {tuple(row["uses"]) for row in report["ablation"]["rows"]}
    everything = {"behaviour", "context", "review", "who"}
    assert {"who"} in [everything - set(uses) for uses in used]
    assert {"review"} in [everything - set(uses) for uses in used]
    assert {"context"} in [everything - set(uses) for uses in used]
    assert bundle.ensemble.weights["own"] > 0


def test_somebody_without_any_event_gets_a_list_of_their_own(bundle: Recommender) -> None:
    for user, taste in (("u90", "sea"), ("u91", "hill"), ("u92", "town")):
        answer = bundle.recommend(user, k=6, reasons=False)
        assert {item.item_id.rstrip("0123456789") for item in answer} == {taste}


def test_scores_are_the_sum_of_contributions(bundle: Recommender) -> None:
    for user in ("u00", "u75", "u91"):
        history = bundle.history(user)
        total = bundle.ensemble.contributions(history, np.arange(36)).sum((0, 1))
        np.testing.assert_allclose(total, bundle.score(history)[0], atol=1e-4)


def test_a_saved_bundle_scores_the_same_and_holds_nothing_of_a_user_who_left(
    bundle: Recommender, tmp_path: Path
) -> None:
    read = Recommender.load(bundle.folder)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read.score(read.histories), bundle.score(bundle.histories))
    assert set(read.content.user_channels) == {"review", "who", "device"}
    gone = [f"u{user:02d}" for user in range(0, 60, 3)]  # all who wrote about the sea
    bundle.without(gone).save(tmp_path / "less")
    before, after = (load_file(folder / "user_content.safetensors") for folder in (bundle.folder, tmp_path / "less"))  # type: ignore[operator]
    assert len(after["review/values"]) == len(before["review/values"]) - len(gone)  # each wrote the same three times


def test_rows_outside_the_vectors_are_refused(bundle: Recommender, tmp_path: Path) -> None:
    bundle.save(tmp_path / "hostile")
    file = tmp_path / "hostile" / "user_content.safetensors"
    arrays = load_file(file)
    arrays["review/histories"][0] = 2**30
    save_file(arrays, file)
    manifest = json.loads((tmp_path / "hostile" / MANIFEST).read_text())
    manifest["files"]["user_content.safetensors"] = checksum(file)
    (tmp_path / "hostile" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"rows of review holds|signature|checksum"):
        Recommender.load(tmp_path / "hostile")


def test_the_ends_of_a_session_are_read_under_circumstances(bundle: Recommender) -> None:
    history: Histories = bundle.history("u00")
    device = history.user_channels["device"]
    even = bundle.score(_asked(history, device.embeddings.labels.index("tablet")))[0]
    odd = bundle.score(_asked(history, device.embeddings.labels.index("phone")))[0]
    parity = np.arange(36) % 2  # twelve of each kind, numbered from 0
    assert (even - odd)[parity == 0].mean() > (even - odd)[parity == 1].mean()


def _asked(history: Histories, row: int) -> Histories:
    from dataclasses import replace

    device = replace(history.user_channels["device"], requested=np.array([row], np.int32))
    return replace(history, user_channels={**history.user_channels, "device": device})


def test_a_channel_with_a_name_of_the_items_is_refused(tmp_path: Path) -> None:
    table = {**SETTINGS, "cache": tmp_path, "user_content": {"words": {"encoder": "tfidf", "columns": ["text"]}}}
    config = RecommendationConfig.read(table, where="test")
    with pytest.raises(ConfigError, match="'words' is a channel of the items"):
        run(config, from_tables(*tables(), config.data))


def test_the_report_has_a_line_for_each_input_of_a_shop(tmp_path: Path) -> None:
    size = {"size": "tiny", "num_users": 50, "num_items": 60, "events_per_user": 10, "user_content": True}
    world = make_world(tmp_path / "world", WorldConfig.read(size, where="test"))
    table = {
        "name": "shop",
        "output": tmp_path / "shop",
        "cache": tmp_path / "cache",
        "data": {"path": world.folder},
        "content": {
            "text": {"encoder": "tfidf", "columns": ["title", "description"]},
            "image": {"encoder": "efficientnet", "columns": ["picture"]},
            "audio": {"encoder": "mel", "columns": ["sound"]},
            "attributes": {"encoder": "attributes", "columns": ["category", "price"]},
        },
        "user_content": {
            "review": {"encoder": "tfidf", "columns": ["text"]},
            "photo": {"encoder": "efficientnet", "columns": ["image"]},
            "voice": {"encoder": "mel", "columns": ["audio"]},
            "avatar": {"of": "users", "encoder": "efficientnet", "columns": ["avatar"]},
            "who": {"of": "users", "encoder": "attributes", "columns": ["region", "plan"]},
            "aspects": {"encoder": "aspects", "columns": ["text"]},
        },
        "members": {
            "popularity": {"model": "popularity"},
            "like": {"model": "content_knn", "channel": "fused", "neighbours": 20},
            "content": {"model": "content_regression"},
            "own": {"model": "user_content_regression", "learns": "later", "half_life": 3},
            "aspects": {"model": "aspects"},
        },
    }
    run(RecommendationConfig.read(table, where="test"))
    report = json.loads((tmp_path / "shop" / "report" / "report.json").read_text())
    lines = {payoff["channel"] for payoff in report["ablation"]["payoffs"]}
    items = {"text", "image", "audio", "attribute"}
    assert lines == {"behaviour", *items, "review", "photo", "voice", "avatar", "who", "aspects"}
    for name in ("review", "photo", "voice", "avatar", "who", "aspects"):
        without = [row for row in report["ablation"]["rows"] if row["kind"] == "without" and row["channel"] == name]
        assert len(without) == 1
        assert name not in without[0]["uses"]
