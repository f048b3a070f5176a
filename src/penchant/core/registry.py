"""Literal tables of names, loaded only when used.

In: `{"name": "module:Class"}` in a package's `__init__.py`. Out: the class, or an error that names its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from penchant.core.errors import ConfigError, MissingExtraError, nearest


class Table:
    """What one package offers by name; other packages add names through an entry point.

    Args:
        kind: Singular noun for messages ("encoder", "model").
        entries: Name to "module:Class".
        group: Entry point group that may add names, for example "penchant.models".
        extras: Import name of a third-party package to the extra that installs it.
    """

    def __init__(
        self, kind: str, entries: Mapping[str, str], *, group: str, extras: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._group = group
        self._extras = dict(extras or {})

    def names(self) -> list[str]:
        """Return every known name, sorted."""
        return sorted({*self._entries, *(point.name for point in entry_points(group=self._group))})

    def load(self, name: str) -> Any:
        """Import and return the class behind a name.

        Raises:
            ConfigError: The name is unknown.
            MissingExtraError: Its third-party package is not installed.
        """
        address = self._entries.get(name)
        if address is None:
            return self._load_outside(name)
        module, _, attribute = address.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in self._extras:
                raise MissingExtraError(package, self._extras[package]) from error
            raise

    def _load_outside(self, name: str) -> Any:
        for point in entry_points(group=self._group):
            if point.name == name:
                return point.load()
        raise ConfigError(
            f"There is no {self.kind} {name!r}.", where=f"the table of {self.kind}s", fix=nearest(name, self.names())
        )
