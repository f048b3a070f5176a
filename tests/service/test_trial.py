"""Trials: users keep their variant, served lists are logged with exact propensities, leave with their users, and end where they harm."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from penchant.cli import app as commands
from penchant.core.errors import ConfigError
from penchant.experiment.off_policy import evaluate_bundle
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.recommender.exploration import ServedPlaces
from penchant.recommender.lists import RankingOptions
from penchant.recommender.recommender import Recommender
from penchant.service import served_lists
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.security import Secret
from penchant.service.served_lists import MICROSECONDS, Exposure, ServedList, ServedListLog
from penchant.service.service import Service
from penchant.service.store import Event, Store, now
from penchant.service.trial import TrialConfig, with_variant
from penchant.service.trial_results import broken_guardrails, trial_results

TRIAL = """
name = "autumn"
check_seconds = 0.01
[exploration]
policy = "epsilon"
epsilon = 0.5
candidates = 6
[metrics.bought]
kinds = ["purchase"]
hours = 0.0001
[variants.current]
[variants.varied]
ranking = { diversity = 0.6 }
[[guardrails]]
metric = "bought"
"""


@pytest.fixture
def trial(config: ServiceConfig, tmp_path: Path) -> ServiceConfig:
    file = tmp_path / "trial.toml"
    file.write_text(TRIAL)
    return config.model_copy(update={"trial": file})


def lists_of(client: TestClient, user: str, request_id: str, **options: object) -> dict:
    answer = client.get(
        f"/v1/users/{user}/recommendations", params={"k": 3, **options}, headers={"X-Request-ID": request_id}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_without_a_trial_nothing_is_logged(client: TestClient):
    assert lists_of(client, "u1", "a")["list_id"] == ""
    assert client.get("/v1/export/u1").json()["served_lists"] == []
    answer = client.get("/v1/trial")
    assert answer.status_code == 404
    assert "--trial" in answer.json()["fix"]


def test_every_list_is_logged_as_it_was_served_and_leaves_with_its_user(trial: ServiceConfig):
    with TestClient(create_app(trial)) as client:
        shown = [lists_of(client, "u1", f"r{n}") for n in range(5)]
        again = lists_of(client, "u1", "r0")
        assert again["items"] == shown[0]["items"]
        lists_of(client, "u2", "r0")
        held = client.get("/v1/export/u1").json()
        assert [one["list_id"] for one in held["served_lists"]] == [f"r{n}" for n in range(5)]
        for one, answer in zip(held["served_lists"], shown, strict=True):
            assert one["shown"] == [item["item_id"] for item in answer["items"]]
            assert one["bundle"] == answer["bundle"]
            assert len(one["candidates"]) == len(one["scores"]) == 6
            for item, place, propensity in zip(one["shown"], range(3), one["propensities"], strict=True):
                best = one["candidates"].index(item) == place
                assert propensity == pytest.approx(0.5 / 6 + 0.5 * best)
        assert held["trials"] == [
            {"trial": "autumn", "variant": held["served_lists"][0]["variant"], "at": held["trials"][0]["at"]}
        ]
        receipt = client.delete("/v1/users/u1").json()["receipt"]
        assert receipt["rows"]["served_list"] == 5
        assert receipt["rows"]["exposure"] == 1
        held = client.get("/v1/export/u1").json()
        assert held["served_lists"] == held["trials"] == []
        assert len(client.get("/v1/export/u2").json()["served_lists"]) == 1


def test_anonymous_sessions_are_not_logged(trial: ServiceConfig):
    with TestClient(create_app(trial)) as client:
        assert client.post("/v1/sessions/recommendations", json={"history": ["i1"]}).json()["list_id"] == ""
        assert list(client.app.state.service.served_lists.all()) == []


@pytest.fixture
def log(address: str, tmp_path: Path) -> Iterator[ServedListLog]:
    store = Store.open(address)
    yield ServedListLog(store, Secret.of(store, tmp_path / "secret.key").subject)
    store.close()


def a_list(user: str, list_id: str, at: int, items: tuple[str, ...] = ("i1", "i2")) -> ServedList:
    places = ServedPlaces(items, tuple(1.0 for _ in items), (0,), (0.5,))
    return ServedList(user, list_id, at, "mark", "all", places)


def test_a_list_read_before_an_erasure_does_not_come_back(log: ServedListLog):
    began = now()
    log.add([a_list("u1", "a", began), a_list("u2", "a", began)], "trial")
    log._store.erase("u1", log._subject("u1"), "receipt")
    log.add([a_list("u1", "b", began), a_list("u2", "b", began)], "trial")
    assert log.of_user("u1") == []
    assert "u1" not in log._store.user_ids()
    assert [one.list_id for one in log.of_user("u2")] == ["a", "b"]
    log.add([a_list("u1", "c", now() + 1)], "trial")  # who comes back is logged again
    assert [one.list_id for one in log.of_user("u1")] == ["c"]


def test_an_erasure_between_reading_and_writing_is_noticed(log: ServedListLog, monkeypatch: pytest.MonkeyPatch):
    began, first = now(), log._erased
    calls = []

    def late(lists, connection=None):
        if not calls:
            calls.append(1)
            found = first(lists, connection)
            log._store.erase("u1", log._subject("u1"), "receipt")
            return found
        return first(lists, connection)

    monkeypatch.setattr(log, "_erased", late)
    log.add([a_list("u1", "a", began), a_list("u2", "a", began)], "trial")
    assert log.of_user("u1") == []
    assert "u1" not in log._store.user_ids()
    assert len(log.of_user("u2")) == 1


def test_the_log_keeps_the_newest_lists(log: ServedListLog):
    for n in range(12):
        log.add([a_list(f"u{n}", "a", 1000 + n)], "trial")
    log.trim(5)
    assert [one.user_id for one in log.all()] == [f"u{n}" for n in range(7, 12)]
    assert len(log.exposures("trial")) == 12


def test_events_count_for_the_last_list_that_showed_their_item(log: ServedListLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(served_lists, "READ_ROWS", 2)
    hour = MICROSECONDS
    log.add([a_list("u1", "a", hour), a_list("u1", "b", 2 * hour), a_list("u2", "a", hour)], "trial")
    log.add([a_list("u1", "young", 30 * hour)], "trial")
    events = [
        Event("u1", "i1", "purchase", int(2.5 * hour), None, "1"),
        Event("u1", "i2", "purchase", int(2.6 * hour), None, "2"),  # a candidate that was not shown
        Event("u2", "i1", "click", int(1.5 * hour), None, "3"),
        Event("u2", "i1", "purchase", 40 * hour, None, "4"),
    ]
    log._store.append([events])

    def table(kinds: list[str] | None) -> pl.DataFrame:
        known = lambda user, before: [e.item_id for e in before]  # noqa: E731
        return served_lists.served_table(log, log._store, known, kinds=kinds, hours=24, now=31 * hour)

    found = table(["purchase"])
    assert dict(zip(found["list_id"], found["reward"], strict=True)) == {"u1 a": 0.0, "u1 b": 1.0, "u2 a": 0.0}
    assert table(None).filter(pl.col("list_id") == "u2 a")["reward"].to_list() == [1.0]


def test_users_keep_their_variant_and_shares_hold(tmp_path: Path):
    secret, other = Secret(b"1" * 32), Secret(b"2" * 32)
    config = TrialConfig(variants={"a": {"share": 3}, "b": {"share": 1}})
    drawn = [config.assigned(secret.share("autumn", f"u{n}")) for n in range(8000)]
    assert drawn == [config.assigned(secret.share("autumn", f"u{n}")) for n in range(8000)]
    assert abs(Counter(drawn)["a"] / 8000 - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 8000)
    for again in (secret.share("winter", "u1"), other.share("autumn", "u1")):
        assert again != secret.share("autumn", "u1")
    both = np.corrcoef(
        [secret.share("autumn", f"u{n}") for n in range(4000)], [secret.share("winter", f"u{n}") for n in range(4000)]
    )
    assert abs(both[0, 1]) < 0.06


def test_a_variants_options_hold_unless_the_request_says_otherwise():
    variant = TrialConfig(variants={"a": {"ranking": {"diversity": 0.3}}}).variant("a")
    assert with_variant(RankingOptions(k=7), variant).diversity == 0.3
    assert with_variant(RankingOptions(k=7), variant).k == 7
    assert with_variant(RankingOptions(diversity=0.0), variant).diversity == 0.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[variants.a]\nranking = { diversty = 1 }", "Did you mean 'diversity'"),
        ("[variants.a]\nranking = { k = 3 }", "belongs to the request"),
        ("[[guardrails]]\nmetric = 'sold'", "there is none"),
        ("[variants.'a b']", "variants"),
    ],
)
def test_a_wrong_trial_is_told(text: str, told: str, tmp_path: Path):
    (tmp_path / "trial.toml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        TrialConfig.read_file(tmp_path / "trial.toml")


def test_a_variant_may_be_another_bundle_of_the_same_catalog(trial: ServiceConfig, shop: Path):
    assert trial.trial is not None
    popular = Recommender.load(shop)
    members = {"popularity": popular.ensemble.members["popularity"]}
    ensemble = Ensemble.build(members, EnsembleWeights({"popularity": 1.0}), popular.content)
    popular = replace(popular, ensemble=ensemble, tables={"popularity": popular.tables["popularity"]})
    popular.save(trial.trial.parent / "popular")
    trial.trial.write_text("[variants.own]\n[variants.popular]\nbundle = 'popular'\n")
    service = Service(trial)
    try:
        users = [f"u{n}" for n in range(20)]
        lists = [service.lists.recommend(user, RankingOptions(k=5), "r") for user in users]
        assert service.trial is not None
        for user, found in zip(users, lists, strict=True):
            is_popular = service.trial.variant_of(user) == "popular"
            wanted = popular.recommend(user, 5) if is_popular else service.lists.recommend(user, RankingOptions(k=5))
            assert [item.item_id for item in found] == [item.item_id for item in wanted]
        assert len({found.bundle for found in lists}) == 2
        withdrawn = next(
            found for user, found in zip(users, lists, strict=True) if service.trial.variant_of(user) == "popular"
        )
        service.items.withdraw(withdrawn[0].item_id)
        again = service.lists.recommend(withdrawn.user_id, RankingOptions(k=5), "r2")
        assert withdrawn[0].item_id not in [item.item_id for item in again]
        service.trial.step()
        history = withdrawn[1].item_id
        service.store.append([[Event(str(withdrawn.user_id), history, "purchase", now(), None, "e")]])
        again = service.lists.recommend(withdrawn.user_id, RankingOptions(k=5), "r3")
        assert history not in [item.item_id for item in again]  # a variant's bundle knows what came since
    finally:
        service.close()


def outcomes(
    rates: dict[str, float], users: int, seed: int
) -> tuple[TrialConfig, list[Exposure], dict[str, list[Event]]]:
    rng = np.random.default_rng(seed)
    config = TrialConfig(
        variants={name: {} for name in rates},
        metrics={"bought": {"kinds": ["purchase"], "hours": 1}},
        guardrails=[{"metric": "bought"}],
    )
    exposures, events = [], {}
    for n in range(users):
        name = list(rates)[n % len(rates)]
        exposures.append(Exposure(f"u{n}", name, n))
        if rng.random() < rates[name]:
            events[f"u{n}"] = [Event(f"u{n}", "i1", "purchase", n + 5, None, None)]
    return config, exposures, events


def test_a_guardrail_ends_what_does_harm_and_nothing_else():
    later = 10 * MICROSECONDS
    config, exposures, events = outcomes({"a": 0.3, "harm": 0.15, "same": 0.3}, 3000, 0)
    broken = broken_guardrails(config, trial_results(config, exposures, events, {}, later))
    assert list(broken) == ["harm"]
    assert "bought is lower than with a" in broken["harm"]
    assert not broken_guardrails(config, trial_results(config, exposures, events, {"harm": "was ended"}, later))
    early = trial_results(config, exposures, events, {}, 0)  # nobody's hour has passed
    assert {metric.num_users for variant in early.variants for metric in variant.metrics} == {0}


def test_an_ended_variant_ends_in_every_process(trial: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    one, two = Service(trial), Service(trial)
    try:
        assert one.trial is not None
        assert two.trial is not None
        user = next(f"u{n}" for n in range(40) if one.trial.variant_of(f"u{n}") == "varied")
        monkeypatch.setattr("penchant.service.running_trial.broken_guardrails", lambda *_: {"varied": "it sold less"})
        one.trial.step()
        monkeypatch.undo()
        time.sleep(0.02)
        two.trial.step()
        assert one.trial.variant_of(user) == two.trial.variant_of(user) == "current"
        (ended,) = [v for v in two.trial_results().variants if v.name == "varied"]
        assert ended.ended == "it sold less"
    finally:
        one.close()
        two.close()


def test_from_served_lists_to_an_estimate(trial: ServiceConfig, tmp_path: Path, shop: Path):
    """The commands, on what a service logged: the trial's results, its log as a file, and another bundle on that log."""
    bundle = shop
    assert trial.trial is not None
    trial.trial.write_text('[exploration]\npolicy = "epsilon"\nepsilon = 0.8\ncandidates = 18\n')
    service = Service(trial)
    rng = np.random.default_rng(0)
    for n in range(15):
        requests = [(f"u{user}", RankingOptions(k=3), f"r{n}") for user in range(40)]
        answers = service.lists.recommend_many(requests)
        bought = [
            Event(str(a.user_id), item.item_id, "view", now(), None, None)
            for a in answers
            if not isinstance(a, Exception)
            for item in a
            if rng.random() < 0.1
        ]
        service.store.append([bought])
    service.close()
    assert trial.folder is not None
    run = CliRunner().invoke
    place = ["--folder", str(trial.folder)]
    answer = run(commands, ["served", str(bundle), str(tmp_path / "log.parquet"), "--hours", "0", "--json", *place])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["lists"] == 600
    table = pl.read_parquet(tmp_path / "log.parquet")
    assert len(table) == 1800
    found = evaluate_bundle(Recommender.load(bundle), table)
    assert found.results.mean_weight == pytest.approx(1, abs=0.15)
    answer = run(commands, ["trial", str(bundle), str(trial.trial), "--json", *place])
    assert json.loads(answer.stdout)["variants"][0]["users"] == 40
