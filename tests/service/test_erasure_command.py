"""`penchant erase` with the secret of another service is refused, and nothing is erased."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penchant.cli import app
from penchant.service.config import ServiceConfig
from penchant.service.security import Secret
from penchant.service.store import Event, Store


@pytest.fixture
def served(own_shop: Path, tmp_path: Path) -> ServiceConfig:
    """Return the settings of a service that has run once, with one event of u1."""
    config = ServiceConfig(bundle=own_shop, folder=tmp_path / "state")
    store = Store.open(config.address)
    store.check_secret(Secret.read(config.state_folder / "secret.key").check())
    store.append([[Event("u1", "i3", "click", 0)]])
    store.close()
    return config


@pytest.mark.parametrize("wanted", [["--user", "u1"], ["--verify"]])
def test_erase_with_a_foreign_secret_is_refused(served: ServiceConfig, tmp_path: Path, wanted: list[str]):
    arguments = ["erase", str(served.bundle), *wanted, "--database", served.address, "--folder", str(tmp_path / "x")]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stderr or done.stdout)["message"] == "The secret is not the one this store was made with."
    store = Store.open(served.address)
    assert len(store.events("u1")) == 1
    assert store.erasures() == []
    store.close()
    assert not (tmp_path / "x" / "secret.key").exists()  # a wrong folder gets no secret of its own


def test_erase_with_the_right_secret_prints_the_receipt(served: ServiceConfig):
    arguments = ["erase", str(served.bundle), "--user", "u1", "--folder", str(served.folder), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["rows"]["event"] == 1


def test_next_command_empties_the_log_that_a_reader_held(served: ServiceConfig):
    arguments = ["erase", str(served.bundle), "--folder", str(served.folder), "--json"]
    with closing(sqlite3.connect(served.address.removeprefix("sqlite:///"), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        held = CliRunner().invoke(app, [*arguments, "--user", "u1"])
        assert json.loads(held.stdout)["store"].startswith("deleted; the write-ahead log")
    done = CliRunner().invoke(app, [*arguments, "--verify"])
    assert (done.exit_code, json.loads(done.stdout)["is_clean"]) == (0, True)
