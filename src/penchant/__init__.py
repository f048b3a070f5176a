"""Learn what each user cares about from everything they touch.

import penchant

bundle = penchant.run("shop.toml")
bundle = penchant.load("runs/shop")
bundle.recommend("user 42", k=10)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penchant.recommender.recommender import Recommender

__all__ = ["load", "run"]


def load(folder: str | Path) -> Recommender:
    """Return the bundle in a folder written by `run`.

    Raises:
        ArtifactError: It is missing, half-written or altered.
    """
    from penchant.recommender.recommender import Recommender

    return Recommender.load(folder)


def run(config: str | Path) -> Recommender:
    """Do the whole flow of one TOML file and return its bundle.

    Raises:
        PenchantError: With what is wrong, where, and how to mend it.
    """
    from penchant.pipelines import recommendation

    return recommendation.run(recommendation.read_config(Path(config)))
