"""The screen of written text, with classifiers of labelled posts beside the lists of words.

In: settings. Out: a screen; it sees sentences before they are shown.
"""

from __future__ import annotations

import threading
from pathlib import Path

from penchant.classifiers.bundle import UNLIKE, TrainedClassifier
from penchant.core.errors import ConfigError
from penchant.language.screen import ModerationConfig, Screen, Screens, word_screen


class ClassifierScreen(Screen):
    """Refuses a sentence that a classifier takes for one of some classes.

    It says nothing of a sentence that is unlike what it was trained on, such as one in another language: a Chinese sentence is judged by the classifier
    of Chinese posts.

    Args:
        folder: Written by `penchant run` for labelled texts.
        labels: Classes that are refused.
        threshold: Probability of these classes together from which on.

    Raises:
        ArtifactError: The folder holds no classifier.
        ConfigError: It knows none of the classes.
    """

    def __init__(self, folder: Path, labels: list[str], threshold: float) -> None:
        super().__init__()
        self._trained = TrainedClassifier.load(folder)
        self._labels, self._threshold = set(labels), threshold
        self._lock = threading.Lock()
        if not self._labels & set(self._trained.classes):
            raise ConfigError(
                f"The classifier in {folder} tells {', '.join(self._trained.classes)} apart.",
                where="language.moderation.labels",
                fix="name one of its classes",
            )

    def refuses(self, text: str) -> bool:
        with self._lock:
            found = self._trained.predict(text=text, evidence=False)
        if UNLIKE in found.notes:
            return False
        return sum(p for label, p in found.probabilities.items() if label in self._labels) >= self._threshold


def make_screen(config: ModerationConfig) -> Screen:
    """Return the screen of some settings.

    Raises:
        ArtifactError: A folder holds no classifier.
        ConfigError: A classifier knows none of the classes.
    """
    found: list[Screen] = [ClassifierScreen(folder, config.labels, config.threshold) for folder in config.classifiers]
    return Screens([word_screen(config), *found]) if found else word_screen(config)
