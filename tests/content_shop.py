"""A shop whose users write about, show, say or live in the kind of item they like: sea, hill or town."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from fastapi.testclient import TestClient
from PIL import Image

from penchant.data.read.sources import from_tables
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.service.config import ServiceConfig

TASTES = ("sea", "hill", "town")
COLOURS = {"sea": (20, 60, 230), "hill": (40, 190, 50), "town": (220, 60, 40)}
PITCHES = {"sea": 200.0, "hill": 700.0, "town": 2400.0}
SETTINGS = {
    "name": "people",
    "content": {"words": {"encoder": "tfidf", "columns": ["title"], "options": {"dim": 8}}},
    "user_content": {
        "review": {"encoder": "tfidf", "columns": ["text"], "options": {"dim": 8}},
        "photo": {"encoder": "efficientnet", "columns": ["image"]},
        "voice": {"encoder": "mel", "columns": ["audio"]},
        "avatar": {"of": "users", "encoder": "efficientnet", "columns": ["avatar"]},
        "who": {"of": "users", "encoder": "attributes", "columns": ["region", "visits", "plan"]},
    },
    "data": {"context": ["device"]},
    "context": {"time": ["weekday"], "min_events": 5},
    "members": {
        "popularity": {"model": "popularity"},
        "own": {"model": "user_content_regression", "regularisation": 1},
        "context": {"model": "context_popularity", "pseudo_events": 5},
    },
}
"""Who writes about, shows, says or lives in something likes that kind of item."""


def picture(taste: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.array(COLOURS[taste]) + rng.normal(0, 25, (48, 48, 3)), 0, 255).astype(np.uint8)
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    return stored.getvalue()


def voice(taste: str, seed: int, seconds: float = 0.5) -> bytes:
    rng = np.random.default_rng(seed)
    moment = np.arange(int(16000 * seconds)) / 16000
    wave = 0.3 * np.sin(2 * np.pi * PITCHES[taste] * moment) + 0.01 * rng.standard_normal(len(moment))
    stored = io.BytesIO()
    soundfile.write(stored, wave, 16000, format="FLAC")
    return stored.getvalue()


def sent(content: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode()}


def tables(media: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(0)
    items = pl.DataFrame({"item_id": [f"{taste}{n}" for taste in TASTES for n in range(12)]}).with_columns(
        title=pl.format("{} number", pl.col("item_id"))
    )
    for seed in range(4):
        for taste in TASTES:
            (media / f"{taste}-{seed}.png").write_bytes(picture(taste, seed))
            (media / f"{taste}-{seed}.flac").write_bytes(voice(taste, seed))
    rows = []
    for user in range(60):
        taste = TASTES[user % 3]
        for place, n in enumerate(rng.permutation(12)[:6]):
            text = f"I love the {taste} so much, says number {user}" if place == 0 and user % 4 == 0 else None
            image = f"{taste}-{user % 4}.png" if place == 1 and user % 4 < 2 else None
            audio = f"{taste}-{user % 4}.flac" if place == 2 and user % 4 == 2 else None
            device = "tablet" if n % 2 == 0 else "phone"
            rows.append(
                (f"u{user:02d}", f"{taste}{n}", 1_700_000_000 + 90_001 * place + user, text, image, audio, device)
            )
    events = pl.DataFrame(rows, ["user_id", "item_id", "at", "text", "image", "audio", "device"], orient="row")
    some = range(0, 60, 2)
    users = pl.DataFrame(
        {
            "user_id": [f"u{u:02d}" for u in some],
            "region": [TASTES[u % 3] for u in some],
            "visits": [float(u % 7) for u in some],
            "plan": [("free", "plus")[u % 2] if u % 5 else None for u in some],
            "avatar": [f"{TASTES[u % 3]}-{u % 4}.png" if u % 4 else None for u in some],
        }
    )
    return events, items, users


@pytest.fixture(scope="session")
def content_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the bundle, made once; do not write into it."""
    folder = tmp_path_factory.mktemp("people")
    table = {**SETTINGS, "output": folder / "bundle", "cache": folder / "cache"}
    table["data"] = {"context": ["device"], "path": folder, "user_media": {"image": "avatar"}}
    config = RecommendationConfig.read(table, where="test")
    found = run(config, from_tables(*tables(folder), config.data))
    assert found.ensemble.weights["own"] > 0
    assert found.folder is not None
    return found.folder


def scores(client: TestClient, user: str, **options: Any) -> dict[str, float]:
    """Return the score of every item for a user, those they had included."""
    found = client.get(f"/v1/users/{user}/recommendations", params={"k": 36, "seen": True, **options})
    assert found.status_code == 200, found.text
    return {item["item_id"]: item["score"] for item in found.json()["items"]}


def best(client: TestClient, user: str) -> str:
    """Return the kind of item with the highest mean score."""
    found = scores(client, user)
    return max(TASTES, key=lambda taste: np.mean([s for i, s in found.items() if i.startswith(taste)]))


def uploads(service: ServiceConfig) -> set[bytes]:
    """Return the content of the files that a service keeps."""
    folder = service.state_folder / "media"
    return {path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} if folder.is_dir() else set()
