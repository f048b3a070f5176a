"""A generated sample world with known truth.

In: a folder and a size. Out: items with drawn pictures, played sounds and written words, users who choose by them, and the truth.
"""

from __future__ import annotations

from penchant.world.generation import make_world
from penchant.world.settings import WorldConfig
from penchant.world.truth import WorldTruth

__all__ = ["WorldConfig", "WorldTruth", "make_world"]
