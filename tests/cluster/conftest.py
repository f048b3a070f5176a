"""A Ray cluster of three nodes of one core on this machine, each with a working folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penchant.core.executor import RayConfig


class Nodes:
    """A head without a core for tasks, and nodes of one core each.

    Args:
        folder: Of the nodes' working folders.
        count: Nodes with a core.
        store_mb: Megabytes of each node's object store.
    """

    def __init__(self, folder: Path, count: int, store_mb: int = 150) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self.store = folder, store_mb * 2**20
        self._started = 0
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": self.store, "include_dashboard": False},
        )
        self.workers = [self.add() for _ in range(count)]

    @property
    def config(self) -> RayConfig:
        return RayConfig(address=self.cluster.address)

    def add(self, **options: object) -> object:
        """Start a node whose working folder is a new one."""
        self._started += 1
        own, home = self.folder / f"node{self._started}", Path.cwd()
        own.mkdir(parents=True, exist_ok=True)
        os.chdir(own)
        try:
            return self.cluster.add_node(num_cpus=1, object_store_memory=self.store, **options)
        finally:
            os.chdir(home)

    def lose(self, node: object) -> None:
        """End a node's processes at once, as a power cut does."""
        self.cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        self.cluster.shutdown()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray")
    started = Nodes(tmp_path / "nodes", 3)
    yield started
    started.close()
