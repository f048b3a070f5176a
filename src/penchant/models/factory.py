"""From one TOML table to an unfitted member.

In: a `[members.NAME]` table. Out: the member it names, with checked settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant.models import MODELS
from penchant.models.member import Member

MemberTables = Mapping[str, Mapping[str, Any]]


def make_member(name: str, table: Mapping[str, Any]) -> Member:
    """Return an unfitted member.

    Raises:
        ConfigError: The table names no model, an unknown one, or an unknown setting.
    """
    member: Member = MODELS.make(name, table, where=f"members.{name}")
    return member
