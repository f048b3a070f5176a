"""Keep the lists that were served during a trial.

In: a store without them. Out: tables of served lists, of who saw which variant first, and of variants that were ended; all empty.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "served_lists"
down_revision = "conversations"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "served_list",
        sa.Column("sequence", counter, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("list_id", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("bundle", sa.String(64), nullable=False),
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("served_list_once", "served_list", ["user_id", "list_id"], unique=True)
    op.create_table(
        "exposure",
        sa.Column("user_id", sa.String(256), primary_key=True),
        sa.Column("trial", sa.String(64), primary_key=True),
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("exposure_of_trial", "exposure", ["trial", "at"])
    op.create_table(
        "ended_variant",
        sa.Column("trial", sa.String(64), primary_key=True),
        sa.Column("variant", sa.String(64), primary_key=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
