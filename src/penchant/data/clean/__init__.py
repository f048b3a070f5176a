"""Check, normalise and repair tables and media; count everything that was changed."""
