"""The service as a process, or several.

In: a bundle and where to listen. Out: a server that runs until it is told to stop, and then finishes what it began.
"""

from __future__ import annotations

import ipaddress
import os
import tempfile

import uvicorn
from fastapi import FastAPI

from penchant.core.artifacts import open_artifact
from penchant.core.errors import ConfigError, PenchantError
from penchant.serving import bundle
from penchant.serving.app import create_app
from penchant.serving.service import Config
from penchant.serving.store import Store
from penchant.serving.telemetry import MULTIPROCESS, log_to_stderr

SETTINGS = "PENCHANT_SERVICE"
"""How workers are told their settings; set by `serve` for its own children."""
GRACE_SECONDS = 30
MAX_CONNECTIONS = 2000


def serve(config: Config, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1) -> None:
    """Answer until SIGTERM or SIGINT; requests under way are finished first, for at most `GRACE_SECONDS`.

    Args:
        config: The service's settings.
        host: Address to listen at; one that others can reach asks for API keys.
        port: TCP port.
        workers: Processes; each holds the bundle in memory, all share the store.

    Raises:
        PenchantError: The bundle, the store or the secret is not as it should be.
    """
    store = Store.open(config.address)
    has_keys = bool(store.api_keys())
    store.close()
    if config.is_open and not has_keys and not _is_loopback(host):
        raise ConfigError(
            f"Anybody who can reach {host} could read and erase people.",
            where="--host",
            fix="make a key with `penchant keys add NAME`, or pass --no-open to refuse everybody until there is one",
        )
    log_to_stderr()
    if workers == 1:
        app = create_app(config)
        _run(app, host, port)
        failure: PenchantError | None = getattr(app.state, "failure", None)
        if failure is not None:
            raise failure
        return
    open_artifact(config.bundle, kind=bundle.KIND)  # said once here, not by every worker
    with tempfile.TemporaryDirectory() as counters:
        os.environ |= {SETTINGS: config.model_dump_json(), MULTIPROCESS: counters}
        _run(f"{__name__}:worker", host, port, workers)


def worker() -> FastAPI:
    """Return the application of one worker process."""
    log_to_stderr()
    return create_app(Config.model_validate_json(os.environ[SETTINGS]))


def _run(app: FastAPI | str, host: str, port: int, workers: int = 1) -> None:
    uvicorn.run(
        app,
        host=host,
        port=port,
        workers=workers,
        factory=isinstance(app, str),
        access_log=False,  # it would write ids into the log
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=MAX_CONNECTIONS,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
