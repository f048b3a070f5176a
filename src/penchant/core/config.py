"""Settings: frozen, validated, documented by the docstring under each field.

In: a TOML file or keyword arguments. Out: a `Settings` object with every default defined once.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypeVar

from penchant.core.errors import ConfigError, nearest


class Settings(BaseModel):
    """Base of every `Config`: frozen, unknown keys refused, a field's docstring is its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True)

    @classmethod
    def read(cls, values: dict[str, Any], *, where: str) -> Self:
        """Validate raw values against this class.

        Args:
            values: Content of a TOML table.
            where: File and table, for error messages.

        Raises:
            ConfigError: A key is unknown (the nearest one is named) or a value is invalid.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _explain(error, cls, where) from None

    def with_defaults(self, **defaults: Any) -> Self:
        """Return settings in which these values replace the defaults of fields that were not set."""
        return self.model_copy(
            update={name: value for name, value in defaults.items() if name not in self.model_fields_set}
        )


SettingsT_co = TypeVar("SettingsT_co", bound=Settings, default=Settings, covariant=True)
"""The settings of a configurable class: `class EASE(ItemToItem[EaseConfig])` has `self.config: EaseConfig`."""


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of one TOML file.

    Raises:
        ConfigError: The file is missing or is not TOML.
    """
    if path.is_dir():
        raise ConfigError(
            f"{path.name or str(path)!r} is a folder, and settings are a file.",
            where=str(path),
            fix=f"`penchant init {shlex.quote(str(path))}` writes the settings for tables in it; then `penchant run` that file",
        )
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(
            f"There is no settings file {path.name!r}.",
            where=str(path),
            fix="give the path of a TOML file; `penchant init` writes one for your data, `penchant demo` one you can copy",
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("The settings are not UTF-8.", where=str(path), fix="save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            f"The settings cannot be read: {error.strerror}.", where=str(path), fix="give the path of a TOML file"
        ) from None
    except RecursionError:
        raise ConfigError("The settings are nested without end.", where=str(path), fix="correct that file") from None
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise ConfigError(f"The settings are not TOML: {error}.", where=str(path), fix="correct that line") from None


def _explain(error: ValidationError, cls: type[BaseModel], where: str) -> ConfigError:
    """Convert pydantic's first error into message, where and fix."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    place = f"{where}: {path}" if path else where
    if first["type"] == "extra_forbidden":
        known = _fields_at(cls, first["loc"][:-1])
        name = str(first["loc"][-1])
        return ConfigError(f"There is no setting {name!r}.", where=place, fix=nearest(name, known))
    if first["type"] == "missing":
        return ConfigError(f"The setting {path!r} is missing.", where=place, fix=f"add {path} = ...")
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    expected = re.sub(r", (unable to|got a) .*", "", message.removeprefix("Input should be "))
    fix = f"set it to {expected}" if message.startswith("Input should be ") else "change the value"  # "a valid integer"
    if expected.startswith(("greater", "less")):
        fix = f"set it to a value {expected}"
    what = f"{path} = {first['input']!r} does not fit" if path else "The settings do not fit together"
    return ConfigError(f"{what}: {message}.", where=place, fix=fix)


def _fields_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the allowed names of a table, following `path` through nested settings."""
    current: type[BaseModel] = cls
    for part in path:
        field = current.model_fields.get(str(part))
        nested = field.annotation if field else None
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            current = nested
    return list(current.model_fields)
