"""A service that has had a key never answers without one again: after the last key, a restart, another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text

from penchant.core.errors import ConfigError
from penchant.service import server
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.security import ApiKeys, make_key
from penchant.service.store import MIGRATIONS, Store


def drop_all(store: Store) -> None:
    for key in store.api_keys():
        assert store.drop_key(key.key_id)


def test_removing_the_last_key_opens_nothing_and_a_restart_neither(config: ServiceConfig):
    with TestClient(create_app(config)) as client:
        assert client.get("/v1/export/u1").status_code == 200
        store = client.app.state.service.store
        make_key(store, "shop", ["admin"])
        client.app.state.worker.step()
        assert client.get("/v1/export/u1").status_code == 401
        drop_all(store)
        client.app.state.worker.step()
        assert client.get("/v1/export/u1").status_code == 401
        assert client.delete("/v1/users/u1").status_code == 401
    with TestClient(create_app(config)) as again:
        assert again.get("/v1/export/u1").status_code == 401
        key = make_key(again.app.state.service.store, "new", ["personal"])
        again.app.state.worker.step()
        assert again.get("/v1/export/u1", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_a_key_made_and_removed_between_two_looks_closes_too(address: str):
    store = Store.open(address)
    keyring = ApiKeys(store, is_open=True)
    keyring.refresh(store.world_version())
    keyring.check(None, "personal")
    make_key(store, "short", ["read"])
    drop_all(store)
    keyring.refresh(store.world_version())
    with pytest.raises(Exception, match="missing or wrong"):
        keyring.check(None, "personal")
    store.close()


def test_a_process_that_saw_a_key_stays_closed_over_an_emptied_store(config: ServiceConfig):
    store = Store.open(config.address)
    keyring = ApiKeys(store, is_open=True)
    make_key(store, "shop", ["read"])
    keyring.refresh(store.world_version())
    with create_engine(config.address).begin() as connection:  # as a backup from before the first key would
        connection.execute(text("DELETE FROM api_key"))
        connection.execute(text("UPDATE world SET first_key_at = NULL, version = version + 1"))
    keyring.refresh(store.world_version())
    assert not keyring.is_open
    store.close()


def test_a_store_with_keys_is_closed_by_its_migration(address: str):
    engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    steps = Config()
    steps.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        steps.attributes["connection"] = connection
        command.upgrade(steps, "0001")
        row = "('k', 'shop', 'digest', 'read', NULL, 77)"
        columns = "(key_id, name, digest, scopes, per_minute, created_at)"
        connection.execute(text(f"INSERT INTO api_key {columns} VALUES {row}"))
    engine.dispose()
    store = Store.open(address)
    assert store.has_had_keys()
    drop_all(store)
    assert store.has_had_keys()
    store.close()


def test_beyond_this_machine_no_process_is_ever_open(config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    started: list[Any] = []
    monkeypatch.setattr(server, "_run", lambda app, *_: started.append(app))
    with pytest.raises(ConfigError, match="could read and erase users"):
        server.serve(config, host="0.0.0.0")
    store = Store.open(config.address)
    make_key(store, "shop", ["admin"])
    drop_all(store)  # starts, and refuses every request
    server.serve(config, host="0.0.0.0")
    with create_engine(config.address).begin() as connection:
        connection.execute(text("UPDATE world SET first_key_at = NULL, version = version + 1"))
    store.close()
    with TestClient(started[0]) as client:
        assert client.get("/v1/export/u1").status_code == 401


def test_workers_of_a_reachable_address_are_closed(config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    settings: list[str] = []
    monkeypatch.setattr(server, "_run", lambda *_: settings.append(server.os.environ.pop(server.SETTINGS)))
    store = Store.open(config.address)
    make_key(store, "shop", ["admin"])
    store.close()
    server.serve(config, host="0.0.0.0", workers=2)
    assert not ServiceConfig.model_validate_json(settings[0]).is_open
    for name in (server.PAGES, server.MULTIPROCESS):
        server.os.environ.pop(name)
    assert Path(config.bundle).is_dir()
