"""From one TOML table to an unfitted classifier.

In: a `[classifiers.NAME]` table. Out: the classifier it names, with checked settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant.classifiers import CLASSIFIERS
from penchant.classifiers.classifier import Classifier

ClassifierTables = Mapping[str, Mapping[str, Any]]


def make_classifier(name: str, table: Mapping[str, Any]) -> Classifier:
    """Return an unfitted classifier.

    Raises:
        ConfigError: The table names no classifier, an unknown one, or an unknown setting.
    """
    made: Classifier = CLASSIFIERS.make(name, table, where=f"classifiers.{name}")
    return made
