"""From one TOML table to an unfitted member.

In: a `[members.NAME]` table. Out: the member it names, with checked settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant.core.errors import ConfigError
from penchant.models import MODELS
from penchant.models.member import Member

MemberTables = Mapping[str, Mapping[str, Any]]


def make_member(name: str, table: Mapping[str, Any], *, where: str = "the settings") -> Member:
    """Return an unfitted member.

    Raises:
        ConfigError: The table names no model, an unknown one, or an unknown setting.
    """
    options = dict(table)
    model = options.pop("model", None)
    if model is None:
        raise ConfigError(
            f"The member {name!r} names no model.",
            where=f"{where}: members.{name}",
            fix=f"add model = one of {MODELS.names()}",
        )
    cls = MODELS.load(model)
    member: Member = cls(cls.Config.read(options, where=f"{where}: members.{name}"), name=name)
    return member
