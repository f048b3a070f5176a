"""The prediction for one piece of content.

In: probabilities, words and regions. Out: a `Prediction`, and the same as lines of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penchant.core.messages import message
from penchant.encoders.nudity import DetectedRegion


@dataclass(frozen=True)
class Prediction:
    """The predicted class of one piece of content, with its evidence.

    Attributes:
        label: The class.
        score: Its probability, 0 to 1.
        threshold: Probability from which on it is the answer, the other classes keeping their proportions.
        probabilities: Of every class.
        is_unsure: Whether a reviewer should decide.
        evidence: Words that add most to the logit of the class, with that amount; empty where there are none.
        transcript: Speech of the sound; empty without speech, or where speech is not transcribed.
        written: Text printed in the picture; empty without text, or where pictures are not read.
        regions: Detections that support the answer, the highest score first; empty without a detector.
        plausible: Classes that may be the true one; of new samples like those of training, `coverage` have theirs among them.
        coverage: Share that is promised; 0 where nothing is.
        notes: What was ignored, which file could not be read and why, and what the answer is not.
    """

    label: str
    score: float
    threshold: float
    probabilities: Mapping[str, float]
    is_unsure: bool
    evidence: tuple[tuple[str, float], ...] = ()
    transcript: str = ""
    written: str = ""
    regions: tuple[DetectedRegion, ...] = ()
    notes: tuple[str, ...] = ()
    plausible: tuple[str, ...] = ()
    coverage: float = 0.0


def prediction_lines(prediction: Prediction) -> list[str]:
    """Return a prediction as lines of text, the answer first."""
    answer = message(
        "{label}  {score} (threshold {threshold}){unsure}",
        label=prediction.label,
        score=percent(prediction.score),
        threshold=percent(prediction.threshold),
        unsure=message("  UNSURE: needs review") if prediction.is_unsure else "",
    )
    lines = [answer, classes_line(prediction)]
    if prediction.coverage:
        plausible = prediction.plausible or message("none")
        share = f"{prediction.coverage:.0%}"
        lines.append(message("plausible ({share} coverage): {classes}", share=share, classes=plausible))
    if prediction.transcript:
        lines.append(f'transcript: "{prediction.transcript}"')
    if prediction.evidence:
        words = tuple(word_line(*pair) for pair in prediction.evidence)
        lines.append(message("because of {words}", words=words))
    lines += [region_line(region) for region in prediction.regions]
    if prediction.written:
        lines.append(f'written: "{" / ".join(prediction.written.splitlines())}"')
    return [*lines, *prediction.notes]


def classes_line(prediction: Prediction) -> str:
    """Return every class with its probability on one line, the most probable first."""
    ordered = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {percent(value)}" for name, value in ordered)


def evidence_line(prediction: Prediction) -> str:
    """Return the words and regions that support the answer on one line."""
    words = [word_line(*pair) for pair in prediction.evidence]
    return "; ".join([*words, *map(region_line, prediction.regions)])


def word_line(word: str, value: float) -> str:
    """Return a word with what it adds to the logit."""
    return f"{word} {value:+.2f}"


def region_line(region: DetectedRegion) -> str:
    """Return label, score and place of a detection in words."""
    middle = (region.left + region.width / 2, region.top + region.height / 2)
    return f"{region.label} {region.score:.2f} at {middle[0]:.0%} from the left, {middle[1]:.0%} from the top"


def percent(value: float) -> str:
    """Return a share from 0 to 1; values other than 0 and 1 are never rounded to them."""
    if 0 < value < 0.0005:
        return "below 0.1%"
    if 0.9995 <= value < 1:
        return "above 99.9%"
    return f"{value:.1%}"
