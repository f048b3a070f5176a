"""A generated sample world with known truth.

In: a folder and a size. Out: items with generated images, sounds and texts, users with preferences for them, and the truth.
"""

from __future__ import annotations

from penchant.world.generation import make_world
from penchant.world.settings import WorldConfig
from penchant.world.truth import WorldTruth

__all__ = ["WorldConfig", "WorldTruth", "make_world"]
