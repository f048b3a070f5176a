"""Connections to the store's database.

In: an address, `sqlite:///file` or `postgresql://...`. Out: an engine that keeps what it acknowledges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

BUSY_SECONDS = 15
"""Longest wait for another writer of SQLite."""


def connect(address: str) -> Engine:
    """Return the engine of an address; SQLite's file and folder are made where they are missing.

    Raises:
        ArgumentError: It is no address of SQLite or PostgreSQL.
    """
    url = make_url(address)
    if url.get_backend_name() == "postgresql":
        # a ping before use: a connection to a restarted database is opened again
        return create_engine(
            url.set(drivername="postgresql+psycopg"), pool_size=10, max_overflow=30, pool_pre_ping=True
        )
    if url.get_backend_name() != "sqlite":
        raise ArgumentError(f"there is no store of kind {url.get_backend_name()!r}")
    if url.database:
        Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=10, max_overflow=30, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = (
        None  # the driver begins no transaction by itself: a read takes no lock, a write locks at once
    )
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("writing"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def shown_address(address: str) -> str:
    """Return the address without its password."""
    try:
        return make_url(address).render_as_string(hide_password=True)
    except ArgumentError:
        return repr(address)
