"""The script Alembic runs for `Store.open`.

In: a connection in `config.attributes`. Out: the tables in their newest form.
"""

from __future__ import annotations

from alembic import context

from penchant.service.store_tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
