"""The prediction for one piece of content.

In: numbers, words and places. Out: a `Prediction`, and the same on lines that a person reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penchant.encoders.nudity import DetectedRegion


@dataclass(frozen=True)
class Prediction:
    """What is said of one piece of content.

    Attributes:
        label: The class.
        score: Its probability, 0 to 1.
        threshold: From which probability on it is the answer, the other classes keeping their proportions.
        probabilities: Of every class.
        is_unsure: A person should be asked.
        evidence: Words that speak most for the class, with what each adds to its logit; empty where there are none.
        heard: What is said in the sound; empty where nobody speaks, or the classifier was not asked to listen.
        written: What stands written in the picture; empty where nothing does, or the classifier was not asked to read it.
        regions: Where a detector saw what the answer rests on, the surest first; empty where none takes part.
        notes: What was not used, which file could not be read and why, and what the answer is not.
    """

    label: str
    score: float
    threshold: float
    probabilities: Mapping[str, float]
    is_unsure: bool
    evidence: tuple[tuple[str, float], ...] = ()
    heard: str = ""
    written: str = ""
    regions: tuple[DetectedRegion, ...] = ()
    notes: tuple[str, ...] = ()


def prediction_lines(prediction: Prediction) -> list[str]:
    """Return all that is said of one piece of content, the answer first."""
    unsure = "  UNSURE: ask a person" if prediction.is_unsure else ""
    answer = f"{prediction.label}  {percent(prediction.score)} (threshold {percent(prediction.threshold)}){unsure}"
    lines = [answer, classes_line(prediction)]
    if prediction.heard:
        lines.append(f'heard: "{prediction.heard}"')
    if prediction.evidence:
        lines.append("because of " + ", ".join(word_line(*pair) for pair in prediction.evidence))
    lines += [region_line(region) for region in prediction.regions]
    if prediction.written:
        lines.append(f'written: "{" / ".join(prediction.written.splitlines())}"')
    return [*lines, *prediction.notes]


def classes_line(prediction: Prediction) -> str:
    """Return every class with its probability on one line, the most probable first."""
    ordered = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {percent(value)}" for name, value in ordered)


def evidence_line(prediction: Prediction) -> str:
    """Return words and regions that speak for the answer on one line."""
    words = [word_line(*pair) for pair in prediction.evidence]
    return "; ".join([*words, *map(region_line, prediction.regions)])


def word_line(word: str, value: float) -> str:
    """Return a word with what it adds to the logit."""
    return f"{word} {value:+.2f}"


def region_line(region: DetectedRegion) -> str:
    """Return what was seen where, in words."""
    middle = (region.left + region.width / 2, region.top + region.height / 2)
    return f"{region.label} {region.score:.2f} at {middle[0]:.0%} from the left, {middle[1]:.0%} from the top"


def percent(value: float) -> str:
    """Return a share from 0 to 1; what is not 0 or 1 is not rounded to it."""
    if 0 < value < 0.0005:
        return "below 0.1%"
    if 0.9995 <= value < 1:
        return "above 99.9%"
    return f"{value:.1%}"
