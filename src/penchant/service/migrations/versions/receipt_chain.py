"""Chain the erasures, so that a missing one is noticed.

In: erasures without an order. Out: `number` and `link` of each, empty until the service signs them; the newest of both in `world`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "receipt_chain"
down_revision = "item_versions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; only the service has the secret, so it signs what is there at its next start."""
    op.add_column("erasure", sa.Column("number", sa.BigInteger()))
    op.add_column("erasure", sa.Column("link", sa.String(64)))
    op.add_column("world", sa.Column("num_erasures", sa.BigInteger()))
    op.add_column("world", sa.Column("last_link", sa.String(64)))
