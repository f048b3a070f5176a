"""A sample world whose right answers are known.

In: a folder and a size. Out: items with drawn pictures, played sounds and written words, users who choose by them, and the truth.
"""

from __future__ import annotations

from penchant.world.making import make_world
from penchant.world.settings import Config
from penchant.world.truth import WorldTruth

__all__ = ["Config", "WorldTruth", "make_world"]
