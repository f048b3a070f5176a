"""Checks of a classifier's bundle, whose files may come from anyone.

In: what was read of a bundle. Out: nothing, or an `ArtifactError`: arrays of another number of classes would give the answer of a class a wrong name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from penchant.classifiers.classifier import Classifier
from penchant.classifiers.combined import CombinedClassifier
from penchant.core.errors import ArtifactError


def check_classifier(
    classes: tuple[str, ...], members: Mapping[str, Classifier], combined: CombinedClassifier, where: Path
) -> None:
    """Refuse a bundle whose parts do not agree on the classes and the members."""
    names = all(isinstance(name, str) for name in classes) and len(set(classes)) == len(classes)
    _require(names and len(classes) > 1, "its classes are not two or more different names", where)
    ensemble, calibration = combined.ensemble, combined.calibration
    _require(set(ensemble.members) == set(members), "the ensemble names other members than there are", where)
    shapes = {
        "weight": (ensemble.weight, len(ensemble.members)),
        "bias": (ensemble.bias, len(classes)),
        "prior": (ensemble.prior, len(classes)),
        "factor": (combined.decision.factor, len(classes)),
    }
    if calibration.kind == "platt":
        shapes |= {"slope": (calibration.slope, len(classes)), "intercept": (calibration.intercept, len(classes))}
    if len(combined.decision.limits):
        shapes["limits"] = (combined.decision.limits, len(classes))
    for name, (array, size) in shapes.items():
        is_right = array.shape == (size,) and array.dtype.kind == "f" and not bool(np.isnan(array).any())
        _require(is_right, f"{name} has shape {array.shape}, not ({size},), or is no number", where)
    _require(bool((ensemble.weight >= 0).all()), "a weight is negative", where)
    if calibration.kind == "isotonic":
        is_right = len(calibration.steps) == len(classes) and all(
            s.ndim == 2 and len(s) == 2 for s in calibration.steps
        )
        _require(is_right, "the steps of the calibration are not one pair of rows for each class", where)
    for name, member in members.items():
        _check_member(name, member, len(classes), where)


def _check_member(name: str, member: Classifier, num_classes: int, where: Path) -> None:
    arrays, facts = member.arrays(), member.facts()
    if "bias" in arrays and "weight" in arrays:
        weight, bias = arrays["weight"], arrays["bias"]
        is_right = bias.shape == (num_classes,) and weight.ndim == 2 and len(weight) == num_classes
        problem = f"the member {name!r} has a bias of shape {bias.shape} for {num_classes} classes"
        _require(is_right, problem, where)
    count = facts.get("num_classes", num_classes)
    _require(count == num_classes, f"the member {name!r} knows {count} classes, not {num_classes}", where)


def damaged(problem: str, where: Path) -> ArtifactError:
    """Return the error of a bundle that cannot be used although its checksums are right."""
    return ArtifactError(
        f"The bundle cannot be used: {problem}.",
        where=str(where),
        fix="copy it again from its source, or run `penchant run` again to remake it",
    )


def _require(is_right: bool, problem: str, where: Path) -> None:
    if not is_right:
        raise damaged(problem, where)
