"""Forgetting a person: at once in answers, after the refit in the model, and provably."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender
from penchant.service import erasure
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.security import Secret
from penchant.service.store import Event, Store
from shop import TABLES


@pytest.fixture
def shop_config(own_shop: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(bundle=own_shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])


@pytest.fixture
def store(shop_config: ServiceConfig) -> Store:
    return Store.open(shop_config.address)


@pytest.fixture
def secret(shop_config: ServiceConfig) -> Secret:
    return Secret.read(shop_config.state_folder / "secret.key")


def test_erased_person_is_unknown_at_once(shop_config: ServiceConfig):
    with TestClient(create_app(shop_config)) as client:
        client.app.state.worker.refit = lambda: None
        assert client.get("/v1/users/u1/recommendations").json()["basis"] == "history"
        client.post("/v1/events", json={"user_id": "u1", "item_id": "i3"})
        receipt = client.delete("/v1/users/u1").json()["receipt"]
        assert receipt["rows"] == {
            "person": 1,
            "event": 1,
            "edit": 0,
            "request": 0,
            "user_content": 0,
            "conversation": 0,
            "served_list": 0,
            "exposure": 0,
            "dead_letter": 0,
        }
        assert receipt["model"] == erasure.DUE
        assert client.get("/v1/users/u1/recommendations").json()["basis"] == "popularity"
        held = client.get("/v1/export/u1").json()
        assert (held["events"], held["learned_from"], held["profile"]["num_events"]) == ([], [], 0)
        assert client.get("/v1/users/u3/recommendations").json()["basis"] == "history"


def test_person_who_comes_back_starts_anew(shop_config: ServiceConfig):
    with TestClient(create_app(shop_config)) as client:
        client.app.state.worker.refit = lambda: None
        client.delete("/v1/users/u1")
        client.post("/v1/events", json={"user_id": "u1", "item_id": "i3"})
        assert client.get("/v1/users/u1/recommendations").json()["events"] == 1


def test_refit_equals_a_fit_of_everybody_else(own_shop: Path, store: Store, secret: Secret):
    before = Recommender.load(own_shop)
    erasure.erase(store, secret, before, "u1")
    assert not erasure.verify(own_shop, store, secret).is_clean
    erasure.finish(own_shop, store, secret)
    after = Recommender.load(own_shop)
    people = before.histories.matrix()  # an own way of leaving somebody out: rows of a matrix, not of histories
    kept = np.array([user != "u1" for user in before.histories.user_ids])
    counts = np.asarray(people[kept].sum(0)).ravel()
    assert np.allclose(after.ensemble.members["popularity"].arrays()["prior"], np.log1p(counts))
    gram = (people[kept].T @ people[kept]).toarray().astype(np.float64) + 5.0 * np.eye(24)
    inverse = np.linalg.inv(gram)
    ease = -inverse / np.diag(inverse)
    np.fill_diagonal(ease, 0)
    assert np.allclose(after.ensemble.members["ease"].arrays()["matrix"], ease, atol=1e-4)
    assert "u1" not in after.histories.user_ids
    assert after.fitted is not None
    assert "u1" not in after.fitted.user_ids
    verdict = erasure.verify(own_shop, store, secret)
    assert verdict.is_clean
    assert verdict.max_difference == 0


def test_no_file_of_the_bundle_names_the_erased(own_shop: Path, store: Store, secret: Secret):
    erasure.erase(store, secret, Recommender.load(own_shop), "u1")
    erasure.finish(own_shop, store, secret)
    for file in own_shop.glob("*users.parquet"):
        assert "u1" not in pl.read_parquet(file)["user_id"].to_list()


def test_receipt_is_signed_and_holds_no_id(own_shop: Path, store: Store, secret: Secret):
    receipt = erasure.erase(store, secret, Recommender.load(own_shop), "u1")
    assert '"u1"' not in json.dumps(receipt)
    assert erasure.is_genuine(secret, receipt)
    assert not erasure.is_genuine(secret, {**receipt, "rows": {"event": 7}})
    assert not erasure.is_genuine(Secret(b"x" * 32), receipt)
    erasure.finish(own_shop, store, secret)
    final = json.loads(store.erasures()[0].receipt)
    assert final["model"] == erasure.DONE
    assert erasure.is_genuine(secret, final)


def test_receipt_of_a_refit_that_was_faster_stays(
    own_shop: Path, store: Store, secret: Secret, monkeypatch: pytest.MonkeyPatch
):
    """A background process may see the erasure, refit and sign before the answer's own receipt is stored."""
    empty_log = store.empty_log

    def refitted_meanwhile(*arguments: object, **options: object) -> bool:
        monkeypatch.undo()
        erasure.finish(own_shop, store, secret)
        return empty_log()

    bundle, plain = Recommender.load(own_shop), store.erase

    def erase(*arguments: object, **options: object) -> dict[str, int]:
        rows = plain(*arguments, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(store, "empty_log", refitted_meanwhile)
        return rows

    monkeypatch.setattr(store, "erase", erase)
    assert erasure.erase(store, secret, bundle, "u1")["model"] == erasure.DUE
    assert json.loads(store.erasures()[0].receipt)["model"] == erasure.DONE
    assert erasure.verify(own_shop, store, secret).is_clean


def test_person_the_bundle_never_met_needs_no_refit(own_shop: Path, store: Store, secret: Secret):
    store.append([[Event("stranger", "i1", "click", 0)]])
    receipt = erasure.erase(store, secret, Recommender.load(own_shop), "stranger")
    assert receipt["model"] == erasure.UNTOUCHED
    assert erasure.finish(own_shop, store, secret) is None
    assert erasure.verify(own_shop, store, secret).is_clean


def test_verify_finds_what_was_not_forgotten(own_shop: Path, store: Store, secret: Secret):
    bundle = Recommender.load(own_shop)
    erasure.erase(store, secret, bundle, "u1")
    erasure.finish(own_shop, store, secret)
    members = {
        **Recommender.load(own_shop).ensemble.members,
        "ease": make_member("ease", TABLES["ease"]).fit(bundle.histories, bundle.content),
    }
    clean = Recommender.load(own_shop)
    replace(clean, ensemble=replace(clean.ensemble, members=members)).save(own_shop)
    verdict = erasure.verify(own_shop, store, secret)
    assert not verdict.is_clean
    assert verdict.max_difference > 1e-3


def test_process_refits_in_the_background_and_the_service_follows(shop_config: ServiceConfig):
    quick = shop_config.model_copy(update={"watch_seconds": 0.1})
    with TestClient(create_app(quick)) as client:
        first = client.get("/readyz").json()["bundle"]
        client.delete("/v1/users/u1")
        client.app.state.worker.wake()
        for _ in range(300):
            time.sleep(0.1)
            if client.get("/readyz").json()["bundle"] != first:
                break
        ready = client.get("/readyz").json()
        assert (ready["bundle"] != first, ready["users"]) == (True, 39)
        assert client.get("/v1/users/u0/recommendations").json()["basis"] == "history"
