"""Errors that users can meet.

In: what is wrong, where, and how to fix it. Out: the same three lines in Python, on the command line and over HTTP.

    PenchantError
    ├── ConfigError          a setting is unknown, of the wrong type, or contradicts another
    ├── DataError            a table cannot be used as it is
    │   └── NotFoundError    a user, item, attribute or channel of that name does not exist
    ├── MediaError           one media file cannot be decoded (the run continues without it)
    ├── EncoderError         a model cannot be loaded or returned vectors that are not finite
    ├── TrainingError        a network cannot be trained with these settings
    ├── ArtifactError        something on disk is missing, half-written or altered
    ├── ExecutorError        the nodes of a cluster, or their storage, cannot go on
    └── MissingExtraError    an optional extra is not installed
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

MAX_LISTED = 40
"""Known names that an error lists."""


class PenchantError(Exception):
    """An error with its place and its fix.

    Args:
        message: What is wrong, with the value.
        where: File, row, column, setting or object.
        fix: What the user can do.
    """

    def __init__(self, message: str, *, where: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        """Pass from process to process; an exception is otherwise made again from its message alone."""
        return _remade, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        return f"{self.message}\n  where: {self.where}\n  fix:   {self.fix}"

    def as_dict(self) -> dict[str, str]:
        """Return the three parts, for `--json` and for HTTP."""
        return {"error": type(self).__name__, "message": self.message, "where": self.where, "fix": self.fix}


def _remade(kind: type[PenchantError], args: tuple[Any, ...], held: dict[str, Any]) -> PenchantError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(held)
    return error


class ConfigError(PenchantError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class DataError(PenchantError):
    """A table cannot be used as it is."""


class NotFoundError(DataError):
    """A user, item, attribute or channel of that name does not exist."""


class MediaError(PenchantError):
    """One media file cannot be decoded; the run continues without it."""


class EncoderError(PenchantError):
    """A model cannot be loaded, or returned vectors that are not finite."""


class TrainingError(PenchantError):
    """A network cannot be trained: no such device, or a loss that is not finite."""


class ArtifactError(PenchantError):
    """Something on disk is missing, half-written or altered."""


class ExecutorError(PenchantError):
    """The nodes of a cluster or their storage cannot be reached, differ in version, or lose the same work again and again."""


class MissingExtraError(PenchantError):
    """An optional extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"The package {package!r} is not installed.",
            where=f"the optional part penchant[{extra}]",
            fix=f"pip install 'penchant[{extra}]'",
        )


def import_optional(package: str, extra: str) -> Any:
    """Import a package that only an extra installs.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(package, extra) from error


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a sentence that names the closest known names; where none is close, `otherwise`, or a list of at most `MAX_LISTED` of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(c) for c in close) + "?"
    more = f", and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return otherwise or "Known names: " + ", ".join(names[:MAX_LISTED]) + more + "."
