"""Reproducible random generators.

In: one seed and the name of a purpose. Out: an independent generator, so that adding a step never changes the draws of another step.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return the random generator of one purpose ("split.ties", "bootstrap")."""
    digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "little")])
