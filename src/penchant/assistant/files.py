"""What a message shows and says: the words of a sound, and the items that a picture is like.

In: files of a message. Out: words, and ids of items; nothing of the files is kept.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from penchant.data.media import MediaLimits, load_audio
from penchant.encoders.transcript import SpeechRecogniser, TranscriptConfig
from penchant.recommender.recommender import Recommender

LIKE_PICTURE = 3
"""Items nearest to a picture that the list shall be like."""


class SpokenWords:
    """Transcribes spoken messages; the model is loaded with the first of them.

    Args:
        config: Of the speech model.
    """

    def __init__(self, config: TranscriptConfig) -> None:
        self._recogniser = SpeechRecogniser(config)
        self._lock = threading.Lock()

    def __call__(self, sound: Path, limits: MediaLimits) -> str:
        """Return what is said, "" where there is no intelligible speech.

        Raises:
            MediaError: The file is no sound.
            MissingExtraError: The extra `speech` is not installed.
        """
        samples = load_audio(sound, limits)
        with self._lock:
            return self._recogniser.extract(samples)


def items_like(
    recommender: Recommender, picture: Path, limits: MediaLimits, available: Bool[np.ndarray, " items"] | None = None
) -> list[str]:
    """Return the items that are most like a picture, the nearest first.

    Raises:
        MediaError: The file is no picture.
        NotFoundError: The bundle has no channel of pictures that can encode a file.
    """
    found = recommender.search_media("image", picture, LIKE_PICTURE, limits=limits, available=available)
    return [item.item_id for item in found.items]
