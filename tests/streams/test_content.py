"""Content of events from a stream: encoded in the background, in the next list, and gone with its user, whom a replay does not bring back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from brokers import MockKafka, has_redis, running_redis, wait_for
from content_shop import best, picture, scores, sent, uploads, voice
from penchant.service import erasure
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.content_files import ContentFiles
from penchant.service.store import now
from penchant.service.stored_items import StoredItems
from penchant.service.stream_log import StreamLog
from penchant.streams.consumer import StreamConsumer, follow
from penchant.streams.process import opened_consumers, opened_reader
from penchant.streams.reading import replayed
from penchant.streams.settings import StreamsConfig
from penchant.streams.source import Record


@pytest.fixture(params=["redis", "kafka"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[dict[str, Any], Callable[..., None]]]:
    """Yield the settings of a source, and what sends events to it."""
    if request.param == "redis":
        if not has_redis():
            pytest.skip("no redis-server (Debian: apt-get install redis-server)")
        with running_redis(tmp_path) as redis:
            yield {"kind": "redis", "address": redis.address}, redis.send
        return
    pytest.importorskip("confluent_kafka")
    kafka = MockKafka()
    yield {"kind": "kafka", "address": kafka.address, "topic": "events"}, kafka.send
    kafka.close()


@contextmanager
def reading(service: ServiceConfig, source: dict[str, Any]) -> Iterator[StreamConsumer]:
    """Read a source in the background, as the consumer beside a service does."""
    stop = threading.Event()
    with opened_consumers(service, StreamsConfig.read({"sources": {"shop": source}}, where="test")) as (consumer,):
        thread = threading.Thread(target=follow, args=(consumer, stop))
        thread.start()
        try:
            yield consumer
        finally:
            stop.set()
            thread.join()


@pytest.mark.slow
def test_content_of_a_stream_is_in_the_next_list_and_gone_after_an_erasure(
    broker: tuple[dict[str, Any], Callable[..., None]], content_shop: Path, tmp_path: Path
):
    source, send = broker
    config = ServiceConfig(
        bundle=content_shop, folder=tmp_path / "state", watch_seconds=0.1, host_names=["testserver"], alarms=None
    )
    shown, said = picture("hill", 21), voice("town", 22)
    content = {
        "stranger-1": ("hill", {"text": "I love the hill, a secret word of somebody!"}),
        "stranger-2": ("hill", {"image": sent(shown)}),
        "stranger-3": ("town", {"audio": sent(said)}),
    }
    with TestClient(create_app(config)) as client, reading(config, source):
        client.app.state.worker.refit = lambda: None  # type: ignore[attr-defined]  # it would change the bundle of all tests
        store, secret = client.app.state.service.store, client.app.state.service.secret  # type: ignore[attr-defined]
        nothing = scores(client, "nobody")
        send([{"user_id": user, "item_id": "sea1", "kind": "view", **own} for user, (_, own) in content.items()])
        for user, (taste, _) in content.items():
            wait_for(lambda user=user, taste=taste: best(client, user) == taste)
        assert uploads(config) == {shown, said}
        exported = client.get("/v1/export/stranger-2").json()["events"][0]["content"]
        assert list(exported["vectors"]) == ["photo"]

        for user in content:
            receipt = client.delete(f"/v1/users/{user}").json()["receipt"]
            assert receipt["rows"]["event"] == 1
            assert scores(client, user) == nothing
        assert uploads(config) == set()
        found = erasure.verify(content_shop, store, secret)
        assert found.is_clean, found.lines()
        for file in tmp_path.rglob("store.db*"):
            assert b"secret word of somebody" not in file.read_bytes()

        with opened_consumers(config, StreamsConfig.read({"sources": {"shop": source}}, where="test")) as (other,):
            log = other._log
            log.move("shop", {state.partition: "" for state in log.partitions()})
            wait_for(lambda: log.summary()[0]["erased"] == len(content))
        wait_for(lambda: uploads(config) == set())  # files are stored before it is known whose they are
        assert store.user_ids() == []
        time.sleep(0.01)
        send([{"user_id": "stranger-2", "item_id": "sea1", "kind": "view", "image": sent(picture("town", 23))}])
        wait_for(lambda: best(client, "stranger-2") == "town")  # who comes back is answered from what came since


class HeldRecords:
    """A source of one partition whose records are in memory."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._records = [Record("0", f"{n + 1:03}", now(), json.dumps(e).encode()) for n, e in enumerate(events)]
        self._after = ""

    def partitions(self) -> list[str]:
        return ["0"]

    def assign(self, positions: Mapping[str, str]) -> None:
        self._after = positions.get("0", "")

    def read(self, most: int, seconds: float) -> list[Record]:
        found = [one for one in self._records if one.position > self._after][:most]
        self._after = found[-1].position if found else self._after
        return found

    def positions_at(self, at: int) -> dict[str, str]:
        return {"0": ""}

    def is_at_end(self, positions: Mapping[str, str]) -> bool:
        return positions.get("0", "") >= self._records[-1].position

    def note(self, positions: Mapping[str, str]) -> None:
        pass

    def close(self) -> None:
        pass


@contextmanager
def consumer_of(source: HeldRecords, config: ServiceConfig) -> Iterator[tuple[StreamConsumer, StreamLog, ContentFiles]]:
    """Yield a consumer, its log, and the files as another process sees them."""
    with opened_reader(config) as (store, log, reader, bundle):
        settings = StreamsConfig.read({"sources": {"shop": {"kind": "redis"}}}, where="test")
        consumer = StreamConsumer("shop", lambda: source, log, store, reader, bundle, settings)
        yield consumer, log, ContentFiles(reader._uploads, store, StoredItems(store))
        consumer.close()


@pytest.fixture
def config(content_shop: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(bundle=content_shop, folder=tmp_path / "state")


def test_file_is_not_deleted_before_its_event_is_stored(config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    shown = picture("hill", 31)
    with consumer_of(HeldRecords({"user_id": "n", "item_id": "sea1", "image": sent(shown)}), config) as found:
        consumer, log, files = found
        store = log.apply

        def apply(*given: Any) -> int:
            files.remove_unused()  # as after an erasure in the service, at this very moment
            return store(*given)

        monkeypatch.setattr(log, "apply", apply)
        assert consumer.step() == 1
        files.remove_unused()
        assert uploads(config) == {shown}


def test_file_of_an_event_that_is_not_stored_is_deleted(config: ServiceConfig):
    kept, known, left = (picture("hill", seed) for seed in (41, 42, 43))
    events = [
        {"user_id": "n", "item_id": "sea1", "event_id": "a", "image": sent(kept)},
        {"user_id": "n", "item_id": "sea1", "event_id": "a", "image": sent(known)},
        {"user_id": "n", "item_id": "sea1", "image": sent(left), "audio": {"data": "?"}},
    ]
    with consumer_of(HeldRecords(*events), config) as (consumer, log, _):
        assert consumer.step() == 3
        assert uploads(config) == {kept, known, left}
        assert (len(log.letters()), log.summary()[0]["duplicates"]) == (1, 1)
    assert uploads(config) == {kept}


def test_file_of_a_dead_letter_that_is_tried_again_in_vain_is_deleted(config: ServiceConfig):
    poison = {"user_id": "n", "item_id": "sea1", "image": sent(picture("hill", 51)), "audio": {"data": "?"}}
    with consumer_of(HeldRecords(poison), config) as (consumer, log, _):
        consumer.step()
        assert replayed(log, consumer._reader, consumer._bundle.reads, None, ()) == {"stored": 0, "known": 0, "left": 1}
        assert uploads(config) == set()
