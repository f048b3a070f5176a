"""Translated names of modalities, columns, event kinds and slider positions.

In: names that the bundle and the events give. Out: their labels in the reader's language; an unknown name stays as it is.
"""

from __future__ import annotations

from penchant.core.messages import Translator, message

NAMES = {
    "words": message("shared words"),
    "attributes": message("attributes"),
    "topic": message("topic"),
    "category": message("category"),
    "genres": message("genres"),
    "price": message("price"),
    "language": message("language"),
}
KINDS = {
    "click": message("clicked"),
    "view": message("viewed"),
    "play": message("played"),
    "like": message("liked"),
    "purchase": message("bought"),
    "cart": message("in the cart"),
    "rating": message("rated"),
    "review": message("reviewed"),
    "skip": message("skipped"),
    "dislike": message("disliked"),
}
LEVELS = {
    "never": message("never"),
    "less": message("less"),
    "reset": message("as learned"),
    "more": message("more"),
    "pin": message("always"),
}
"""Positions of a slider, from -2 to 2."""


class PageTranslator(Translator):
    """Translates the studio's pages."""

    def channel(self, name: str) -> str:
        """Return the label of a modality, as in the report, or of a column."""
        return self(NAMES[name]) if name in NAMES else super().channel(name)

    def kind(self, kind: str) -> str:
        """Return the label of a kind of event."""
        return self(KINDS.get(kind, "")) or kind

    def action(self, action: str) -> str:
        """Return the label of an edit of an interest."""
        return self(LEVELS[action])

    @property
    def levels(self) -> list[str]:
        return [self(name) for name in LEVELS.values()]

    def level(self, position: int) -> str:
        """Return the label of a slider position, -2 to 2."""
        return self.levels[position + 2]
