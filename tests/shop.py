"""A small shop whose right answers are known: twelve high sounds, twelve low ones, and people who like one kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from fastapi.testclient import TestClient
from sqlalchemy import create_engine

from labelled_media import words_and_sound, write_picture, write_samples
from penchant.core.schema import Catalog, Content, Embeddings, Histories
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig, encode_catalog
from penchant.explanation.topics import Topics
from penchant.fusion.concat import ConcatConfig
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.member import make_member
from penchant.pipelines import classification
from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig

EACH = 12
TABLES = {
    "popularity": {"model": "popularity"},
    "ease": {"model": "ease", "regularisation": 5.0},
    "like_sound": {"model": "content_knn", "channel": "sound", "neighbours": 8},
    "content": {"model": "content_regression", "channels": ["sound"], "regularisation": 1.0},
}
HIGH, LOW = 1500.0, 200.0


def tone(path: Path, hertz: float, seed: int) -> None:
    """Write half a second of one tone, a little different each time."""
    rng = np.random.default_rng(seed)
    moment = np.arange(8000) / 16000
    wave = np.sin(2 * np.pi * hertz * (1 + 0.02 * rng.standard_normal()) * moment)
    soundfile.write(path, 0.3 * wave + 0.01 * rng.standard_normal(8000), 16000)


def make_bundle(folder: Path, *, version: str = "first", has_pictures: bool = False) -> Recommender:
    """Fit and save the shop's bundle; items i0..i11 are high, i12..i23 low; even users like high, odd ones low.

    With pictures, items can be found by one (EfficientNet); no member reads them.
    """
    media = folder.parent / "media"
    media.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in range(2 * EACH):
        kind = "high" if n < EACH else "low"
        tone(media / f"{n}.wav", HIGH if n < EACH else LOW, n)
        rows.append(
            {
                "item_id": f"i{n}",
                "title": f"{kind} tune {n}",
                "about": f"a {kind} sound number {n}",
                "genres": [kind, "tune"],
                "price": float(n),
                "sound": f"{n}.wav",
            }
        )
    columns, channels = {"audio": "sound"}, {"sound": ChannelConfig(encoder="mel", columns=["sound"])}
    if has_pictures:
        rng = np.random.default_rng(0)
        rows = [{**row, "cover": write_picture(media, n, n < EACH, rng)} for n, row in enumerate(rows)]
        columns["image"] = "cover"
        channels["cover"] = ChannelConfig(encoder="efficientnet", columns=["cover"])
    catalog = Catalog(pl.DataFrame(rows), "title", ("about",), columns, ("genres", "price"), media)
    embeddings, _ = encode_catalog(catalog, channels, cache=folder.parent / "cache", limits=MediaLimits())
    content = Content(embeddings, fused(embeddings["sound"]))
    histories = people()
    members = {name: make_member(name, table).fit(histories, content) for name, table in TABLES.items()}
    weights = EnsembleWeights({"popularity": 0.1, "ease": 0.4, "like_sound": 0.3, "content": 0.2})
    facts = {
        "name": version,
        "channels": {n: c.model_dump(mode="json") for n, c in channels.items()},
        "fusion": {"dim": 8},
    }
    topics = Topics(np.array([0] * EACH + [1] * EACH, np.int32), ["bright", "deep"], {"zh": ["明亮", "低沉"]})
    ensemble = Ensemble.build(members, weights, content)
    return Recommender(catalog, histories, ensemble, TABLES, topics, facts, content=content, fitted=histories).save(
        folder
    )


def fused(sound: Embeddings) -> Embeddings:
    from penchant.fusion.concat import Concat

    found = Concat(ConcatConfig(dim=8))({"sound": sound})
    assert found is not None
    return found


def people(num_users: int = 40) -> Histories:
    """Six items each, five of the liked kind."""
    rng = np.random.default_rng(3)
    items = []
    for user in range(num_users):
        own = 0 if user % 2 == 0 else EACH
        liked = own + rng.permutation(EACH)[:5]
        items.append(np.append(liked, EACH - own + rng.integers(EACH)))
    flat = np.concatenate(items).astype(np.int32)
    offsets = np.arange(0, 6 * num_users + 1, 6)
    at = np.tile(np.arange(6), num_users) * 1_000_000
    return Histories([f"u{n}" for n in range(num_users)], offsets, flat, at, np.ones(len(flat), np.float32), 2 * EACH)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the shop's bundle, made once; do not write into it."""
    folder = tmp_path_factory.mktemp("shop") / "bundle"
    make_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def health(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a classifier of kind health that read glad and cross words, and heard high and low sounds."""
    folder = tmp_path_factory.mktemp("health")
    write_samples(folder, 60, modalities=("text", "audio"))
    settings = {
        **words_and_sound(folder),
        "name": "visits",
        "classifiers": {"words": {"model": "ngrams", "strength": [4]}, "sound": {"model": "linear"}},
        "fit": {"fusion": ["stacking"]},
        "evaluation": {"intervals": {"resamples": 50}},
    }
    classification.run(classification.ClassificationConfig.read(settings, where="test"))
    return folder / "bundle"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Start a PostgreSQL of our own; skip with a reason where there is none."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: /usr/lib/postgresql/*/bin is absent (Debian: apt-get install postgresql)")
    with running_postgres(programs) as server:
        yield server


def postgres_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs; None where there is none that this user can run."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    return found[-1] if found and (os.geteuid() != 0 or shutil.which("setpriv")) else None


@contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    """Start a server in a folder of its own; stop it and delete the folder in the end."""
    home = Path(tempfile.mkdtemp(prefix="penchant-pg-"))  # pytest's own folders are closed to the user it runs as
    server = Postgres(programs, home)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


class Postgres:
    """One server in a folder of its own, reached through a socket there."""

    def __init__(self, programs: Path, home: Path) -> None:
        self.programs, self.home = programs, home
        self.address = f"postgresql://tester@/postgres?host={home}"
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(home, "nobody", "nogroup")

    def start(self) -> None:
        self._run("initdb", "-D", str(self.home / "data"), "-U", "tester", "-A", "trust", "--no-sync")
        self.resume()

    def resume(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.home}"
        self._run("pg_ctl", "-D", str(self.home / "data"), "-w", "-l", str(self.home / "log"), "-o", options, "start")

    def stop(self) -> None:
        if (self.home / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self.home / "data"), "-m", "fast", "-w", "stop")

    def crash(self) -> None:
        """Stop without finishing anything, as when the power goes."""
        self._run("pg_ctl", "-D", str(self.home / "data"), "-m", "immediate", "-w", "stop")

    def empty(self) -> str:
        """Drop all tables and return the address."""
        engine = create_engine(self.address.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
                connection.exec_driver_sql(statement)
        engine.dispose()
        return self.address

    def _run(self, program: str, *arguments: str) -> None:
        drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        command = [*drop, str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an empty store, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.empty()


@pytest.fixture
def own_shop(shop: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle that a test may change."""
    return Path(shutil.copytree(shop, tmp_path / "bundle"))


@pytest.fixture
def config(shop: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(bundle=shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])


@pytest.fixture
def client(config: ServiceConfig) -> Iterator[TestClient]:
    with TestClient(create_app(config), raise_server_exceptions=False) as client:
        yield client
