"""The learner makes versions of new events, judges them on later ones, and the service takes the promoted one over."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from penchant.core.errors import ArtifactError, NotFoundError
from penchant.data.histories import Event
from penchant.experiment.refit import refitted
from penchant.learning.followed import FollowedEvents
from penchant.learning.learner import Learner, open_learner
from penchant.learning.settings import LearningConfig
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender
from penchant.service import erasure
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.store import Store, now

DAY = 86_400_000_000


@pytest.fixture
def settings(own_shop: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(bundle=own_shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])


@pytest.fixture
def store(settings: ServiceConfig) -> Iterator[Store]:
    settings.state_folder.mkdir()
    store = Store.open(settings.address)
    yield store
    store.close()


@pytest.fixture
def learner(settings: ServiceConfig, store: Store) -> Iterator[Learner]:
    learner = learner_of(settings)
    yield learner
    learner.close()


def learner_of(settings: ServiceConfig, **changed: object) -> Learner:
    config = LearningConfig.model_validate({"promote": "at_once", **changed})
    return open_learner(settings.bundle, settings.address, settings.state_folder / "secret.key", config)


def clicks(user_id: str, *rows: int, at: int | None = None) -> list[Event]:
    """Return likes of items by row, a second apart, ending now."""
    end = now() - 1_000_000 if at is None else at
    return [Event(user_id, f"i{n}", "like", end - 1_000_000 * (len(rows) - place)) for place, n in enumerate(rows)]


def test_version_equals_a_fit_on_all_events(learner: Learner, store: Store, settings: ServiceConfig):
    base = Recommender.load(settings.bundle)
    store.append([clicks("u1", 0, 1, 2), clicks("somebody", 3, 4, 5)])
    made = learner.step().made
    assert made is not None
    assert (made.new_events, made.parent, made.data.events, made.data.users) == (6, 1, 246, 41)
    version = Recommender.load(settings.bundle)
    events = base.histories
    expected = Recommender.load(settings.bundle).fitted
    assert expected is not None
    assert expected.num_events == events.num_events + 6
    whole, _ = refitted(base, expected)
    whole = replace(whole, ensemble=replace(whole.ensemble, weights=version.ensemble.weights))
    asked = base.histories.rows(0, 5)
    np.testing.assert_allclose(version.score(asked), whole.score(asked), rtol=1e-6)
    assert not np.allclose(version.score(asked), base.score(asked))
    assert version.histories.num_events == events.num_events, "served histories come from the run and the store"


def test_the_same_events_make_no_second_version(learner: Learner, store: Store, settings: ServiceConfig):
    store.append([clicks("u1", 0, 1, 2)])
    assert learner.step().made is not None
    assert learner.step().made is None
    again = learner_of(settings)
    assert again.step().made is None
    again.close()


def test_service_serves_the_promoted_version_and_rolls_back(learner: Learner, settings: ServiceConfig):
    with TestClient(create_app(settings)) as client:
        before = client.get("/readyz").json()["bundle"]
        for n in (12, 13, 14, 15):
            client.post("/v1/events", json={"user_id": "new", "item_id": f"i{n}", "kind": "like"})
        learner.step()
        client.app.state.worker.step()
        after = client.get("/readyz").json()["bundle"]
        assert after != before
        answer = client.get("/v1/users/new/recommendations?k=3").json()
        assert answer["bundle"] == after
        assert not {i["item_id"] for i in answer["items"]} & {"i12", "i13", "i14", "i15"}
        learner.rollback()
        client.app.state.worker.step()
        assert client.get("/readyz").json()["bundle"] == before
    outcomes = [r.outcome for r in learner.versions.records()]
    assert outcomes == ["promoted", "rolled_back"]


def test_deleted_event_is_gone_from_the_next_version(learner: Learner, settings: ServiceConfig):
    with TestClient(create_app(settings)) as client:
        for n in (0, 1):
            client.post("/v1/events", json={"user_id": "u1", "item_id": f"i{n}", "event_id": f"e{n}"})
        learner.step()
        client.app.state.worker.step()
        assert client.delete("/v1/users/u1/events?event_id=e0").status_code == 200
        step = learner.step()
    assert step.made is not None
    fitted = Recommender.load(settings.bundle).fitted
    assert fitted is not None
    row = fitted.user_ids.index("u1")
    own = fitted.rows(row, row + 1)
    assert 1 in own.item_index[own.at > DAY]
    assert 0 not in own.item_index[own.at > DAY]


def test_new_item_joins_the_catalog_and_is_recommended_by_behaviour(learner: Learner, settings: ServiceConfig):
    with TestClient(create_app(settings)) as client:
        client.put("/v1/items/fresh", json={"columns": {"title": "fresh", "genres": ["low"]}})
        client.app.state.worker.step()
        for user in range(1, 30, 2):
            client.post("/v1/events", json={"user_id": f"u{user}", "item_id": "fresh", "kind": "like"})
        before = _rank(client, "fresh")
        learner.step()
        client.app.state.worker.step()
        assert _rank(client, "fresh") < min(before, 5)
        assert client.get("/readyz").json()["items"] == 25
    assert len(Recommender.load(settings.bundle).catalog) == 25


def _rank(client: TestClient, item_id: str) -> int:
    items = client.get("/v1/users/u31/recommendations?k=24").json()["items"]
    return [i["item_id"] for i in items].index(item_id)


def test_version_of_a_learner_killed_before_its_promotion_does_not_stop_the_next(
    learner: Learner, store: Store, settings: ServiceConfig
):
    store.append([clicks("u1", 3)])
    by_hand = learner_of(settings, promote="by_hand")  # as one that ended after it made the version
    left = by_hand.step().made
    by_hand.close()
    assert left is not None
    store.append([clicks("u2", 4)])
    step = learner.step()
    assert learner.versions.record(left.number).outcome == "promoted"
    assert step.made is not None
    assert (step.made.parent, step.new_events) == (left.number, 1)


def test_two_learners_do_not_run_at_once(learner: Learner, settings: ServiceConfig):
    other = learner_of(settings)
    with learner.versions.learning(), pytest.raises(ArtifactError, match="Another learner"), other.versions.learning():
        pass
    other.close()


def test_erased_user_is_in_no_version(learner: Learner, store: Store, settings: ServiceConfig):
    with TestClient(create_app(settings)) as client:
        store.append([clicks("gone", 0, 1, 2), clicks("u1", 3)])
        learner.step()
        store.append([clicks("u2", 4, 5)])
        by_hand = learner_of(settings, promote="by_hand")
        waiting = by_hand.step().made
        assert waiting is not None
        assert client.delete("/v1/users/gone").status_code == 200
        with pytest.raises(ArtifactError, match="erased since"):
            by_hand.promote(waiting.number)
        made = by_hand.step().made
        assert made is not None
        by_hand.close()
    for place in learner.versions.places():
        found = Recommender.load(place)
        assert found.fitted is not None
        assert "gone" not in found.fitted.user_ids


def test_event_in_the_future_waits_and_one_of_the_past_counts(learner: Learner, store: Store, settings: ServiceConfig):
    store.append([clicks("u1", 3, at=now() + 10 * DAY), clicks("u2", 4, at=-DAY), clicks("u3", 5, at=DAY)])
    assert learner.step().new_events == 2
    fitted = Recommender.load(settings.bundle).fitted
    assert fitted is not None
    assert fitted.at.max() < now()


def test_event_that_cannot_be_read_does_not_stop_the_others(
    learner: Learner, store: Store, monkeypatch: pytest.MonkeyPatch
):
    store.append([clicks("u1", 3), clicks("u2", 4)])
    whole = Recommender.history

    def history(self: Recommender, user_id: str, events: object = None, **more: object) -> object:
        if user_id == "u1" and events:
            raise ValueError("poison")
        return whole(self, user_id, events, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Recommender, "history", history)
    step = learner.step()
    assert (step.new_events, step.unreadable) == (1, 1)


def test_events_of_another_catalog_are_counted_and_left_out(learner: Learner, store: Store):
    store.append([[Event("u1", "strange", "like", now() - 1)], clicks("u2", 4)])
    step = learner.step()
    assert (step.new_events, step.unknown_items) == (1, 1)


def test_run_on_newer_data_of_the_same_catalog_replaces_the_events_of_every_user(
    learner: Learner, store: Store, settings: ServiceConfig
):
    store.append([clicks("u1", 0), clicks("u2", 4)])
    base, followed = Recommender.load(settings.bundle), FollowedEvents(store, learner._secret)
    before = followed.newest(base)
    assert followed.newest(Recommender.load(settings.bundle)).has_same_events(before)
    kept = np.ones(base.histories.num_events, bool)
    kept[base.histories.offsets[1]] = False  # the newer data are without the oldest event of u1
    newer = followed.newest(replace(base, histories=base.histories.where(kept)))
    row = newer.user_ids.index("u1")
    assert newer.lengths()[row] == before.lengths()[row] - 1
    assert newer.num_events == before.num_events - 1
    halved = base.histories.weighted(base.histories.weight / 2)
    weighed = followed.newest(replace(base, histories=replace(halved, item_index=halved.item_index.copy())))
    assert weighed.weight[weighed.offsets[row]] == before.weight[before.offsets[row]] / 2


def test_version_of_another_catalog_is_not_promoted(learner: Learner, store: Store, settings: ServiceConfig):
    store.append([clicks("u2", 4)])
    made = learner.step().made
    assert made is not None
    bundle = Recommender.load(settings.bundle)
    table = bundle.catalog.table.with_columns(item_id="other-" + bundle.catalog.table["item_id"])
    other = replace(bundle, catalog=replace(bundle.catalog, table=table))
    found = learner.versions.publish(other, lambda n: made.model_copy(update={"number": n}))
    held = learner.versions.served()
    with pytest.raises(ArtifactError, match="of another catalog"):
        learner.promote(found.number)
    assert learner.versions.served() == held


def test_disk_full_leaves_the_served_version(
    learner: Learner, store: Store, settings: ServiceConfig, monkeypatch: pytest.MonkeyPatch
):
    store.append([clicks("u2", 4)])
    held = learner.step().served

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store.append([clicks("u4", 5)])
    with monkeypatch.context() as patch:
        patch.setattr("penchant.recommender.persistence.save_file", full)
        with pytest.raises(ArtifactError, match="No space left"):
            learner.step()
    assert learner.versions.served() == held
    assert [path.name for path in learner.versions.folder.glob(".*staging*")] == []
    made = learner.step().made
    assert made is not None
    assert made.new_events == 1


@pytest.mark.parametrize("is_adopted", [True, False])
def test_version_whose_record_cannot_be_written_leaves_nothing(
    learner: Learner, store: Store, monkeypatch: pytest.MonkeyPatch, is_adopted: bool
):
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    if not is_adopted:
        learner.step()
    store.append([clicks("u2", 4)])
    before = sorted(learner.versions.folder.glob("[0-9]*"))
    with monkeypatch.context() as patch:
        patch.setattr("penchant.recommender.versions.replace_text", full)
        with pytest.raises(OSError, match="No space left"):
            learner.step()
    assert sorted(learner.versions.folder.glob("[0-9]*")) == before
    assert learner.step().made is not None


def test_version_without_a_record_goes_with_the_next_learner(learner: Learner, store: Store):
    store.append([clicks("u2", 4)])
    learner.step()
    kept = learner.versions.places()
    shutil.copytree(kept[-1], learner.versions.place(99))  # killed between its files and its record
    with learner.versions.learning():
        assert sorted(path for path in learner.versions.folder.glob("[0-9]*") if path.is_dir()) == kept


def test_clock_that_was_set_back_takes_nothing_out(
    learner: Learner, store: Store, settings: ServiceConfig, monkeypatch: pytest.MonkeyPatch
):
    store.append([clicks("u1", 3), clicks("u2", 4)])
    learner.step()
    monkeypatch.setattr("penchant.learning.followed.now", lambda: DAY)
    assert learner_of(settings).step().made is None


def test_rollback_without_a_parent_says_what_to_do(learner: Learner):
    with pytest.raises(NotFoundError, match="no earlier one"):
        learner.rollback()


def test_network_forgets_a_person_with_the_next_update_and_the_receipt_says_when(
    learner: Learner, store: Store, settings: ServiceConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("penchant.models.linear.EASE.is_costly", True)  # as a network: not fitted in an erasure's refit
    base = Recommender.load(settings.bundle)
    assert base.fitted is not None
    learner.step()
    store_erasure = erasure.erase(store, learner._secret, base, "u3")
    erasure.finish(settings.bundle, store, learner._secret)
    (receipt,) = [json.loads(e.receipt) for e in store.erasures()]
    assert (receipt["until_the_next_run"], "networks" in receipt) == (["ease"], False)
    without = base.fitted.take(np.flatnonzero([user != "u3" for user in base.fitted.user_ids]))
    ease, fresh = Recommender.load(settings.bundle).ensemble.members["ease"], make_member("ease", base.tables["ease"])
    assert not np.allclose(ease.arrays()["matrix"], fresh.fit(without).arrays()["matrix"]), "it still knows the user"
    step = learner.step()
    assert step.made is not None
    assert (step.made.reason, step.made.members["ease"]) == ("erasure", "added")
    ease = Recommender.load(settings.bundle).ensemble.members["ease"]
    np.testing.assert_allclose(ease.arrays()["matrix"], fresh.arrays()["matrix"], rtol=1e-5, atol=1e-6)
    (receipt,) = [json.loads(e.receipt) for e in store.erasures()]
    assert receipt["receipt_id"] == store_erasure["receipt_id"]
    assert receipt["until_the_next_run"] == []
    assert receipt["networks"]["trained_without_the_user"] == ["ease"]
    assert receipt["networks"]["bundle"] == Recommender.load(settings.bundle).mark
    assert erasure.is_genuine(learner._secret, receipt)
    assert learner.step().made is None


def test_waiting_version_is_judged_on_later_events_and_promoted(store: Store, settings: ServiceConfig):
    careful = learner_of(
        settings, promote="not_worse", judging={"first_look": 20, "looks": 3, "margin": 0.5, "min_different": 1}
    )
    store.append([clicks(f"u{n}", 23 - n % 12) for n in range(0, 40, 2)])
    made = careful.step().made
    assert made is not None
    step = careful.step()
    assert step.judged is not None
    assert (step.judged[1].verdict, step.judged[1].requests, step.made) == ("waiting", 0, None)
    time.sleep(1.2)  # the next events are after the data of the version
    own = {n: 0 if n % 2 == 0 else 12 for n in range(40)}
    store.append([[Event(f"u{n}", f"i{own[n] + (n + 3) % 12}", "like", now() - 1000)] for n in own])
    step = careful.step()
    assert step.judged is not None
    record, found = step.judged
    assert (record.number, found.verdict) == (made.number, "promoted")
    assert found.difference is not None
    assert set(found.scores) == {"version", "parent", "popularity"}
    assert careful.versions.record(made.number).report["requests"] == found.requests
    assert step.served.number == made.number
    assert step.made is not None, "the next version learns from the events that judged this one"
    careful.close()
