"""The words of a reply by a language model, sentence by sentence.

In: a reply and an engine. Out: its sentences, each as soon as it is written, checked and moderated; where nothing passes, the reply's own text.
"""

from __future__ import annotations

from collections.abc import Iterator

from penchant.assistant.dialogue import Reply
from penchant.core.errors import PenchantError
from penchant.core.logs import logger
from penchant.core.messages import Translator, message
from penchant.language.engine import Engine, Prompt
from penchant.language.evidence import Evidence, quotable
from penchant.language.grounding import SENTENCE
from penchant.language.prompt_files import read_prompt
from penchant.language.screen import Screen
from penchant.recommender.recommender import Recommender

NUM_DESCRIBED = 3
"""Items of the list that the language model may speak of."""


class AnswerWriter:
    """Words replies about one catalog.

    Args:
        recommender: Of the catalog.
        engine: Writes; None takes the reply's own text.
        screen: Keeps abuse from being shown, of the engine and of titles and words that the reply repeats.
    """

    def __init__(self, recommender: Recommender, engine: Engine | None, screen: Screen) -> None:
        self._recommender, self._engine, self._screen = recommender, engine, screen

    def sentences(self, reply: Reply) -> Iterator[str]:
        """Yield checked sentences; the reply's own text where the engine has none, and where a user must read exact words.

        A question for a confirmation names what would change, so a model does not word it. Nor does it word an empty list.
        """
        language, fixed = reply.conversation.language, self._screen.masked(reply.text)
        if (
            self._engine is None
            or reply.items is None
            or not reply.items.items
            or language not in self._engine.languages
        ):
            yield fixed
            return
        evidence = self._evidence(reply, language)
        num_kept = 0
        try:
            for sentence in _whole(self._engine.stream(self._prompt(evidence))):
                if not evidence.unsupported(sentence) and self._screen.allows(sentence):
                    num_kept += 1
                    yield sentence
        except PenchantError as error:  # the list stands without the words of a model
            logger.warning("the engine did not answer: %s fix: %s", error.message, error.fix)
        if num_kept == 0:
            yield fixed
        elif reply.question is not None:
            yield _last_sentence(fixed)

    def _evidence(self, reply: Reply, language: str) -> Evidence:
        """Return what is true of the list: the reply's own sentences, and attributes and reasons of its first items."""
        say = Translator(language)
        statements = [s for s in SENTENCE.split(reply.text) if s]
        lookup = self._recommender.lookup
        for item in (reply.items.items if reply.items else ())[:NUM_DESCRIBED]:
            row = lookup.row(item.item_id)
            values = [lookup.shown(name, v, language) for name in lookup.facets for v in lookup.groups(name)[row]]
            statements.append(say(message("“{title}” is {values}.", title=quotable(item.title), values=tuple(values))))
            statements += [
                say(message("“{title}” is here {reason}.", title=quotable(item.title), reason=reason))
                for reason in item.reasons[:1]
            ]
        return Evidence(tuple(statements), lookup.names, language)

    def _prompt(self, evidence: Evidence) -> Prompt:
        lines = "\n".join(f"- {statement}" for statement in evidence.statements)
        return read_prompt("answer", evidence.language).filled(statements=lines)


def _whole(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the whole sentences of a text that comes piece by piece, each once."""
    text, seen = "", set[str]()
    for piece in pieces:
        text += piece
        *done, text = SENTENCE.split(text) if SENTENCE.search(text) else [text]
        for sentence in filter(None, map(str.strip, done)):
            if sentence not in seen:
                seen.add(sentence)
                yield sentence


def _last_sentence(text: str) -> str:
    return [s for s in SENTENCE.split(text) if s][-1]
