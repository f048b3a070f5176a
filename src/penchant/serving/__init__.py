"""A trained bundle that answers."""
