"""Read, check, clean, normalise, split."""
