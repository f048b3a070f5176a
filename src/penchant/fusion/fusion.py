"""The contract of feature-level fusion: embeddings of all channels in, one vector per item out.

In: a `[fusion]` table. Out: the fusion it names, with checked settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, cast

from penchant.core.config import Settings, SettingsT_co
from penchant.core.schema import Embeddings
from penchant.fusion import FUSIONS


class Fusion(ABC, Generic[SettingsT_co]):
    """Channels to one vector; a function of the channels and settings alone, so that a bundle can fuse new items.

    Args:
        config: Its settings.
        kind: Its name in `FUSIONS`.
    """

    config_class: ClassVar[type[Settings]]

    def __init__(self, config: SettingsT_co | None = None, *, kind: str = "") -> None:
        self.config: SettingsT_co = cast(SettingsT_co, self.config_class()) if config is None else config
        self.kind = kind or type(self).__name__.lower()

    @abstractmethod
    def __call__(self, channels: Mapping[str, Embeddings]) -> Embeddings | None:
        """Return the fused vectors, one row for each item; None where there is no channel."""

    def fitted(self, channels: Mapping[str, Embeddings]) -> Callable[[Mapping[str, Embeddings]], Embeddings | None]:
        """Return a function that fuses the same channels with more rows after these.

        By default everything is fused again. A fusion that learns from the catalog overrides this: it learns from `channels` once, so that a
        new item costs its own row alone, and the vectors of the others do not depend on it.
        """
        return self

    def table(self) -> dict[str, Any]:
        """Return its kind and settings, as `make_fusion` reads them."""
        return {"kind": self.kind, **self.config.model_dump(mode="json")}


def make_fusion(table: Mapping[str, Any], *, where: str) -> Fusion:
    """Return the fusion that a table names; concat where it names none.

    Raises:
        ConfigError: The kind is unknown, or a setting does not exist or is invalid.
    """
    settings = dict(table)
    kind = str(settings.pop("kind", "concat"))
    cls = FUSIONS.load(kind)
    made: Fusion = cls(cls.config_class.read(settings, where=where), kind=kind)
    return made
