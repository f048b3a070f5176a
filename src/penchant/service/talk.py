"""Who answers chats and words profiles: this process, or the process beside it (`talk_process.py`).

In: a message, or a user. Out: the answer, sentence by sentence; the profile in words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from typing import Any

from penchant.assistant.dialogue import Reply
from penchant.service.chat import Chats
from penchant.service.pools import OverloadedError, WorkPools
from penchant.service.schemas import ChatIn, ChatOut, has_media
from penchant.service.service import Service
from penchant.service.store import StoredConversation

Pieces = AsyncGenerator[str | ChatOut, None]
"""The sentences of an answer, each as soon as it is checked, then the whole answer."""


class Talk(ABC):
    """Answers messages and words profiles; whoever asks has checked the key and its rate."""

    @abstractmethod
    async def begin(self, given: ChatIn) -> Pieces:
        """Understand a message, store the conversation and the edits that were confirmed, and return the answer as it is written.

        Closing what is returned stops the writing.

        Raises:
            PenchantError: As `Chats.reply`; or the process that answers is not there.
        """

    @abstractmethod
    async def in_words(self, user_id: str, language: str) -> dict[str, Any]:
        """Return the interests of one user as sentences, each with the events behind it.

        Raises:
            PenchantError: The engine, or the process that answers, is not there.
        """

    async def answer(self, given: ChatIn) -> ChatOut:
        """Return the whole answer to a message; raises what `begin` does."""
        whole = [piece async for piece in await self.begin(given) if isinstance(piece, ChatOut)]
        return whole[-1]

    async def close(self) -> None:  # noqa: B027 - what answers in this process holds nothing
        """Give back what it holds of the system."""


class TalkHere(Talk):
    """Answers in this process, one message at a time.

    Args:
        service: With the recommender, the store and the engine.
        pools: The threads.
    """

    def __init__(self, service: Service, pools: WorkPools) -> None:
        self._service, self._pools, self._chats = service, pools, Chats(service)

    async def begin(self, given: ChatIn) -> Pieces:
        pool = self._pools["media" if has_media(given) else "replies"]
        return self._worded(*await pool.run(partial(self._chats.reply, given)))

    async def in_words(self, user_id: str, language: str) -> dict[str, Any]:
        return await self._pools["chats"].run(partial(self._service.interests.in_words, user_id, language))

    async def _worded(self, reply: Reply, stored: StoredConversation) -> Pieces:
        pool, sentences, said = self._pools["chats"], self._chats.worded(reply), list[str]()
        is_done = False
        try:
            while (sentence := await pool.run(partial(next, sentences, None))) is not None:
                said.append(sentence)
                yield sentence
            is_done = True
            yield self._chats.answer(reply, stored, " ".join(said))
        finally:
            if (
                not is_done
            ):  # a client that went away: the engine stops, once the sentence that it may be writing there is written
                with suppress(OverloadedError):
                    pool.begin(sentences.close)
