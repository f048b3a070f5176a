"""Who answers chats and words profiles: this process, or the process beside it (`talk_process.py`).

In: a message, or a user. Out: the answer, sentence by sentence; the profile in words.
"""

from __future__ import annotations

import threading
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

PAUSE_SECONDS = 0.2
"""Between two looks whether no chat runs any more."""
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
        self._due: set[tuple[str, str]] = set()
        self._closing = threading.Event()

    async def begin(self, given: ChatIn) -> Pieces:
        pool = self._pools["media" if has_media(given) else "replies"]
        return self._worded(*await pool.run(partial(self._chats.reply, given)))

    async def in_words(self, user_id: str, language: str) -> dict[str, Any]:
        pool = self._pools["chats"]
        shown, is_due = await pool.run(partial(self._service.written_profiles.of, user_id, language))
        if is_due and (user_id, language) not in self._due:
            self._due.add((user_id, language))
            try:
                self._pools["profiles"].begin(partial(self._rewrite, user_id, language))
            except OverloadedError:  # the next reader asks again
                self._due.discard((user_id, language))
        return shown

    async def close(self) -> None:
        self._closing.set()

    def _rewrite(self, user_id: str, language: str) -> None:
        """Write a profile again while nobody talks."""
        chats, closing = self._pools["chats"], self._closing
        is_done = False
        try:
            while not is_done and not closing.is_set():
                if chats.is_busy:
                    closing.wait(PAUSE_SECONDS)
                    continue
                is_done = self._service.written_profiles.rewrite(
                    user_id, language, lambda: chats.is_busy or closing.is_set()
                )
        finally:
            self._due.discard((user_id, language))

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
