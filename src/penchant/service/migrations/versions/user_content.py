"""Keep what users write, show, say and tell of themselves.

In: events without content. Out: columns for it, empty, and a table of what users told of themselves.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "user_content"
down_revision = "receipt_chain"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("event", sa.Column("content", sa.Text()))
    op.add_column("event", sa.Column("vectors", sa.LargeBinary()))
    op.add_column("event", sa.Column("encoder", sa.String(64)))
    is_content = sa.text("encoder IS NOT NULL")
    op.create_index("event_content", "event", ["encoder"], sqlite_where=is_content, postgresql_where=is_content)
    op.create_table(
        "user_content",
        sa.Column("user_id", sa.String(256), primary_key=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("vectors", sa.LargeBinary()),
        sa.Column("encoder", sa.String(64), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
    )
