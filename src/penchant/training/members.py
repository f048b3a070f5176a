"""From a TOML table of members to fitted ones.

In: `[members.NAME]` tables, histories and content. Out: fitted members by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from penchant.core.errors import ConfigError
from penchant.core.logs import logger
from penchant.core.schema import BEHAVIOUR, Content, Histories
from penchant.models import MODELS
from penchant.models.member import Member

MemberTables = Mapping[str, Mapping[str, Any]]

BASELINES: MemberTables = {
    "Popularity": {"model": "popularity"},
    "ItemKNN": {"model": "item_knn"},
    "EASE": {"model": "ease"},
}
"""Stand in every report, whatever else was asked for."""


def default_members(content: Content, *, has_time: bool) -> dict[str, dict[str, Any]]:
    """Return the members used where the settings name none: everything that pays for itself in seconds."""
    members: dict[str, dict[str, Any]] = {
        "popularity": {"model": "popularity"},
        "item_knn": {"model": "item_knn"},
        "rp3beta": {"model": "rp3beta"},
        "ease": {"model": "ease"},
        "graph": {"model": "graph_filter"},
    }
    if has_time:
        members["transitions"] = {"model": "transitions"}
    for channel in content.channels:
        members[f"like_{channel}"] = {"model": "content_knn", "channel": channel}
    if content.channels:
        members["content_map"] = {"model": "content_map"}
    return members


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


def fit_members(tables: MemberTables, train: Histories, content: Content) -> tuple[dict[str, Member], dict[str, float]]:
    """Fit every member and time it.

    Returns:
        Fitted members by name, and the seconds each took.
    """
    members: dict[str, Member] = {}
    seconds: dict[str, float] = {}
    for name, table in tables.items():
        began = perf_counter()
        members[name] = make_member(name, table).fit(train, content)
        seconds[name] = perf_counter() - began
        logger.info("  fitted %s in %.1f s", name, seconds[name])
    return members, seconds


def needs(member: Member, content: Content) -> frozenset[str]:
    """Return the channels a member reads, `behaviour` where it reads none."""
    return frozenset(member.channels(content)) or frozenset({BEHAVIOUR})
