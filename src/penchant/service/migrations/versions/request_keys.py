"""Keep idempotency keys of requests apart from ids of events.

In: the tables with `world.first_key_at`. Out: `request`, empty.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "request_keys"
down_revision = "first_key"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "request",
        sa.Column("user_id", sa.String(256), primary_key=True),
        sa.Column("key", sa.String(256), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_request_key", "request", ["key"])
