"""Every failure a person can meet.

In: what is wrong, where it was found, how to mend it. Out: the same three lines in Python, on the command line and over HTTP.

    PenchantError
    ├── ConfigError          a setting is unknown, of the wrong type, or contradicts another
    ├── DataError            a table cannot be used as it is
    ├── MediaError           one picture, clip or file cannot be decoded (the run goes on without it)
    ├── EncoderError         a model cannot be loaded or gave vectors that are not numbers
    ├── TrainingError        a network cannot be trained as asked
    ├── ArtifactError        something on disk is missing, half-written or altered
    └── MissingExtraError    an optional part of Penchant is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PenchantError(Exception):
    """A failure with its place and its mend.

    Args:
        message: What is wrong, with the offending value.
        where: File, row, column, setting or object.
        fix: What the reader can do now.
    """

    def __init__(self, message: str, *, where: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  where: {self.where}\n  fix:   {self.fix}"

    def as_dict(self) -> dict[str, str]:
        """Return the three parts, for `--json` and for HTTP."""
        return {"error": type(self).__name__, "message": self.message, "where": self.where, "fix": self.fix}


class ConfigError(PenchantError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class DataError(PenchantError):
    """A table cannot be used as it is."""


class MediaError(PenchantError):
    """One picture or clip cannot be decoded; the run goes on without it."""


class EncoderError(PenchantError):
    """A model cannot be loaded, or gave vectors that are not numbers."""


class TrainingError(PenchantError):
    """A network cannot be trained as asked: no such device, or a loss that is no number."""


class ArtifactError(PenchantError):
    """Something on disk is missing, half-written or altered."""


class MissingExtraError(PenchantError):
    """An optional part of Penchant is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"The package {package!r} is not installed.",
            where=f"the optional part penchant[{extra}]",
            fix=f"pip install 'penchant[{extra}]'",
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the closest known names, or lists them all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "Known names: " + ", ".join(names) + "."
