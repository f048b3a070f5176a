"""Every entry of every table is what the table holds, and its settings are of the type it declares."""

from __future__ import annotations

import sys
from typing import Any, ForwardRef, get_args

import pytest

from penchant.classifiers import BRANCHES, CLASSIFIERS
from penchant.core.registry import Table
from penchant.data import LABELLED, SOURCES
from penchant.encoders import ENCODERS
from penchant.fusion import FUSIONS, LAYERS
from penchant.metrics import METRICS
from penchant.models import MODELS
from penchant.networks import BACKBONES

TABLES = (BRANCHES, CLASSIFIERS, LABELLED, SOURCES, ENCODERS, FUSIONS, LAYERS, METRICS, MODELS, BACKBONES)
CONFIGURED = (CLASSIFIERS, ENCODERS, FUSIONS, MODELS)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_every_entry_keeps_the_contract(table: Table) -> None:
    assert all(table.load(name) for name in table.names())


def declared(cls: type) -> list[type]:
    """Return the settings that a class names between its bases' brackets."""
    found: list[type] = []
    for base in getattr(cls, "__orig_bases__", ()):
        for argument in get_args(base):
            if isinstance(argument, ForwardRef):
                value: Any = sys.modules[cls.__module__]
                for part in argument.__forward_arg__.split("."):
                    value = getattr(value, part)
                found.append(value)
            elif isinstance(argument, type):
                found.append(argument)
    return found


@pytest.mark.parametrize(
    ("table", "name"), [pytest.param(t, n, id=f"{t.kind} {n}") for t in CONFIGURED for n in t.names()]
)
def test_settings_are_of_the_declared_type(table: Table, name: str) -> None:
    cls = table.load(name)
    for settings in declared(cls):
        assert settings is cls.config_class
