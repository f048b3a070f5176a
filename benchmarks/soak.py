"""Whether the service's memory stays flat over ten hours of a shop, compressed.

In: a bundle. Out: the server's resident memory along the way, its slope after warm-up, and what was asked.

    python benchmarks/soak.py runs/movielens --minutes 6
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from load import Connection, Server
from penchant.recommender.recommender import Recommender

HOURS, EVENTS_PER_SECOND, REQUESTS_PER_SECOND = 10, 5, 2
CHUNKS = 100
"""Memory is read so many times."""
WARM_UP = 0.2
"""Share of the run that fills the cache and the allocator's pools; the slope is of what comes after."""
USER_CACHE_BYTES = 32_000_000
"""A small cache, so that it is full when the warm-up ends and people go in and out of it from then on."""
CONNECTIONS, BATCH = 8, 20


class Shop:
    """People who come back, people who are new, and what they do."""

    def __init__(self, users: Sequence[str], items: Sequence[str]) -> None:
        self._rng = random.Random(0)
        self._users, self._items = users, items
        self.done: Counter[str] = Counter()

    def person(self) -> str:
        """Return somebody; one in five is new to the model, of some thousands."""
        if self._rng.random() < 0.2:
            return f"visitor-{self._rng.randrange(5000)}"
        return self._users[int(len(self._users) * self._rng.random() ** 2)]

    async def events(self, connection: Connection) -> None:
        batch = [{"user_id": self.user_state(), "item_id": self._rng.choice(self._items)} for _ in range(BATCH)]
        await self._ask(connection, "events", "POST", "/v1/events", json.dumps({"events": batch}).encode())

    async def request(self, connection: Connection) -> None:
        """Ask for a list; one request in twenty is for a profile, an explanation or similar items instead."""
        user, item = quote(self.user_state()), quote(self._rng.choice(self._items))
        kind = self._rng.choice(("profile", "explanation", "similar")) if self._rng.random() < 0.05 else "list"
        path = {
            "list": f"/v1/users/{user}/recommendations?k=10",
            "profile": f"/v1/users/{user}/profile",
            "explanation": f"/v1/users/{user}/explanations/{item}",
            "similar": f"/v1/items/{item}/similar?k=10",
        }[kind]
        await self._ask(connection, kind, "GET", path)

    async def _ask(self, connection: Connection, kind: str, method: str, path: str, body: bytes = b"") -> None:
        status, answer = await connection.ask(method, path, body)
        assert status == 200, (status, path, answer)
        self.done[kind] += 1


async def drive(port: int, shop: Shop, num_batches: int, num_requests: int) -> None:
    """Send some batches of events and some requests, mixed, over a few connections."""
    acts = [shop.events] * num_batches + [shop.request] * num_requests
    random.Random(len(shop.done)).shuffle(acts)
    waiting = iter(acts)

    async def work() -> None:
        connection = Connection(port)
        await connection.open()
        for act in waiting:
            await act(connection)
        connection.close()

    await asyncio.gather(*[work() for _ in range(CONNECTIONS)])


def run(server: Server, shop: Shop, share: float, minutes: float) -> list[float]:
    """Return the megabytes after each chunk; stops early when the time is over."""
    seconds = HOURS * 3600 * share / CHUNKS
    num_batches, num_requests = round(seconds * EVENTS_PER_SECOND / BATCH), round(seconds * REQUESTS_PER_SECOND)
    until, sizes = time.monotonic() + 60 * minutes, []
    while len(sizes) < CHUNKS and time.monotonic() < until:
        asyncio.run(drive(server.port, shop, num_batches, num_requests))
        sizes.append(sum(server.megabytes()))
        if len(sizes) % (CHUNKS // 20) == 0:
            print(f"{len(sizes)} of {CHUNKS}: {sizes[-1]:.1f} MB, load {os.getloadavg()[0]:.1f}", flush=True)
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the ten hours")
    parser.add_argument("--minutes", type=float, default=6.0, help="stop after so long, whatever the share")
    parser.add_argument("--port", type=int, default=8766)
    told = parser.parse_args()
    bundle = Recommender.load(told.bundle)
    shop = Shop(bundle.histories.user_ids, bundle.catalog.item_ids)
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(told.bundle, Path(scratch), "", 1, told.port, user_cache_bytes=USER_CACHE_BYTES)
        try:
            server.wait()
            began, start = time.monotonic(), sum(server.megabytes())
            sizes = run(server, shop, told.share, told.minutes)
            took = time.monotonic() - began
        finally:
            server.stop()
    warm = sizes[int(WARM_UP * len(sizes)) :]
    requests = sum(shop.done.values()) - shop.done["events"]
    place = np.linspace(0, 1, len(warm))
    slope, base = np.polyfit(place, warm, 1) if len(warm) > 1 else (float("nan"), warm[0])
    around = float(np.std(np.asarray(warm) - slope * place - base))
    hours = HOURS * told.share * len(sizes) / CHUNKS
    print(
        f"{hours:.1f} hours' worth in {took:.0f} s: {BATCH * shop.done['events']:,} events, {requests:,} requests {dict(shop.done)}"
    )
    print(
        f"memory: {start:.0f} MB at start, {warm[0]:.1f} MB warm, {warm[-1]:.1f} MB at the end, highest {max(sizes):.1f} MB"
    )
    per_hour = slope / (hours * (1 - WARM_UP))
    print(
        f"after warm-up: {per_hour:+.3f} MB for an hour of the shop, readings {around:.1f} MB (one deviation) around that line"
    )


if __name__ == "__main__":
    main()
