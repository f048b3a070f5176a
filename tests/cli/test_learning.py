"""The commands of a bundle that learns, on the shop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penchant.cli import app
from penchant.cli.learning import _judged
from penchant.data.histories import Event
from penchant.learning.judging import Judgement
from penchant.metrics.intervals import Difference
from penchant.recommender.versions import VersionStore
from penchant.service.config import ServiceConfig
from penchant.service.store import Store, now


def append(bundle: Path, *events: Event) -> None:
    config = ServiceConfig(bundle=bundle.absolute())
    config.state_folder.mkdir(exist_ok=True)
    store = Store.open(config.address)
    store.append([events])
    store.close()


def ask(*words: object, code: int = 0) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == code, found.output
    return found.output


def test_update_versions_promote_rollback_and_compare(own_shop: Path):
    append(own_shop, *(Event(f"u{n}", "i23", "like", now() - 60_000_000 + n) for n in range(1, 12)))
    assert "version 2 learned from 11 new events" in ask("update", own_shop, "--promote", "by_hand")
    assert "version 2 waits: 0 events" in ask("update", own_shop)
    assert "version 2 is served" in ask("promote", own_shop, 2)
    shown = json.loads(ask("versions", own_shop, "--json"))
    assert [(r["number"], r["is_served"], r["outcome"]) for r in shown] == [
        (1, False, "promoted"),
        (2, True, "promoted"),
    ]
    assert shown[1]["members"] == dict.fromkeys(["popularity", "ease", "content"], "added") | {"like_sound": "refitted"}
    assert "版本" in ask("--language", "zh", "rollback", own_shop)
    append(own_shop, *(Event(f"new{n}", "i22", "like", now()) for n in range(10)))
    compared = json.loads(ask("compare", f"{own_shop}@1", f"{own_shop}@2", "--json"))
    assert compared["requests"] == 10
    assert compared["scores"]["version"]["mean"] > 0
    assert "popularity" in ask("compare", f"{own_shop}@1", f"{own_shop}@2")


def test_versions_say_when_comparisons_end_too_early(own_shop: Path):
    append(own_shop, Event("u1", "i23", "like", now() - 60_000_000))
    ask("update", own_shop, "--promote", "by_hand")
    report = {"needed": 31_234, "last_look": 6400}
    VersionStore(own_shop).report(2, report)
    assert "about 31,000 requests" in " ".join(ask("versions", own_shop).split())
    VersionStore(own_shop).report(2, report | {"needed": 6400})
    assert "requests" not in ask("versions", own_shop)


@pytest.mark.parametrize(
    ("low", "high", "words"), [(-0.02, -0.01, "is worse"), (-0.02, 0.01, "is not shown to be no worse")]
)
def test_version_that_is_not_told_apart_is_not_called_worse(low: float, high: float, words: str):
    gap = Difference(-0.005, low, high, 0.1, "", 100)
    found = Judgement("ndcg@10", 6400, 0, 1, {}, gap, 6, "rejected")
    assert words in str(_judged(3, found))


def test_version_that_is_not_there_is_named(own_shop: Path):
    append(own_shop)
    ask("promote", own_shop, 7, code=1)


@pytest.mark.parametrize("given", ["soon", ""])
def test_unknown_rule_of_promotion_is_refused(own_shop: Path, given: str):
    append(own_shop)
    ask("update", own_shop, "--promote", given, code=1)
