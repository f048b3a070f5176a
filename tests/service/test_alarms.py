"""Alarms: quiet while nothing changes, soon after something does, in words, to the store, the metrics, the page and the hook."""

from __future__ import annotations

import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from penchant.core.errors import MediaError
from penchant.core.messages import Translator
from penchant.recommender.recommender import Recommender
from penchant.service import alarms
from penchant.service.alarms import AlarmLog, AlarmsConfig, AlarmWorker
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.fetching import Fetcher
from penchant.service.service import Service
from penchant.service.store import Event, now
from penchant.service.watching import EventWatcher, Moved, describe
from penchant.studio.pages import add_studio


@pytest.fixture(scope="module")
def recommender(shop: Path) -> Recommender:
    return Recommender.load(shop)


def choices(rng: np.random.Generator, count: int, high: float, kinds: float = 0.7) -> list[tuple[str, str, str]]:
    """Return events of 200 users; a share of them is of high sounds, and a share of kind view."""
    return [
        (
            f"n{rng.integers(200)}",
            f"i{rng.integers(12) + (0 if rng.random() < high else 12)}",
            "view" if rng.random() < kinds else "purchase",
        )
        for _ in range(count)
    ]


def alarms_of(watcher: EventWatcher, events: list[tuple[str, str, str]]) -> list[tuple[int, list[Moved]]]:
    found = []
    for number, event in enumerate(events):
        if moved := watcher.event(*event):
            found.append((number, moved))
    return found


def test_nothing_is_told_while_nothing_changes(recommender: Recommender):
    assert alarms_of(EventWatcher(recommender), choices(np.random.default_rng(0), 12_000, 0.5)) == []


def test_a_change_of_interest_is_told_soon_and_once(recommender: Recommender):
    rng = np.random.default_rng(1)
    watcher = EventWatcher(recommender)
    assert alarms_of(watcher, choices(rng, 4000, 0.5)) == []
    found = alarms_of(watcher, choices(rng, 4000, 0.9))
    assert len(found) == 1
    number, moved = found[0]
    assert number < 5 * 200  # events a user
    assert {(one.signal, one.name) for one in moved} >= {("topic", "bright"), ("topic", "deep")}
    (bright,) = [one for one in moved if one.name == "bright"]
    assert bright.before == pytest.approx(0.5, abs=0.05)
    assert bright.after > 0.65
    for one in moved:
        assert (len(one.items) == 3) == (one.signal == "direction")
    assert "direction" in {one.signal for one in moved}
    assert "The topic “bright”" in describe([bright])[0]
    assert "主题“bright”" in Translator("zh")(describe([bright])[0])


def test_a_change_of_kinds_and_unknown_items_are_told(recommender: Recommender):
    rng = np.random.default_rng(2)
    watcher = EventWatcher(recommender)
    alarms_of(watcher, choices(rng, 3000, 0.5))
    (found,) = alarms_of(watcher, choices(rng, 3000, 0.5, kinds=0.2))
    assert {(one.signal, one.name) for one in found[1]} == {("kind", "view"), ("kind", "purchase")}
    lost = [(user, f"new {item}", kind) for user, item, kind in choices(rng, 2000, 0.5, kinds=0.2)]
    (found,) = alarms_of(watcher, lost)
    assert {one.signal for one in found[1]} == {"unknown"}
    assert "PUT /v1/items" in describe(found[1])[0]


def test_one_busy_user_is_no_change(recommender: Recommender):
    rng = np.random.default_rng(3)
    watcher = EventWatcher(recommender)
    alarms_of(watcher, choices(rng, 3000, 0.5))
    busy = [event for one in choices(rng, 600, 0.5) for event in (one, *[("robot", "i3", "view")] * 5)]
    assert alarms_of(watcher, busy) == []


def test_a_quarter_of_the_quality_is_told_by_its_lead_over_a_model_that_is_much_the_same(recommender: Recommender):
    rng = np.random.default_rng(5)
    watcher = EventWatcher(recommender)

    def quality(count: int, kept: float) -> list[Moved]:
        """Choices of which a tenth is hit by both models; the served one loses some of them."""
        told: list[Moved] = []
        for event in choices(rng, count, 0.5):
            copy = float(rng.random() < 0.1)
            told += watcher.event(*event)
            told += watcher.quality(copy * float(rng.random() < kept), float(rng.random() < 0.02), copy)
        return told

    assert quality(5000, 0.98) == []
    told = quality(1500, 0.75)
    assert [(one.signal, one.name) for one in told] == [("quality", "frozen")]
    assert told[0].after < told[0].before
    assert "model at the start" in told[0].text()


def test_lists_that_get_worse_are_told(recommender: Recommender):
    rng = np.random.default_rng(4)
    watcher = EventWatcher(recommender)

    def quality(count: int, hit: float) -> list[Moved]:
        told: list[Moved] = []
        for event in choices(rng, count, 0.5):
            told += watcher.event(*event)
            told += watcher.quality(float(rng.random() < hit) * 0.5, float(rng.random() < 0.2) * 0.5, None)
        return told

    assert quality(3000, 0.5) == []
    told = quality(2000, 0.1)
    assert [(one.signal, one.name) for one in told] == [("quality", "popularity")]
    assert told[0].after < told[0].before
    assert "than the model expects" in told[0].text()


@pytest.fixture
def watched(config: ServiceConfig, tmp_path: Path) -> ServiceConfig:
    """Return a service that watches, and writes each alarm to alarm.json."""
    program = f"import sys; open({str(tmp_path / 'alarm.json')!r}, 'w').write(sys.stdin.read())"
    return config.model_copy(update={"alarms": AlarmsConfig(command=[sys.executable, "-c", program], quality_events=3)})


def stored(rng: np.random.Generator, count: int, high: float) -> list[Event]:
    return [Event(user, item, kind, now(), None, None) for user, item, kind in choices(rng, count, high)]


def test_from_events_to_store_metrics_page_and_command(watched: ServiceConfig, tmp_path: Path):
    rng = np.random.default_rng(5)
    with TestClient(create_app(watched, add_pages=add_studio)) as client:
        worker = client.app.state.worker
        assert "nothing moved" in client.get("/studio/operations").text
        for high in (0.5, 0.5, 0.95, 0.95):
            client.app.state.service.store.append([stored(rng, 1500, high)])
            worker.step()
        told = client.get("/v1/alarms").json()
        assert len(told) == 1
        assert any("bright" in line for line in told[0]["lines"])
        assert 'penchant_alarms_total{signal="topic"} 2.0' in client.get("/metrics").text
        assert 'penchant_list_ndcg{of="served"}' in client.get("/metrics").text
        assert "主题“明亮”" in client.get("/studio/operations?lang=zh").text
    said = json.loads((tmp_path / "alarm.json").read_text(encoding="utf-8"))
    assert "主题" in said["text_zh"]
    assert "n1" not in json.dumps(said["moved"])
    assert {one["name"] for one in said["moved"]} >= {"bright", "deep"}


def test_one_process_watches_and_the_next_takes_over(watched: ServiceConfig):
    service = Service(watched)
    assert watched.alarms is not None
    one, two = AlarmWorker(watched.alarms, service), AlarmWorker(watched.alarms, service)
    rng = np.random.default_rng(6)
    for worker in (one, two):
        worker.step()
    service.store.append([stored(rng, 400, 0.5)])
    for worker in (one, two):
        worker.step()
    assert one.counted > 0
    assert two.counted == 0
    one.close()
    two.step()
    service.store.append([stored(rng, 400, 0.5)])
    two.step()
    assert two.counted > 0
    two.close()
    service.close()


def test_the_log_keeps_the_newest_alarms_as_messages(watched: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alarms, "KEPT", 3)
    service = Service(watched)
    log = AlarmLog(service.store)
    for number in range(5):
        line = Moved("topic", f"t{number}", 0.1, 0.3).text()
        log.add(alarms.Alarm(number, (line,), ()))
    assert [one.at for one in log.newest()] == [4, 3, 2]
    assert Translator("zh").said(log.newest()[0].lines[0]) == "主题“t4”：占用户所选的 30%，之前 10%。"
    service.close()


class _Receiver(BaseHTTPRequestHandler):
    got: list[bytes] = []

    def do_POST(self) -> None:
        self.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(302 if self.path == "/elsewhere" else 204)
        self.send_header("Location", "/hook")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_webhook_is_called_under_the_rules_of_addresses(caplog: pytest.LogCaptureFixture, watched: ServiceConfig):
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = server.server_port
    try:
        fetcher = Fetcher([f"localhost:{port}"], schemes=("http",), is_reachable=lambda _: True)
        fetcher.send(f"http://localhost:{port}/hook", b'{"text": "x"}')
        assert _Receiver.got == [b'{"text": "x"}']
        with pytest.raises(MediaError, match="answered 302"):
            fetcher.send(f"http://localhost:{port}/elsewhere", b"{}")
        with pytest.raises(MediaError, match="not allowed"):
            fetcher.send("http://example.org/hook", b"{}")
        with pytest.raises(MediaError, match="private network"):
            Fetcher([f"localhost:{port}"], schemes=("http",)).send(f"http://localhost:{port}/hook", b"{}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    config = AlarmsConfig(webhook="https://nowhere.example/hook", command=["/no/such/program"])
    service = Service(watched)
    with caplog.at_level(logging.ERROR):
        AlarmWorker(config, service)._tell([Moved("topic", "bright", 0.1, 0.3)])
    assert "is on a host that is not allowed" in caplog.text
    assert "/no/such/program" in caplog.text
    assert len(AlarmLog(service.store).newest()) == 1  # a hook that fails loses no alarm
    service.close()
