"""Number the changes of items.

In: the tables with idempotency keys. Out: `item.version`, the number of the item's last change, and `world.item_changes`, how many there were.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "item_versions"
down_revision = "request_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns; items from before count as change 0."""
    op.add_column("item", sa.Column("version", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("item_version", "item", ["version"])
    op.add_column("world", sa.Column("item_changes", sa.BigInteger(), nullable=False, server_default="0"))
