"""Event streams: each record once, whatever is sent twice, killed, moved, wrong, or away."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from brokers import MockKafka, RedisServer, has_redis, running_redis, wait_for
from penchant import cli
from penchant.core.errors import ConfigError
from penchant.recommender.recommender import Recommender
from penchant.service import erasure
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.security import Secret
from penchant.service.store import Store, now
from penchant.service.stream_log import LEARNER, DeadLetter, SortedBatch, StreamLog
from penchant.streams.consumer import StreamConsumer, WatchedBundle, follow
from penchant.streams.process import opened_reader
from penchant.streams.reading import RecordReader, replayed
from penchant.streams.settings import KafkaConfig, RedisConfig, StreamsConfig
from penchant.streams.source import BrokerError, open_source

PEOPLE = 50


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not has_redis():
        pytest.skip("no redis-server (Debian: apt-get install redis-server)")
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    redis_server.client().flushall()
    return redis_server


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    pytest.importorskip("confluent_kafka")
    server = MockKafka()
    yield server
    server.close()


class Reading:
    """Consumers of one store, one step at a time."""

    def __init__(self, bundle: Path, address: str, folder: Path) -> None:
        self.service = ServiceConfig(bundle=bundle, database=address, folder=folder)
        self._opened = opened_reader(self.service)
        self.store, self.log, self.reader, self.bundle = self._opened.__enter__()
        self.consumers: list[StreamConsumer] = []

    def consumer(self, source: RedisConfig | KafkaConfig, name: str = "shop", **settings: Any) -> StreamConsumer:
        config = StreamsConfig(sources={name: source}, **settings)
        made = StreamConsumer(
            name, partial(open_source, source), self.log, self.store, self.reader, self.bundle, config
        )
        self.consumers.append(made)
        return made

    def counts(self, name: str = "shop") -> dict[str, Any]:
        (found,) = [one for one in self.log.summary() if one["source"] == name]
        return found

    def num_events(self) -> int:
        return sum(map(len, self.store.events_of(self.store.user_ids()).values()))

    def close(self) -> None:
        for consumer in self.consumers:
            consumer.close()
        self._opened.__exit__(None, None, None)


@pytest.fixture
def reading(shop: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reading]:
    """Consumers over SQLite, or over the store of each kind where a test asks for `address`."""
    anywhere = "address" in request.fixturenames
    address = request.getfixturevalue("address") if anywhere else f"sqlite:///{tmp_path / 'store.db'}"
    made = Reading(shop, address, tmp_path / "state")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penchant.streams.consumer.READ_SECONDS", 0.05)


def events(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"user_id": f"n{n % PEOPLE}", "item_id": f"i{n % 24}", "kind": "like", "value": n, **more} for n in range(count)
    ]


def drain(consumer: StreamConsumer) -> None:
    stop = threading.Event()
    threading.Timer(15, stop.set).start()
    follow(consumer, stop, until_end=True)
    assert not stop.is_set(), "not at the end after 15 s"


def check_replay(reading: Reading, source: RedisConfig | KafkaConfig, send: Callable[..., object]) -> None:
    """Send ten events in each of five hours, read them all, and read again from the fourth hour: each is stored once."""
    began, hour = 1_700_000_000_000, 3_600_000
    for n in range(5):
        send(events(10), at=began + n * hour)
    drain(reading.consumer(source))
    one = reading.consumer(source)
    one.move_to(1000 * (began + 3 * hour))
    drain(one)
    assert reading.counts()["duplicates"] == 20
    assert reading.num_events() == 50


@pytest.mark.usefixtures("address")
def test_redis_events_are_stored_once_and_read_again_without_change(redis: RedisServer, reading: Reading):
    redis.send(events(1200))
    source = RedisConfig(kind="redis", address=redis.address)
    drain(reading.consumer(source, batch=100))
    assert reading.num_events() == 1200
    drain(reading.consumer(source))  # another one begins where the first ended
    assert reading.counts()["stored"] == 1200
    again = reading.consumer(source)
    again.move_to(0)
    drain(again)
    found = reading.counts()
    assert (found["stored"], found["duplicates"], found["refused"]) == (1200, 1200, 0)
    assert reading.num_events() == 1200
    assert found["state"] == "stopped"


def test_events_sent_twice_under_one_id_are_stored_once(redis: RedisServer, reading: Reading):
    redis.send([{"user_id": "n1", "item_id": "i1", "event_id": "e1"}] * 3)
    drain(reading.consumer(RedisConfig(kind="redis", address=redis.address)))
    assert [e.key for e in reading.store.events("n1")] == ["e1"]
    assert reading.counts()["duplicates"] == 2


@pytest.mark.usefixtures("address")
def test_two_consumers_divide_the_streams_and_neither_stores_what_the_other_did(redis: RedisServer, reading: Reading):
    for stream in "abc":
        redis.send(events(300), stream)
    source = RedisConfig(kind="redis", address=redis.address, streams=["a", "b", "c"])
    both = [reading.consumer(source, batch=50) for _ in range(2)]
    for one in both:
        one.step()
    for one in both:
        one._next_beat = 0.0
        one.step()
    owners = {state.partition: state.owner for state in reading.log.partitions()}
    assert set(owners.values()) == {one.owner for one in both}
    # one of them reads on from an old position, as after a pause of a minute in which the other took its partition
    first = both[0]
    held = dict(first._positions)
    (mine, *_) = held
    reading.log.move("shop", {mine: f"{2**40}-0"})
    first.step()
    assert first._positions == {}
    reading.log.move("shop", {mine: held[mine]})
    for one in both:
        drain(one)
    assert reading.num_events() == 900
    assert reading.counts()["stored"] == 900


def test_partitions_of_a_killed_consumer_are_taken_over(redis: RedisServer, reading: Reading, monkeypatch):
    monkeypatch.setattr("penchant.service.stream_log.FRESH_MICROS", 300_000)
    source = RedisConfig(kind="redis", address=redis.address, streams=["a", "b"])
    gone, left = reading.consumer(source), reading.consumer(source)
    gone.step()
    left.step()
    time.sleep(0.4)  # `gone` says nothing more
    redis.send(events(10), "a")
    redis.send(events(10), "b")
    left._next_beat = 0.0
    wait_for(lambda: (left.step(), reading.num_events() == 20)[1])


POISON = {
    "no JSON": (b"{not json", "The record is not JSON."),
    "empty": (b"", "The record is empty."),
    "another key": (b'{"user_id": "p", "item_id": "i1", "kid": "like"}', "Extra inputs are not permitted"),
    "a number as an id": (b'{"user_id": 5, "item_id": "i1"}', "Input should be a valid string"),
    "the future": (
        json.dumps(
            {"user_id": "p", "item_id": "i1", "at": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
        ).encode(),
        "An event lies in the future.",
    ),
    "before the year 1": (
        b'{"user_id": "p", "item_id": "i1", "at": "0001-01-01T00:00:00+14:00"}',
        "An event lies before the year 1",
    ),
    "no UTF-8": (b'{"user_id": "\xff\xfe"}', "The record is not JSON."),
    "NUL": (b'{"user_id": "p\\u0000", "item_id": "i1"}', "user_id"),
    "nested": (b"[" * 100_000, "not JSON"),
    "a picture that is none": (b'{"user_id": "p", "item_id": "i1", "image": {"data": "?"}}', ""),
}


def test_poison_goes_to_the_dead_letters_and_nothing_waits_for_it(redis: RedisServer, reading: Reading):
    client = redis.client()
    for body, _ in POISON.values():
        client.xadd("events", {"event": body})
        redis.send([{"user_id": "n1", "item_id": "i1"}])
    drain(reading.consumer(RedisConfig(kind="redis", address=redis.address), batch=7))
    unread = (
        1  # the shop's bundle reads no pictures of events: the picture is left out, and the event stored, as over HTTP
    )
    letters = reading.log.letters()
    assert len(letters) == len(POISON) - unread
    assert reading.num_events() == len(POISON) + unread
    for letter, (name, (_, message)) in zip(letters, POISON.items(), strict=False):
        assert message in " ".join(letter.reason.values()), name
        assert set(letter.reason) == {"message", "where", "fix"}
    assert [letter.user_id for letter in letters if letter.user_id == "p"] == ["p"] * 3
    again = reading.consumer(RedisConfig(kind="redis", address=redis.address))
    again.move_to(0)
    drain(again)
    assert len(reading.log.letters()) == len(letters)


def test_fields_of_an_entry_are_an_event_too(redis: RedisServer, reading: Reading):
    redis.client().xadd("events", {"user_id": "n1", "item_id": "i3", "kind": "rating", "value": "4.5"})
    drain(reading.consumer(RedisConfig(kind="redis", address=redis.address)))
    (event,) = reading.store.events("n1")
    assert (event.item_id, event.kind, event.value) == ("i3", "rating", 4.5)


def test_time_of_an_event_without_one_is_that_of_its_record(redis: RedisServer, reading: Reading):
    redis.send(
        [{"user_id": "n1", "item_id": "i1"}, {"user_id": "n1", "item_id": "i2", "at": "1971-02-03T04:05:06Z"}],
        at=1_700_000_000_000,
    )
    drain(reading.consumer(RedisConfig(kind="redis", address=redis.address)))
    assert sorted(e.at for e in reading.store.events("n1")) == [34_401_906_000_000, 1_700_000_000_000_000]


def test_replay_reads_from_a_time(redis: RedisServer, reading: Reading):
    check_replay(reading, RedisConfig(kind="redis", address=redis.address), redis.send)


def test_running_consumer_follows_a_replay_that_another_process_begins(redis: RedisServer, reading: Reading):
    redis.send(events(20))
    source = RedisConfig(kind="redis", address=redis.address)
    running = reading.consumer(source)
    running.step()
    reading.consumer(source).move_to(0)
    running._next_beat = 0.0
    running.step()
    assert reading.counts()["duplicates"] == 20


def test_broker_gone_and_back_is_said_and_loses_nothing(redis: RedisServer, reading: Reading, shop: Path, monkeypatch):
    monkeypatch.setattr("penchant.streams.consumer.PAUSES", (0.05, 0.1, 0.2))
    monkeypatch.setattr("penchant.streams.consumer.BEAT_SECONDS", 0.1)
    redis.send(events(50))
    one = reading.consumer(RedisConfig(kind="redis", address=redis.address))
    stop = threading.Event()
    thread = threading.Thread(target=follow, args=(one, stop))
    thread.start()
    try:
        with TestClient(create_app(reading.service.model_copy(update={"host_names": ["testserver"]}))) as client:
            wait_for(lambda: reading.num_events() == 50)
            redis.stop()
            wait_for(lambda: one.state == "away")
            wait_for(lambda: client.get("/readyz").json()["streams"][0]["state"] == "away")
            (said,) = client.get("/readyz").json()["streams"]
            assert "Redis does not answer" in said["message"]
            assert 'penchant_stream_reading{source="shop"} 0.0' in client.get("/metrics").text
            redis.start()
            redis.send(events(50))
            wait_for(lambda: reading.num_events() == 100)
            wait_for(lambda: client.get("/readyz").json()["streams"][0]["state"] == "reading")
            text = client.get("/metrics").text
            assert 'penchant_stream_reading{source="shop"} 1.0' in text
            assert 'penchant_stream_records{outcome="stored",source="shop"} 100.0' in text
            (state,) = client.get("/v1/streams").json()
            assert (state["stored"], state["consumers"], state["dead_letters"]) == (100, 1, 0)
    finally:
        stop.set()
        thread.join()


def test_nothing_is_read_while_others_must_catch_up(redis: RedisServer, reading: Reading):
    source = RedisConfig(kind="redis", address=redis.address)
    redis.send(events(100))
    one = reading.consumer(source, batch=20, max_unlearned=50)
    reading.log.beat(LEARNER, {"last_event": 0})
    for _ in range(10):
        one._next_beat = 0.0
        one.step()
    assert reading.num_events() == 60  # three batches: the third one passed the limit
    assert (one.state, one.message) == ("waiting", "the learner has not seen the last 60 events")
    reading.log.beat(LEARNER, {"last_event": reading.store.last_event()})
    drain(one)
    assert reading.num_events() == 100


@pytest.mark.usefixtures("address")
def test_erased_user_leaves_no_dead_letter_and_does_not_come_back_by_a_replay(
    redis: RedisServer, reading: Reading, shop: Path
):
    redis.send([{"user_id": "forget-me", "item_id": "i1"}, {"user_id": "n1", "item_id": "i1"}])
    client = redis.client()
    for body in (
        b'{"user_id": "forget-me", "kid": 1}',
        b'{"user_id": "forget-me',
        b'{"user": "forget-me"}',
        b'{"user_id": "n1"}',
    ):
        client.xadd("events", {"event": body})
    source = RedisConfig(kind="redis", address=redis.address)
    drain(reading.consumer(source))
    assert len(reading.log.letters()) == 4
    secret = Secret.of(reading.store, reading.service.state_folder / "secret.key")
    receipt = erasure.erase(reading.store, secret, Recommender.load(shop), "forget-me")
    assert receipt["rows"]["dead_letter"] == 3
    assert [letter.user_id for letter in reading.log.letters()] == ["n1"]
    again = reading.consumer(source)
    again.move_to(0)
    drain(again)
    assert reading.store.user_ids() == ["n1"]
    assert reading.counts()["erased"] == 2  # the event, and the letter that tells whose it is
    assert not any("forget-me" in letter.body for letter in reading.log.letters())
    time.sleep(0.01)
    redis.send([{"user_id": "forget-me", "item_id": "i2"}])  # who comes back is answered
    drain(reading.consumer(source))
    assert [e.item_id for e in reading.store.events("forget-me")] == ["i2"]


def test_dead_letters_are_tried_again(redis: RedisServer, reading: Reading, monkeypatch):
    soon = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    redis.send([{"user_id": "n1", "item_id": "i1", "at": soon}])
    redis.client().xadd("events", {"event": "nonsense"})
    drain(reading.consumer(RedisConfig(kind="redis", address=redis.address)))
    assert len(reading.log.letters()) == 2
    tolerant = RecordReader(reading.store, reading.reader._uploads, 7200, 10_000)
    assert replayed(reading.log, tolerant, (), None, ()) == {"stored": 1, "known": 0, "left": 1}
    assert [e.item_id for e in reading.store.events("n1")] == ["i1"]
    assert [letter.body for letter in reading.log.letters()] == ["nonsense"]
    assert reading.log.drop("shop", ()) == 1


def test_kafka_partitions_are_stored_once(kafka: MockKafka, reading: Reading):
    topic = f"once-{time.time_ns()}"
    kafka.send(events(1000), topic)
    kafka.send([b"{poison"], topic)
    source = KafkaConfig(kind="kafka", address=kafka.address, topic=topic)
    drain(reading.consumer(source, batch=100))
    assert reading.num_events() == 1000
    assert len({state.partition for state in reading.log.partitions() if state.stored}) > 1
    (letter,) = reading.log.letters()
    assert letter.reason["message"] == "The record is not JSON."
    kafka.send(events(100), topic)
    drain(reading.consumer(source))
    assert reading.counts()["stored"] == 1100
    again = reading.consumer(source)
    reading.log.move("shop", {state.partition: "" for state in reading.log.partitions()})
    drain(again)
    found = reading.counts()
    assert (found["stored"], found["duplicates"], found["dead_letters"]) == (1100, 1100, 1)


def test_kafka_position_beyond_the_messages_that_are_left_begins_at_the_oldest(kafka: MockKafka, reading: Reading):
    topic = f"renewed-{time.time_ns()}"
    kafka.send(events(10), topic)
    reading.log.move("shop", {str(n): "5000" for n in range(4)})  # as after the topic was made anew
    source = KafkaConfig(kind="kafka", address=kafka.address, topic=topic)
    one = reading.consumer(source)
    wait_for(lambda: (one.step(), reading.num_events() == 10)[1])


def test_kafka_replay_reads_from_a_time(kafka: MockKafka, reading: Reading, monkeypatch):
    """The mock cluster answers every time with the end of a partition, so that this answer is made here, from the times of its messages."""
    from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, TopicPartition

    class WithTimes(Consumer):
        def offsets_for_times(self, wanted: list[Any], timeout: float) -> list[Any]:
            found = []
            for one in wanted:
                last = self.get_watermark_offsets(TopicPartition(one.topic, one.partition), timeout=timeout)[1]
                reader = Consumer({"bootstrap.servers": kafka.address, "group.id": "times", "log_level": 0})
                reader.assign([TopicPartition(one.topic, one.partition, OFFSET_BEGINNING)])
                later, place = OFFSET_END, -1
                while place + 1 < last and later == OFFSET_END:
                    if (message := reader.poll(0.2)) is not None:
                        place = message.offset()
                        later = place if message.timestamp()[1] >= one.offset else later
                reader.close()
                found.append(TopicPartition(one.topic, one.partition, later))
            return found

    monkeypatch.setattr("penchant.streams.kafka_source.Consumer", WithTimes)
    topic = f"replayed-{time.time_ns()}"
    source = KafkaConfig(kind="kafka", address=kafka.address, topic=topic)
    check_replay(reading, source, partial(kafka.send, topic=topic))


def test_kafka_gone_and_back_is_said_and_loses_nothing(reading: Reading, monkeypatch):
    """The mock cluster of the client library is stopped as a process, so that nothing answers, and goes on."""
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr("penchant.streams.consumer.PAUSES", (0.05, 0.1, 0.2))
    monkeypatch.setattr("penchant.streams.kafka_source.TIMEOUT", 0.5)
    monkeypatch.setattr("penchant.streams.kafka_source.SILENT_SECONDS", 0.2)
    own, topic = MockKafka(), f"back-{time.time_ns()}"
    try:
        own.send(events(50), topic)
        one = reading.consumer(KafkaConfig(kind="kafka", address=own.address, topic=topic, options={"log_level": 0}))
        stop = threading.Event()
        thread = threading.Thread(target=follow, args=(one, stop))
        thread.start()
        try:
            wait_for(lambda: reading.num_events() == 50)
            os.kill(own.process.pid, signal.SIGSTOP)
            wait_for(lambda: one.state == "away")
            os.kill(own.process.pid, signal.SIGCONT)
            own.send(events(50), topic)
            wait_for(lambda: reading.num_events() == 100)
            wait_for(lambda: one.state == "reading")
            found = reading.counts()
            assert (found["stored"], found["duplicates"], found["dead_letters"]) == (100, 0, 0)
        finally:
            os.kill(own.process.pid, signal.SIGCONT)
            stop.set()
            thread.join()
    finally:
        own.close()


def test_kafka_that_is_not_there_is_an_error_of_the_broker(reading: Reading, monkeypatch):
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr("penchant.streams.kafka_source.TIMEOUT", 0.5)
    one = reading.consumer(KafkaConfig(kind="kafka", address="127.0.0.1:1", options={"log_level": 0}))
    with pytest.raises(BrokerError, match="Kafka does not answer"):
        one.step()


def test_commands_read_list_try_again_and_delete(redis: RedisServer, shop: Path, tmp_path: Path):
    redis.send(events(10))
    for body in ("[red]oops", '{"user_id": "n1"}'):
        redis.client().xadd("events", {"event": body})
    settings = tmp_path / "streams.toml"
    settings.write_text(f'[streams.sources.shop]\nkind = "redis"\naddress = "{redis.address}"\n')
    place = ["--folder", str(tmp_path / "state")]

    def run(*arguments: str) -> str:
        found = CliRunner().invoke(cli.app, [*arguments, *place])
        assert found.exit_code == 0, found.output
        return found.output

    assert "10 stored, 0 duplicates, 2 refused" in run("consume", str(shop), "--streams", str(settings), "--once")
    again = run("consume", str(shop), "--streams", str(settings), "--once", "--from", "2001-01-01")
    assert "10 stored, 10 duplicates, 2 refused" in again
    listed = run("dead-letters", "list", str(shop))
    assert "[red]oops" in listed
    assert "The record is not JSON." in " ".join(listed.split())
    letters = json.loads(run("dead-letters", "list", str(shop), "--json"))
    assert [letter["user_id"] for letter in letters] == ["", "n1"]
    assert json.loads(run("dead-letters", "replay", str(shop), "--json")) == {"stored": 0, "known": 0, "left": 2}
    assert "1 deleted" in run("dead-letters", "drop", str(shop), "--number", str(letters[0]["number"]))
    settings.write_text("[learning]\n")
    failed = CliRunner().invoke(cli.app, ["consume", str(shop), "--streams", str(settings), *place])
    assert failed.exit_code == 1


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="kind"):
        StreamsConfig.read({"sources": {"a": {"kind": "rabbit"}}}, where="x")
    with pytest.raises(ConfigError, match="a/b"):
        StreamsConfig.read({"sources": {"a/b": {"kind": "redis"}}}, where="x")


def test_bundle_says_which_content_is_read(own_shop: Path):
    bundle = WatchedBundle(own_shop)
    assert bundle.reads == frozenset(Recommender.load(own_shop).own_content.reads("events"))


def test_log_of_a_store_without_streams_is_empty(tmp_path: Path):
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    assert StreamLog(store, str).summary() == []
    store.close()


def test_stream_is_as_late_as_the_newest_record_of_any_partition(tmp_path: Path):
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    log = StreamLog(store, str)
    log.move("shop", {"busy": "0", "quiet": "0"})
    for partition, seconds in (("busy", 60), ("quiet", 86_400)):
        log.apply("shop", partition, "0", SortedBatch([], [], "1", now() - seconds * 1_000_000))
    (found,) = log.summary()
    assert found["behind_seconds"] == pytest.approx(60, abs=10)
    store.close()


def test_export_holds_every_dead_letter_of_a_user(client: TestClient):
    log = StreamLog(client.app.state.service.store, str)  # type: ignore[attr-defined]
    letters = [DeadLetter("shop", "0", str(n), 1, "u1", {"message": "no event"}, f"record {n}") for n in range(1001)]
    log.move("shop", {"0": "0"})
    log.apply("shop", "0", "0", SortedBatch([], letters, "1001", now()))
    exported = client.get("/v1/export/u1").json()["dead_letters"]
    assert [letter["record"] for letter in exported] == [f"record {n}" for n in range(1001)]
    assert len(log.letters(user_id="u1")) == 1000
