"""Keep when the first API key was made.

In: the tables of the first store. Out: `world.first_key_at`, set where there is a key already.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "first_key"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a store that holds keys has had one."""
    op.add_column("world", sa.Column("first_key_at", sa.BigInteger()))
    op.execute("UPDATE world SET first_key_at = (SELECT min(created_at) FROM api_key)")
