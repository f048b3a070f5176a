"""A consumer of an event stream that is killed again and again: what is lost, what counts twice, how fast it is.

In: a broker, numbers of events and of kills. Out: how often each event is in the store, and events a second.

    python benchmarks/streams.py                            # Redis, 50,000 events, 10 kills, SQLite
    python benchmarks/streams.py --broker kafka --database postgresql
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from brokers import MockKafka, running_redis
from penchant.service.store import Store
from penchant.service.stream_log import StreamLog
from shop import make_bundle, postgres_programs, running_postgres

PEOPLE, ITEMS = 500, 24
POISON_EVERY = 1000
"""Of so many records one is no event, and must be a dead letter once."""
MAX_SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """What a run found.

    Attributes:
        events: Sent.
        lost: Not in the store.
        doubled: In the store more than once.
        dead_letters: Kept, of `poison` that were sent.
        poison: Records that are no event.
        kills: Consumers that were killed while they read.
        seconds: From the first start to the end, starts included.
        steady: Events a second of one consumer that nothing disturbs, over as many events; its start is left out.
    """

    events: int
    lost: int
    doubled: int
    dead_letters: int
    poison: int
    kills: int
    seconds: float
    steady: float


def measured(broker: str, address: str, bundle: Path, folder: Path, num_events: int, kills: int, seed: int) -> Outcome:
    """Send events, read them with consumers that are killed at random moments, and count what is in the store."""
    with _sent(broker, folder, num_events) as (settings, poison):
        store = Store.open(address)
        log = StreamLog(store, str)
        command = [sys.executable, "-m", "penchant", "consume", str(bundle), "--streams", str(settings), "--once"]
        command += ["--database", address, "--folder", str(folder / "state")]
        moments = sorted(random.Random(seed).uniform(0, 0.95 * num_events) for _ in range(kills))
        began = time.monotonic()
        killed = 0
        for moment in moments:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while _stored(log) < moment and process.poll() is None and time.monotonic() - began < MAX_SECONDS:
                time.sleep(0.002)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
            process.wait()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=MAX_SECONDS)
        seconds = time.monotonic() - began
        found = Counter(e.value for one in store.events_of(store.user_ids()).values() for e in one)
        letters = len(log.letters(limit=num_events))
        store.close()
    lost = sum(float(n) not in found for n in range(num_events))
    doubled = sum(count > 1 for count in found.values())
    return Outcome(num_events, lost, doubled, letters, poison, killed, round(seconds, 1), 0.0)


def steady(broker: str, address: str, bundle: Path, folder: Path, num_events: int) -> float:
    """Return events a second of one consumer that nothing disturbs, from its first event to its last."""
    with _sent(broker, folder, num_events) as (settings, _):
        store = Store.open(address)
        log = StreamLog(store, str)
        command = [sys.executable, "-m", "penchant", "consume", str(bundle), "--streams", str(settings)]
        command += ["--database", address, "--folder", str(folder / "state")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first, before = 0.0, 0
        while (now := _stored(log)) < num_events:
            assert process.poll() is None, "the consumer ended"
            if now and not first:
                first, before = time.monotonic(), now
            time.sleep(0.01)
        rate = (num_events - before) / (time.monotonic() - first)
        process.terminate()
        process.wait()
        store.close()
    return rate


@contextmanager
def _sent(broker: str, folder: Path, num_events: int) -> Iterator[tuple[Path, int]]:
    """Yield a file of settings for a broker that holds events, and how many other records it holds."""
    folder.mkdir(exist_ok=True)
    events: list[Any] = [
        {"user_id": f"n{n % PEOPLE}", "item_id": f"i{n % ITEMS}", "kind": "like", "value": n} for n in range(num_events)
    ]
    settings = folder / "streams.toml"
    if broker == "redis":
        with running_redis(folder) as server:
            server.send(events)
            with server.client() as client, client.pipeline(transaction=False) as pipe:
                for _ in range(num_events // POISON_EVERY):
                    pipe.xadd("events", {"event": "{"})
                pipe.execute()
            settings.write_text(f'[streams.sources.shop]\nkind = "redis"\naddress = "{server.address}"\n')
            yield settings, num_events // POISON_EVERY
        return
    server = MockKafka()
    try:
        server.send(events)
        server.send([b"{"] * (num_events // POISON_EVERY))
        settings.write_text(f'[streams.sources.shop]\nkind = "kafka"\naddress = "{server.address}"\n')
        yield settings, num_events // POISON_EVERY
    finally:
        server.close()


def _stored(log: StreamLog) -> int:
    return sum(state.stored for state in log.partitions())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=["redis", "kafka"], default="redis")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-rate", action="store_true", help="leave the measurement without kills out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penchant-streams-") as scratch:
        root = Path(scratch)
        make_bundle(root / "bundle")

        def run(address_of: Any) -> Outcome:
            found = measured(
                given.broker, address_of("a"), root / "bundle", root / "a", given.events, given.kills, given.seed
            )
            if given.no_rate:
                return found
            rate = steady(given.broker, address_of("b"), root / "bundle", root / "b", given.events)
            return Outcome(**{**asdict(found), "steady": round(rate)})

        if given.database == "sqlite":
            found = run(lambda name: f"sqlite:///{root / name}.db")
        else:
            programs = postgres_programs()
            assert programs is not None, "no PostgreSQL here"
            with running_postgres(programs) as server:
                found = run(lambda _: server.empty())
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
