"""A Ray cluster on this machine: a head without work, and nodes of one core, each with a working folder of its own."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

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
        self.workers: list[Any] = []
        for _ in range(count):
            self.add()

    def config(self, **settings: Any) -> RayConfig:
        return RayConfig(address=self.cluster.address, **settings)

    def add(self, **options: Any) -> Any:
        """Start a node whose working folder is a new one."""
        self._started += 1
        own, home = self.folder / f"node{self._started}", Path.cwd()
        own.mkdir(parents=True, exist_ok=True)
        os.chdir(own)
        try:
            self.workers.append(self.cluster.add_node(num_cpus=1, object_store_memory=self.store, **options))
        finally:
            os.chdir(home)
        return self.workers[-1]

    def lose(self, node: Any) -> None:
        """End a node's processes at once, as a power cut does.

        Workers end by themselves once they miss their raylet; on a busy machine one that is nearly done answers before that.
        """
        self.workers.remove(node)
        own = psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
        self.cluster.remove_node(node, allow_graceful=False)
        for process in own:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(own, timeout=30)

    def keep(self, count: int) -> None:
        """Add or remove nodes until there are so many, and the head knows: it names nodes that went away for some seconds more."""
        while len(self.workers) < count:
            self.add()
        while len(self.workers) > count:
            node = self.workers.pop()
            self.cluster.remove_node(node)
        self.cluster.wait_for_nodes(timeout=60)

    def close(self) -> None:
        self.cluster.shutdown()
