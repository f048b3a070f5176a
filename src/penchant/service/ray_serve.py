"""The service as replicas on the nodes of a Ray cluster.

In: a bundle that every node reads at one path, and a database that all of them reach. Out: Ray Serve's proxy on each node, which passes requests on to replicas.

A replica is the application of one worker of `server.serve`; what replicas agree on (events, edits, erasures, keys) they read from the store, as workers do.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

os.environ.setdefault(
    "RAY_USAGE_STATS_ENABLED", "0"
)  # nothing is sent to others about a service; read when Ray is imported

from fastapi import FastAPI

from penchant.core.errors import ConfigError, ExecutorError, MissingExtraError, import_optional
from penchant.core.executor import RayConfig
from penchant.core.ray_executor import connect
from penchant.service.config import ServiceConfig
from penchant.service.server import GRACE_SECONDS, SILENT_SECONDS, application, checked
from penchant.service.telemetry import log_to_stderr

NAME = "penchant"
REPLICA_CORES = 1.0
MAX_ONGOING = 256
"""Requests of one replica at the same time; others wait in the proxy. The application has its own bounded queues."""

ray: Any = import_optional("ray", "ray-serve")


class Replica:
    """One replica: makes its application in the process where it answers."""

    def __init__(self, config: str, pages: str | None) -> None:
        self._config, self._pages = config, pages

    def __serve_build_asgi_app__(self) -> FastAPI:  # Ray's name for it
        log_to_stderr()
        return application(ServiceConfig.model_validate_json(self._config), self._pages)


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
        serve.run(deployment.bind(config.model_dump_json(), pages), name=NAME, route_prefix="/")
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
