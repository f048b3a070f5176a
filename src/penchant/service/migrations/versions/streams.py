"""Keep where streams of events were read to, their dead letters, and the state of processes beside the service.

In: a store without them. Out: empty tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "streams"
down_revision = "alarms"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "stream_position",
        sa.Column("source", sa.String(64), primary_key=True),
        sa.Column("partition", sa.String(256), primary_key=True),
        sa.Column("position", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("owned_until", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger()),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("erased", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "dead_letter",
        sa.Column("number", counter, primary_key=True, autoincrement=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("partition", sa.String(256), nullable=False),
        sa.Column("position", sa.String(64), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("dead_letter_once", "dead_letter", ["source", "partition", "position", "sent_at"], unique=True)
    op.create_index("dead_letter_of_user", "dead_letter", ["user_id"])
    op.create_table(
        "heartbeat",
        sa.Column("name", sa.String(192), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
