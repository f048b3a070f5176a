"""The cluster and the bucket of the tests here."""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_nodes import Nodes


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Return the cluster that all tests here use; each says how many nodes it needs."""
    pytest.importorskip("ray", reason="pip install 'penchant[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    tests = Path(__file__).parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tests.parent / "src"), str(tests)])  # read by the nodes' processes
    # Ray's niceness of 15 would give the nodes little of a machine that does other work too
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "RAY_worker_niceness": "0"}
    logging.getLogger("penchant").setLevel(logging.INFO)
    started = Nodes(tmp_path_factory.mktemp("nodes"), 0)
    yield started
    started.close()


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """Return the address of a bucket of an S3-compatible server; it is started before the nodes, which read the keys from their environment."""
    server = pytest.importorskip("moto.server", reason="pip install 'moto[server]'").ThreadedMotoServer(
        "127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/penchant", method="PUT")).close()
    yield f"s3://penchant/run?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
    server.stop()
