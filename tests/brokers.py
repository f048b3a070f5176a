"""Brokers of the tests: a Redis server of our own, and librdkafka's mock cluster in a process of its own.

In: nothing. Out: their addresses; both can be stopped and resumed.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from own_service import free_port


class RedisServer:
    """A Redis server with its data in a folder, so that it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        wait_for(lambda: self.client().ping())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.address, protocol=2)

    def send(self, events: Sequence[dict[str, Any]], stream: str = "events", at: int | None = None) -> None:
        """Add events to a stream, at a time in milliseconds if one is given."""
        with self.client() as client, client.pipeline(transaction=False) as pipe:
            for place, event in enumerate(events):
                entry = "*" if at is None else f"{at}-{place + 1}"
                pipe.xadd(stream, {"event": json.dumps(event)}, id=entry)
            pipe.execute()


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Start a server; stop it in the end."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def has_redis() -> bool:
    """Return whether there is a server to start, and a client."""
    try:
        import redis  # noqa: F401
    except ModuleNotFoundError:
        return False
    return shutil.which("redis-server") is not None


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until a condition holds; an error counts as that it does not."""
    until = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except Exception:
            if time.monotonic() > until:
                raise
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


class MockKafka:
    """A process with librdkafka's mock cluster of one broker, and a producer for it."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve_kafka, args=(theirs,), daemon=True)
        self.process.start()
        self.address: str = self._pipe.recv()

    def send(self, events: Sequence[Any], topic: str = "events", at: int | None = None) -> None:
        """Send events, or bytes, to the partition of their users, at a time in milliseconds if one is given."""
        self._pipe.send((topic, list(events), at))
        assert self._pipe.recv() == len(events)

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def _serve_kafka(pipe: Connection) -> None:
    from confluent_kafka import Producer

    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "-", "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    pipe.send(f"{broker.host}:{broker.port}")
    while True:
        topic, events, at = pipe.recv()
        when = {} if at is None else {"timestamp": at}
        for number, event in enumerate(events):
            body = event if isinstance(event, bytes) else json.dumps(event).encode()
            key = b"?" if isinstance(event, bytes) else str(event["user_id"]).encode()
            while True:
                try:
                    producer.produce(topic, body, key=key, **when)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1000 == 0:
                producer.poll(0)
        producer.flush()
        pipe.send(len(events))
