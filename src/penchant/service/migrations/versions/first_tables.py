"""Make the tables of the first store.

In: an empty database. Out: events, edits, user versions, items, erasures, keys, and the one row of `world`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table; ids of 256 characters, times in microseconds."""
    counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    key = sa.String(256)
    op.create_table(
        "event",
        sa.Column("sequence", counter, primary_key=True, autoincrement=True),
        sa.Column("user_id", key, nullable=False),
        sa.Column("event_key", sa.String(512)),
        sa.Column("item_id", key, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("value", sa.Float(53)),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("event_once", "event", ["user_id", "event_key"], unique=True)
    op.create_index("event_of_user", "event", ["user_id", "at"])
    op.create_table(
        "edit",
        sa.Column("user_id", key, primary_key=True),
        sa.Column("name", key, primary_key=True),
        sa.Column("value", key, primary_key=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("strength", sa.Float(53), nullable=False),
        sa.Column("edited_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "person",
        sa.Column("user_id", key, primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "item",
        sa.Column("item_id", key, primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("vectors", sa.LargeBinary()),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "erasure",
        sa.Column("receipt_id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("receipt", sa.Text(), nullable=False),
    )
    op.create_index("ix_erasure_subject", "erasure", ["subject"])
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("name", key, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(128), nullable=False),
        sa.Column("per_minute", sa.Integer()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    world = op.create_table(
        "world",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("secret_check", sa.String(64)),
    )
    op.bulk_insert(world, [{"number": 1, "version": 1, "secret_check": None}])
