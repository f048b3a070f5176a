"""The service as replicas on the nodes of a Ray cluster.

In: a bundle that every node reads at one path, and a database that all of them reach. Out: Ray Serve's proxy on each node, which passes requests on to replicas.

A replica is the application of one worker of `server.serve`; what replicas agree on (events, edits, erasures, keys) they read from the store, as workers do.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

os.environ.setdefault(
    "RAY_USAGE_STATS_ENABLED", "0"
)  # nothing is sent to others about a service; read when Ray is imported

from fastapi import FastAPI
from prometheus_client import values

from penchant.core.errors import ConfigError, ExecutorError, MissingExtraError, import_optional
from penchant.core.executor import RayConfig
from penchant.core.ray_executor import connect
from penchant.service.config import ServiceConfig
from penchant.service.http_errors import RefusedError
from penchant.service.server import GRACE_SECONDS, SILENT_SECONDS, application, checked
from penchant.service.telemetry import MULTIPROCESS, log_to_stderr

NAME = "penchant"
REPLICA_CORES = 1.0
MAX_ONGOING = 256
"""Requests of one replica at the same time; others wait in the proxy. The application has its own bounded queues."""

REPORT_SECONDS, SILENT_REPORT_SECONDS = 5.0, 30.0
"""Between two reports of what a replica counted, and without one until it is taken to have ended."""
ANSWER_SECONDS = 5.0
"""For what all replicas counted."""

ray: Any = import_optional("ray", "ray-serve")


class Counted:
    """What all replicas counted, as of their last reports: one actor of the cluster."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, dict[str, bytes]]] = {}

    def keep(self, replica: str, files: dict[str, bytes]) -> None:
        """Take the files of a replica's metrics in the place of those it reported before."""
        self._reports[replica] = time.monotonic(), files

    def kept_and_all(self, replica: str, files: dict[str, bytes]) -> dict[str, bytes]:
        """Take the files of a replica and return those of all, of replicas that ended too; what describes a live one (`live`) ends with it."""
        self.keep(replica, files)
        since = time.monotonic() - SILENT_REPORT_SECONDS
        return {
            name: raw
            for at, found in self._reports.values()
            for name, raw in found.items()
            if at > since or not name.startswith("gauge_live")
        }


class ReplicaMetrics:
    """Metrics of one replica, in files of its own, and of all by the actor that keeps their reports.

    A replica reports before it shows the sum, so that no counter is smaller in the answer of another replica.
    """

    def __init__(self, counted: Any) -> None:
        self._counted, self._name = counted, uuid4().hex
        self._folder = Path(tempfile.mkdtemp(prefix="penchant-metrics-"))
        os.environ[MULTIPROCESS] = str(self._folder)
        values.ValueClass = values.MultiProcessValue(lambda: self._name)  # type: ignore[no-untyped-call] # numbers of processes repeat on other machines
        threading.Thread(target=self._report, daemon=True).start()

    @contextmanager
    def gathered(self) -> Iterator[str]:
        """Open a folder with the files of all replicas.

        Raises:
            RefusedError: The actor does not answer.
        """
        try:
            found = ray.get(self._counted.kept_and_all.remote(self._name, self._files()), timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError as error:
            raise RefusedError(
                f"What the other replicas counted did not arrive within {ANSWER_SECONDS:g} s.",
                where="/metrics",
                fix="ask again: a sum without them would look like counters that began anew",
                status=503,
            ) from error
        with tempfile.TemporaryDirectory() as folder:
            for name, raw in found.items():
                (Path(folder) / name).write_bytes(raw)
            yield folder

    def _files(self) -> dict[str, bytes]:
        """Return the files by name, without the room that they keep for more."""
        found = {file.name: file.read_bytes() for file in self._folder.glob("*.db")}
        return {name: raw[: int.from_bytes(raw[:4], sys.byteorder)] for name, raw in found.items()}

    def _report(self) -> None:
        while True:
            time.sleep(REPORT_SECONDS)
            with suppress(Exception):  # the actor is started again where its node went away
                self._counted.keep.remote(self._name, self._files())


class Replica:
    """One replica: makes its application in the process where it answers."""

    def __init__(self, config: str, pages: str | None, counted: Any) -> None:
        self._config, self._pages, self._counted = config, pages, counted

    def __serve_build_asgi_app__(self) -> FastAPI:  # Ray's name for it
        log_to_stderr()
        metrics = ReplicaMetrics(self._counted)  # before the application makes its counters
        app = application(ServiceConfig.model_validate_json(self._config), self._pages)
        app.state.metrics.gathered = metrics.gathered
        return app


def serve_on_ray(
    config: ServiceConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    replicas: int = 1,
    pages: str | None = None,
    cluster: RayConfig | None = None,
    announce: Callable[[], None] | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT; running requests are finished first, for at most `GRACE_SECONDS`.

    Args:
        config: The service's settings; every node opens its bundle, its folder and its database at these paths and addresses.
        host: Address at which the proxy of each node listens.
        port: Its TCP port.
        replicas: Processes over all nodes, one core each; a replica that dies is replaced.
        pages: As of `server.serve`.
        cluster: Head node of a cluster; None starts Ray on this machine.
        announce: Called once, when all replicas answer.

    Raises:
        MissingExtraError: Ray Serve is not installed.
        PenchantError: The cluster cannot be reached or has too few cores, or the bundle, the store or the secret is not as it should be.
    """
    serve = _ray_serve()
    cluster = cluster or RayConfig()
    if cluster.address is not None and not config.address.startswith("postgresql"):
        raise ConfigError(
            "Replicas on several machines cannot share a file of SQLite.",
            where="--database",
            fix="give the address of a PostgreSQL server that every node reaches",
        )
    config = checked(config, host, port)
    log_to_stderr()
    is_ours = not ray.is_initialized()
    if is_ours:
        connect(cluster)
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        cores = ray.cluster_resources().get("CPU", 0)
        if cores < replicas * REPLICA_CORES:
            raise ExecutorError(
                f"{replicas} replicas need {replicas * REPLICA_CORES:g} cores, the cluster has {cores:g}.",
                where="--workers",
                fix="start fewer replicas, or add nodes: ray start --address HEAD:6379",
            )
        serve.start(http_options={"host": host, "port": port})
        deployment = serve.deployment(
            serve.ingress()(Replica),
            name=NAME,
            num_replicas=replicas,
            max_ongoing_requests=MAX_ONGOING,
            graceful_shutdown_timeout_s=GRACE_SECONDS,
            health_check_timeout_s=SILENT_SECONDS,
            ray_actor_options={"num_cpus": REPLICA_CORES},
        )
        counted = ray.remote(num_cpus=0, max_restarts=-1)(Counted).remote()
        serve.run(deployment.bind(config.model_dump_json(), pages, counted), name=NAME, route_prefix="/")
        if announce is not None:
            announce()
        while not stopped.wait(1.0):
            pass
    except RuntimeError as error:  # Ray Serve gives a deployment up after some attempts; its message has the last one's
        raise ExecutorError(
            f"The replicas do not start: {(str(error).strip().splitlines() or ['no reason given'])[-1][:200]}",
            where="Ray Serve",
            fix="look at `serve status` and at the logs of the replicas in /tmp/ray; every node needs the bundle at the same path",
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        serve.shutdown()
        if is_ours:
            ray.shutdown()


def _ray_serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:  # the extra `ray` has no HTTP part
        raise MissingExtraError(error.name or "ray.serve", "ray-serve") from error
    return serve
