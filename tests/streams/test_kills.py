"""A consumer that is killed while it reads: each event once, each record that is none a dead letter once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from brokers import has_redis

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["redis", "kafka"])
def test_killed_consumer_stores_each_event_once(broker: str, shop: Path, tmp_path: Path):
    if not has_redis():
        pytest.skip("no redis-server (Debian: apt-get install redis-server)")
    from streams import measured

    found = measured(broker, f"sqlite:///{tmp_path / 'store.db'}", shop, tmp_path / "run", 4000, 2, seed=3)
    assert (found.lost, found.doubled) == (0, 0)
    assert found.dead_letters == found.poison == 4
    assert found.kills == 2
