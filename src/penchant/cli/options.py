"""Options that several commands share.

In: nothing. Out: types with the names and help texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penchant.core.errors import ConfigError

if TYPE_CHECKING:
    from penchant.encoders.transcript import TranscriptConfig
    from penchant.language.screen import LanguageConfig

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by `penchant run`.")]
UserId = Annotated[str | None, typer.Option("--user", help="Id of a user.")]
Items = Annotated[
    str | None, typer.Option("--history", help="Item ids, oldest first, separated by commas: a new user.")
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="What writes: template (no language model), local (SmolLM2), or a TOML file with a [language] table.",
    ),
]
SpeechModel = Annotated[
    str | None,
    typer.Option(
        help="Whisper model of spoken messages: a folder (CTranslate2), or a name of faster-whisper such as small; left out: tiny.en, English alone."
    ),
]
ColumnNames = Annotated[
    list[str] | None, typer.Option("--column", help="OURS=YOURS: a column the table calls by another name.")
]
Database = Annotated[
    str | None, typer.Option(help="postgresql://USER@HOST/DATABASE; left out: an SQLite file in the service's folder.")
]
StateFolder = Annotated[
    Path | None, typer.Option(help="The service's own folder: store, secret, uploads. Left out: BUNDLE-service.")
]


Every = Annotated[float | None, typer.Option(min=0.1, help="Seconds between two steps of the learner; left out: 60.")]
Promote = Annotated[
    str | None,
    typer.Option(
        help="When a version is served: not_worse (shown on events that came after it; left out), at_once, by_hand.",
    ),
]
LearningFile = Annotated[
    Path | None, typer.Option("--learning", help="TOML file with the settings of the learner in a [learning] table.")
]


StreamsFile = Annotated[
    Path, typer.Option("--streams", help="TOML file with event streams in a [streams] table; see docs/streams.md.")
]


def streams_values(file: Path) -> dict[str, Any]:
    """Return the settings of event streams in a file.

    Raises:
        ConfigError: The file is missing, is not TOML, or has no such table.
    """
    from penchant.core.config import read_toml

    table = read_toml(file).get("streams")
    if not isinstance(table, dict):
        raise ConfigError("There is no table [streams].", where=str(file), fix="add one; see docs/streams.md")
    return table


def learning_values(file: Path | None, every: float | None, promote: str | None) -> dict[str, Any]:
    """Return the settings of a learner: those of a file, and over them those of the options.

    Raises:
        ConfigError: The file is missing or is not TOML.
    """
    from penchant.core.config import read_toml

    given = {"every_seconds": every, "promote": promote}
    table = {} if file is None else dict(read_toml(file).get("learning", {}))
    return table | {name: value for name, value in given.items() if value is not None}


def language_config(given: str) -> LanguageConfig:
    """Return which engine writes and what of it is shown: of the engine's name, or of a TOML file with a [language] table.

    Raises:
        ConfigError: Neither, or a setting is wrong.
    """
    from penchant.core.config import read_toml
    from penchant.language.screen import LanguageConfig

    if given in ("template", "local"):
        return LanguageConfig.read({"engine": given}, where="--engine")
    if not given.endswith(".toml"):
        raise ConfigError(
            f"There is no engine {given!r}.",
            where="--engine",
            fix="give template, local, or a TOML file with a [language] table",
        )
    return LanguageConfig.read(read_toml(Path(given)).get("language", {}), where=f"{given}: language")


def speech_config(model: str | None) -> TranscriptConfig:
    """Return the settings of a speech model; None takes the one that comes as a wheel."""
    from penchant.encoders.transcript import TranscriptConfig

    return TranscriptConfig() if model is None else TranscriptConfig(model=model)


def column_names(given: list[str] | None) -> dict[str, str]:
    """Return our names of columns with those of the table; what is no pair is left out."""
    return dict(pair.split("=", 1) for pair in given or [] if "=" in pair)
