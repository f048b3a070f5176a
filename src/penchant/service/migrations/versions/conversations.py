"""Keep conversations of users with the assistant.

In: a store without conversations. Out: an empty table for them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "conversations"
down_revision = "user_content"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "conversation",
        sa.Column("user_id", sa.String(256), primary_key=True),
        sa.Column("conversation_id", sa.String(64), primary_key=True),
        sa.Column("turns", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )
