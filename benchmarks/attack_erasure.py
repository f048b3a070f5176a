"""Search every file for an erased user.

In: a scratch folder. Out: the files that still hold the user's id, or what only this user heard: none.
"""

from __future__ import annotations

import time
from pathlib import Path

from attacked_service import Caller, Measurement, running
from named_user import SEEN, USER, grep, with_named_user
from penchant.service.store import Store
from shop import make_bundle

REFIT_SECONDS = 120


def attack_erasure(folder: Path) -> list[Measurement]:
    """Let a user of the bundle act in every way the API has, erase them, and search the files while the service still runs."""
    area, source = folder / "served", folder / "source"
    make_bundle(area / "bundle")
    with_named_user(area / "bundle", source)  # the run's own report is not the service's
    with running(area, area / "bundle") as server:
        caller = Caller(server.port)
        act(caller)
        before = len(grep(area, USER, SEEN))
        status = caller.call("DELETE", f"/v1/users/{USER}")
        is_refitted = wait_for_refit(server.state)
        caller.call("GET", f"/v1/users/{USER}/recommendations")  # an answer to an unknown user
        caller.close()
        found = [path.relative_to(area).as_posix() for path in grep(area, USER, SEEN)]
    after = [path.relative_to(area).as_posix() for path in grep(area, USER, SEEN)]
    where = "store, write-ahead log, bundle, report, server's log, temporary folder"
    is_gone = status in (200, 202) and is_refitted and not found and not after and before > 0
    value = f"{before} files before, " + (", ".join(sorted({*found, *after})) or "0 after")
    return [Measurement("erasure", f"files that name an erased user: {where}", value, "nowhere", is_gone)]


def act(caller: Caller) -> None:
    """Do what leaves traces of the user."""
    events = [{"user_id": USER, "item_id": f"i{n}", "event_id": f"bought-{n}"} for n in range(20)]
    edits = [{"name": "item", "value": "i3", "action": "more"}]
    caller.call("POST", "/v1/events", {"events": events}, {"Idempotency-Key": "order"})
    caller.call(
        "POST", "/v1/events", {"events": [{"user_id": USER, "item_id": "i1"}] * 3}, {"Idempotency-Key": "again"}
    )
    caller.call("PATCH", f"/v1/users/{USER}/profile", {"edits": edits})
    for path in ("recommendations?reasons=true", "profile", "explanations/i5", "nothing"):
        caller.call("GET", f"/v1/users/{USER}/{path}")
    caller.call("GET", f"/v1/export/{USER}")
    caller.call("POST", "/v1/events", {"user_id": USER, "item_id": "i1", "kind": "\0"})
    caller.call("DELETE", f"/v1/users/{USER}/profile")


def wait_for_refit(state: Path) -> bool:
    """Return whether the model was fitted without the user in time."""
    store, until = Store.open(f"sqlite:///{state / 'store.db'}"), time.monotonic() + REFIT_SECONDS
    while any(e.finished_at is None for e in store.erasures()) and time.monotonic() < until:
        time.sleep(0.2)
    is_done = all(e.finished_at is not None for e in store.erasures())
    store.close()
    time.sleep(3)  # the service takes the new bundle over, and the old one is removed
    return is_done
