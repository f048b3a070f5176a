"""`kill -9` of the service at random moments, while clients write.

In: a database and a number of kills. Out: what was acknowledged, and how much of it is lost, doubled or done by half.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from attacked_service import START_SECONDS, Caller, Measurement, answer, free_port, wait_until_ready
from penchant.service import erasure
from penchant.service.config import ServiceConfig
from penchant.service.security import Secret
from penchant.service.store import Store
from shop import make_bundle, postgres_programs, running_postgres

BATCH, ITEMS, REFIT_EVERY = 5, 4, 20
"""Events of a request; items that are sent again and again; every so many rounds a user of the bundle is erased, which fits it anew."""
MAX_SECONDS, MAX_REFIT_SECONDS = 1.2, 8.0
"""The server is killed at a random moment of so many seconds; of more while a refit runs."""


class Clients:
    """Clients that write, and remember what was acknowledged; one request of each may be unanswered when the server dies."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.events: dict[str, set[str]] = {}
        self.keyed: dict[str, set[float]] = {}
        self.open_keyed: tuple[str, int] | None = None
        self.items: dict[str, tuple[int, int]] = {f"new{n}": (-1, -1) for n in range(ITEMS)}
        self.edits: dict[tuple[str, str], tuple[float | None, float]] = {}
        self.erased: set[str] = set()
        self.unanswered: set[str] = set()

    def start(self, port: int, turn: int) -> list[threading.Thread]:
        """Let every kind of client write until the server is gone."""
        work = (self._send_events, self._send_keyed, self._send_items, self._send_edits, self._erase)
        threads = [threading.Thread(target=act, args=(Caller(port), turn), daemon=True) for act in work]
        for thread in threads:
            thread.start()
        return threads

    def _send_events(self, caller: Caller, turn: int) -> None:
        user = f"e{turn}"
        acknowledged = self.events.setdefault(user, set())
        for n in range(100_000):
            ids = [f"{n}-{m}" for m in range(BATCH)]
            body = [{"user_id": user, "item_id": f"i{n % 24}", "event_id": one} for one in ids]
            status = caller.call("POST", "/v1/events", {"events": body})
            if status is None:
                return
            self._expect("events", status, 200)
            acknowledged.update(ids)
            self.done["events"] += BATCH

    def _send_keyed(self, caller: Caller, turn: int) -> None:
        """Send events without ids under a key for the request; what was not answered is sent again after the restart."""
        user = f"k{turn}"
        if self.open_keyed is not None:
            before, n = self.open_keyed
            if self._send_keyed_batch(caller, before, n) is None:
                return
        for n in range(100_000):
            self.open_keyed = (user, n)
            if self._send_keyed_batch(caller, user, n) is None:
                return

    def _send_keyed_batch(self, caller: Caller, user: str, n: int) -> int | None:
        values = [float(n * BATCH + m) for m in range(BATCH)]
        body = [{"user_id": user, "item_id": "i1", "kind": "rating", "value": value} for value in values]
        status = caller.call("POST", "/v1/events", {"events": body}, {"Idempotency-Key": f"{user}-{n}"})
        if status is not None:
            self._expect("events", status, 200)
            self.keyed.setdefault(user, set()).update(values)
            self.done["events"] += BATCH
        return status

    def _send_items(self, caller: Caller, _turn: int) -> None:
        """Send items again and again with a number as their title; every fifth time the item is withdrawn."""
        place = 0
        while True:
            item = f"new{place % ITEMS}"
            acknowledged, sent = self.items[item]
            n = sent + 1
            self.items[item] = (acknowledged, n)
            if n % 5 == 4:
                status = caller.call("DELETE", f"/v1/items/{item}")
            else:
                status = caller.call("PUT", f"/v1/items/{item}", {"columns": {"title": f"{n}"}})
            if status is None:
                return
            self._expect("items", status, 200 if n % 5 == 4 else 202)
            self.items[item] = (n, n)
            self.done["items"] += 1
            place += 1

    def _send_edits(self, caller: Caller, turn: int) -> None:
        user = f"p{turn}"
        for n in range(100_000):
            item, strength = f"i{n % 24}", 0.5 + n % 400 / 100
            acknowledged, _ = self.edits.get((user, item), (None, 0.0))
            self.edits[user, item] = (acknowledged, strength)
            edit = {"name": "item", "value": item, "action": "more", "strength": strength}
            status = caller.call("PATCH", f"/v1/users/{user}/profile", {"edits": [edit]})
            if status is None:
                return
            self._expect("edits", status, 200)
            self.edits[user, item] = (strength, strength)
            self.done["edits"] += 1

    def _erase(self, caller: Caller, turn: int) -> None:
        """Let users come and be erased; at some rounds one whom the bundle knows."""
        for user in sorted(self.unanswered):  # nobody heard whether they are erased: asked for again
            if not self._erase_one(caller, user):
                return
        if turn % REFIT_EVERY == 0 and not self._erase_one(caller, f"u{turn // REFIT_EVERY}"):
            return
        for n in range(100_000):
            user = f"g{turn}-{n}"
            sent = caller.call("POST", "/v1/events", {"user_id": user, "item_id": "i3", "event_id": "only"})
            if sent is None or not self._erase_one(caller, user):
                return

    def _erase_one(self, caller: Caller, user: str) -> bool:
        self.unanswered.add(user)
        status = caller.call("DELETE", f"/v1/users/{user}")
        if status is None:
            return False
        self._expect("erasures", status, 200, 202)
        self.unanswered.discard(user)
        self.erased.add(user)
        self.done["erasures"] += 1
        return True

    def resend(self, caller: Caller) -> None:
        """Send once more what was not answered when the last server died."""
        if self.open_keyed is not None:
            self._send_keyed_batch(caller, *self.open_keyed)
        for user in sorted(self.unanswered):
            self._erase_one(caller, user)

    def _expect(self, what: str, status: int, *wanted: int) -> None:
        if status not in wanted:
            self.found[f"{what} answered {status}"] += 1

    def check(self, store: Store, secret: Secret, turn: int | None) -> None:
        """Compare the store with what was acknowledged: in one round, or in all (None)."""
        for user, acknowledged in self.events.items():
            if turn is None or user == f"e{turn}":
                self._check_events([e.key for e in store.events(user)], acknowledged)
        for user, values in self.keyed.items():
            if turn is None or user == f"k{turn}":
                self._check_events([e.value for e in store.events(user)], values)
        self._check_edits(store, turn)
        self._check_items(store)
        subjects = {e.subject for e in store.erasures()}
        for user in self.erased:
            self.found["lost erasures"] += secret.subject(user) not in subjects
            if turn is None or user.startswith(f"g{turn}-"):
                self.found["lost erasures"] += bool(store.events(user) or store.edits(user))
        for user in self.unanswered:
            self.found["erasures done by half"] += secret.subject(user) in subjects and bool(store.events(user))

    def _check_events(self, held: Sequence[object], acknowledged: Collection[object]) -> None:
        self.found["lost events"] += len(set(acknowledged) - set(held))
        self.found["doubled events"] += len(held) - len(set(held))
        self.found["requests done by half"] += len(set(held)) % BATCH != 0

    def _check_edits(self, store: Store, turn: int | None) -> None:
        users = {user for user, _ in self.edits if turn is None or user == f"p{turn}"}
        for user in users:
            held = store.edits(user)
            strengths = {edit.value: edit.strength for edit in held}
            self.found["doubled edits"] += len(held) - len(strengths)
            for (own, item), (acknowledged, sent) in self.edits.items():
                if own == user and acknowledged is not None:
                    self.found["lost edits"] += strengths.get(item) not in (acknowledged, sent)

    def _check_items(self, store: Store) -> None:
        for item, (acknowledged, sent) in self.items.items():
            if acknowledged < 0:
                continue
            stored = store.item(item)
            if stored is None:
                held = "nothing"
            else:
                held = "withdrawn" if stored.status == "withdrawn" else json.loads(stored.body)["columns"]["title"]
            possible = {"withdrawn" if n % 5 == 4 else f"{n}" for n in range(acknowledged, sent + 1)}
            self.found["lost items"] += held not in possible


def attack_kills(folder: Path, kills: int, seed: int, seconds: float) -> list[Measurement]:
    """Kill the service half of the times over SQLite, half over PostgreSQL; over SQLite alone where there is no PostgreSQL.

    Args:
        folder: Scratch.
        kills: How many, of both together; under 10: SQLite alone.
        seed: Of the moments.
        seconds: Stop after so many, at fewer kills.
    """
    programs = postgres_programs() if kills >= 10 else None
    if programs is None:
        return Kills(folder / "sqlite", None, seed).run(kills, seconds)
    rows = Kills(folder / "sqlite", None, seed).run(kills - kills // 2, seconds / 2)
    with running_postgres(programs) as server:
        return rows + Kills(folder / "postgresql", server.address, seed + 1).run(kills // 2, seconds / 2)


class Kills:
    """The rounds over one database."""

    def __init__(self, folder: Path, database: str | None, seed: int) -> None:
        self._folder = folder
        make_bundle(folder / "bundle")
        self._config = ServiceConfig(bundle=folder / "bundle", folder=folder / "state", database=database)
        self._rng = random.Random(seed)
        self._clients = Clients()
        self._context = multiprocessing.get_context("forkserver")  # imports once: a start takes a part of a second
        self._context.set_forkserver_preload(["shop", "penchant.service.server"])

    def run(self, kills: int, seconds: float) -> list[Measurement]:
        """Kill so many times, then let a last server finish what is due, and compare everything."""
        until, done = time.monotonic() + seconds, 0
        while done < kills and time.monotonic() < until:
            self._kill(done)
            done += 1
        is_clean = self._finish()
        name = "SQLite" if self._config.database is None else "PostgreSQL"
        counts = ", ".join(f"{n:,} {what}" for what, n in sorted(self._clients.done.items()))
        rows = [Measurement("kills", f"{name}: kills, acknowledged meanwhile", f"{done}, {counts}")]
        found = {what: n for what, n in self._clients.found.items() if n}
        value = "0" if not found else ", ".join(f"{n} {what}" for what, n in found.items())
        rows.append(Measurement("kills", f"{name}: lost, doubled, done by half, refused", value, "0", not found))
        verdict = "clean" if is_clean else "NOT CLEAN"
        return [*rows, Measurement("kills", f"{name}: `erase --verify` after the last", verdict, "clean", is_clean)]

    def _kill(self, turn: int) -> None:
        process, port = self._start()
        threads = self._clients.start(port, turn)
        is_refit = turn % REFIT_EVERY == 0
        time.sleep(self._rng.uniform(0, MAX_REFIT_SECONDS if is_refit else MAX_SECONDS))
        if self._rng.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # its refit goes on without it
        process.join()
        for thread in threads:
            thread.join(70)
        time.sleep(0.05)  # PostgreSQL's own process may be at a last commit
        self._check(turn)

    def _start(self) -> tuple[Any, int]:
        port = free_port()
        log = str(self._folder / "server.log")
        process = self._context.Process(target=answer, args=(self._config.model_dump_json(), port, log))
        process.start()
        wait_until_ready(port)
        return process, port

    def _check(self, turn: int | None) -> None:
        store = Store.open(self._config.address)
        self._clients.check(store, Secret.of(store, self._config.state_folder / "secret.key"), turn)
        store.close()

    def _finish(self) -> bool:
        process, port = self._start()
        caller, until = Caller(port), time.monotonic() + START_SECONDS
        self._clients.resend(caller)
        store = Store.open(self._config.address)
        secret = Secret.of(store, self._config.state_folder / "secret.key")
        while any(e.finished_at is None for e in store.erasures()) and time.monotonic() < until:
            time.sleep(0.5)
        process.terminate()
        process.join(40)
        self._clients.check(store, secret, None)
        is_clean = erasure.verify(self._config.bundle, store, secret).is_clean
        store.close()
        return is_clean
