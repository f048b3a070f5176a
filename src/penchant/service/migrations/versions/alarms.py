"""Keep alarms about change.

In: a store without them. Out: an empty table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "alarms"
down_revision = "served_lists"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "alarm",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
