"""Literal tables of names, loaded only when used.

In: `{"name": "module:Class"}` in a package's `__init__.py`, and entry points of installed packages. Out: the class or function, checked
against the table's contract; or an error that names the entry, its package and the fix.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from penchant.core.errors import ConfigError, MissingExtraError, nearest


class Table:
    """Classes or functions of one package by name; other packages add names through an entry point.

    A name belongs to one package: a name that is built in, or that two installed packages offer, is refused rather than guessed.

    Args:
        kind: Singular noun for messages ("encoder", "model").
        entries: Name to "module:Class".
        group: Entry point group that may add names, for example "penchant.models".
        base: "module:Class" that every class of the table derives from, imported when an entry is loaded; None for a table of functions.
        arguments: Names of the positional arguments that every function of the table takes; unused where `base` is given.
        extras: Import name of a third-party package to the extra that installs it.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str],
        *,
        group: str,
        base: str | None = None,
        arguments: Sequence[str] = (),
        extras: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._group = group
        self._base = base
        self._arguments = tuple(arguments)
        self._extras = dict(extras or {})
        self._added: dict[str, Any] = {}

    def names(self) -> list[str]:
        """Return every known name: the built-in ones in the order of the table, then those of other packages, sorted."""
        outside = {point.name for point in _outside(self._group, tuple(sys.path))} | set(self._added)
        return [*self._entries, *sorted(outside - set(self._entries))]

    def add(self, name: str, entry: Any) -> None:
        """Add a class or function under a name for this process, as a notebook does that tries its own.

        A process that loads a bundle which names it adds it first; an entry point of a package does so by itself. A name that was added may be
        added again, so that a cell can be run twice.

        Raises:
            ConfigError: The name belongs to Penchant or to an installed package, or the entry is not what the table holds.
        """
        if name in self.names() and name not in self._added:
            raise ConfigError(
                f"There is a {self.kind} {name!r} already.",
                where=f"{self.kind}s.add({name!r})",
                fix="choose another name",
            )
        for problem, fix in self._problems(entry):
            raise ConfigError(f"The {self.kind} {name!r} {problem}.", where=f"{self.kind}s.add({name!r})", fix=fix)
        self._added[name] = entry

    def attribute(self, name: str) -> Any:
        """Return the built-in class or function that is itself called `name`; a package uses it as its `__getattr__`.

        So `from penchant.models import EASE` works, and imports nothing else of that package.

        Raises:
            AttributeError: There is none.
            MissingExtraError: Its third-party package is not installed.
        """
        found = next((key for key, value in self._entries.items() if value.partition(":")[2] == name), None)
        if found is None:
            raise AttributeError(f"there is no {self.kind} {name!r} in {self._group}")
        return self.load(found)

    def attributes(self) -> list[str]:
        """Return the names that `attribute` knows."""
        return sorted(value.partition(":")[2] for value in self._entries.values())

    def load(self, name: str) -> Any:
        """Import and return the class or function behind a name.

        Raises:
            ConfigError: The name is unknown or offered twice, its package cannot be imported, or it is not what the table holds.
            MissingExtraError: Its third-party package is not installed.
        """
        if name in self._added:
            return self._added[name]
        points = [point for point in _outside(self._group, tuple(sys.path)) if point.name == name]
        if name in self._entries:
            points.insert(0, EntryPoint(name, self._entries[name], self._group))
        if not points:
            raise ConfigError(
                f"There is no {self.kind} {name!r}.",
                where=f"the table of {self.kind}s",
                fix=nearest(name, self.names()),
            )
        if len({point.value for point in points}) > 1:
            owners = [_owner(point) for point in points]
            raise ConfigError(
                f"{len(points)} packages offer the {self.kind} {name!r}: {', '.join(owners)}.",
                where=_place(points[-1]),
                fix=f"rename it in {owners[-1]}, or uninstall that package",
            )
        entry = self._import(points[0])
        for problem, fix in self._problems(entry):
            raise ConfigError(f"The {self.kind} {name!r} {problem}.", where=_place(points[0]), fix=fix)
        return entry

    def make(self, name: str, table: Mapping[str, Any], *, where: str) -> Any:
        """Return an unfitted object from a TOML table: `model` names its class, the rest are its settings.

        Args:
            name: Name the table has.
            table: Settings, `model` among them.
            where: Address of the table, for error messages.

        Raises:
            ConfigError: `model` is missing or unknown, or a setting does not exist or is invalid.
            MissingExtraError: Its third-party package is not installed.
        """
        settings = dict(table)
        model = settings.pop("model", None)
        known = self.names()
        if model is None:
            fix = f"add model = one of {', '.join(known)}"
            raise ConfigError(f"The table does not name its {self.kind}.", where=where, fix=fix)
        if model not in known:
            fix = nearest(str(model), known)
            raise ConfigError(f"There is no {self.kind} {model!r}.", where=f"{where}.model", fix=fix)
        cls = self.load(model)
        return cls(cls.config_class.read(settings, where=where), name=name)

    def _import(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except Exception as error:
            missing = (getattr(error, "name", None) or "").partition(".")[0]
            if isinstance(error, ModuleNotFoundError) and missing in self._extras:
                raise MissingExtraError(missing, self._extras[missing]) from error
            if point.name in self._entries:
                raise
            raise ConfigError(
                f"The {self.kind} {point.name!r} cannot be imported: {type(error).__name__}: {error}.",
                where=_place(point),
                fix=f"update or uninstall {_owner(point)}, or leave {point.name!r} out of the settings",
            ) from error

    def _problems(self, entry: Any) -> Iterator[tuple[str, str]]:
        """Yield each violation of the table's contract, and its fix."""
        shown = f"class {entry.__qualname__}" if isinstance(entry, type) else f"{type(entry).__name__} {entry!r}"[:60]
        if self._base is None:
            call = f"f({', '.join(self._arguments)})"
            if isinstance(entry, type) or not callable(entry):
                yield f"is the {shown}, not a function", f"name a function {call} in the entry point"
                return
            try:
                inspect.signature(entry).bind(*self._arguments)
            except TypeError as error:
                yield f"cannot be called as {call}: {error}", f"give it the signature {call}"
            return
        module, _, attribute = self._base.partition(":")
        base = getattr(import_module(module), attribute)
        if not (isinstance(entry, type) and issubclass(entry, base)):
            yield f"is the {shown}, not a subclass of {attribute}", f"derive it from {module}.{attribute}"
        elif missing := sorted(getattr(entry, "__abstractmethods__", ())):
            yield f"lacks {', '.join(missing)}", f"implement what {module}.{attribute} declares"


@lru_cache(maxsize=64)
def _outside(group: str, path: tuple[str, ...]) -> EntryPoints:  # noqa: ARG001 - the path is part of the key
    """Return the entry points of installed packages; reading those of all packages takes some milliseconds, and a run makes hundreds of members.

    Args:
        group: Their group.
        path: Folders of packages, `sys.path`: with others, they are read again.
    """
    return entry_points(group=group)


def _owner(point: EntryPoint) -> str:
    """Return the package and version of an entry point; one made from a built-in entry has no distribution."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "penchant"


def _place(point: EntryPoint) -> str:
    return f"{_owner(point)}: entry point {point.group}: {point.name} = {point.value}"
