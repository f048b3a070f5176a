"""Conversations over HTTP.

In: a user's message, and the id of a conversation. Out: the assistant's reply; the conversation is in the store, with the edits that the user confirmed.

A conversation is the user's data: it is exported and erased with them. Its state is read again at each message, so that any process may answer.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Generator
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from penchant.assistant.dialogue import Assistant, Conversation, Reply
from penchant.assistant.files import SpokenWords, items_like
from penchant.assistant.wording import AnswerWriter
from penchant.core.errors import NotFoundError
from penchant.recommender.recommender import Recommender
from penchant.service.schemas import CardOut, ChatIn, ChatOut, QuestionOut, has_media
from penchant.service.service import Service
from penchant.service.store import StoredConversation

MAX_TURNS = 40
"""Messages of a conversation that are kept; what stands of older ones is in its state."""
MAX_CONVERSATIONS = 50
"""Of one user; the oldest ones go."""
_STATE = TypeAdapter(Conversation)


class Chats:
    """Answers messages of a service's users.

    Args:
        service: With the recommender, the store and the engine.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._made: tuple[Recommender, Assistant] | None = None
        self._spoken = SpokenWords(service.config.speech)

    def reply(self, given: ChatIn) -> tuple[Reply, StoredConversation]:
        """Answer one message, store the conversation, and store the edits that were confirmed.

        Raises:
            RefusedError: The words of a spoken message are too many.
            NotFoundError: There is no such conversation of this user.
            ConflictError: The conversation was changed or erased meanwhile.
            MediaError: A file cannot be read.
        """
        service = self._service
        held, conversation = self._held(given)
        snapshot, state = service.states.one(given.user_id)
        assistant = self._assistant(snapshot.recommender)
        words, like = self._content(given)
        service.talk_limits.check_length(words)
        reply = assistant.reply(
            words,
            state.history,
            conversation=conversation,
            edits=state.edits,
            available=snapshot.available,
            k=given.k,
            like=like,
        )
        turns = [
            *json.loads(held.turns),
            {"role": "user", "text": words},
            {"role": "assistant", "text": service.screen.masked(reply.text)},
        ]
        after = _STATE.dump_json(reply.conversation).decode()
        body = json.dumps(turns[-MAX_TURNS:], ensure_ascii=False)
        stored = service.store.put_conversation(held, body, after, most=MAX_CONVERSATIONS)
        if reply.confirmed:
            service.store.edit(given.user_id, list(reply.confirmed))
        return reply, stored

    def worded(self, reply: Reply) -> Generator[str, None, None]:
        """Yield the sentences of a reply, by the engine where there is one that may know what users do."""
        service = self._service
        writer = AnswerWriter(service.snapshot.recommender, service.engine_for_personal_data, service.screen)
        yield from writer.sentences(reply)

    def answer(self, reply: Reply, stored: StoredConversation, text: str) -> ChatOut:
        """Return the whole answer as the API shows it."""
        items = reply.items.items if reply.items is not None else ()
        question, masked = reply.question, self._service.screen.masked
        return ChatOut(
            conversation_id=stored.conversation_id,
            text=text,
            items=[
                CardOut(item_id=i.item_id, title=i.title, rank=i.rank, reasons=[masked(r) for r in i.reasons])
                for i in items
            ],
            question=None if question is None else QuestionOut(name=question.name, values=list(question.values)),
            proposed=[asdict(edit) for edit in reply.proposed],
            confirmed=[asdict(edit) for edit in reply.confirmed],
            understood=_shown_query(reply),
        )

    def _held(self, given: ChatIn) -> tuple[StoredConversation, Conversation | None]:
        if given.conversation_id is None:
            return StoredConversation(given.user_id, secrets.token_hex(16)), None
        found = self._service.store.conversations(given.user_id, given.conversation_id)
        if not found:
            raise NotFoundError(
                "This user has no such conversation.",
                where="conversation_id",
                fix="leave it out to begin another one",
            )
        try:
            return found[0], _STATE.validate_json(found[0].state)
        except ValidationError:  # of another version of Penchant: the turns stay, the wishes are asked for again
            return found[0], None

    def _assistant(self, recommender: Recommender) -> Assistant:
        """Return the assistant of a recommender; it is made once for each catalog."""
        with self._lock:
            if self._made is None or self._made[0] is not recommender:
                before = self._made
                is_same = (
                    before is not None and before[0].lookup is recommender.lookup
                )  # newer events, the same catalog
                self._made = (recommender, before[1].of(recommender) if before and is_same else Assistant(recommender))
            return self._made[1]

    def _content(self, given: ChatIn) -> tuple[str, list[str]]:
        """Return the message's words, spoken ones included, and the items that a picture is like; nothing of the files is kept."""
        words = given.message or ""
        like: list[str] = []
        service = self._service
        if not has_media(given):
            return words, like
        with service.scratch.temporary() as folder:
            uploads = service.uploads.within(folder)
            if given.image is not None:
                file = uploads.folder / uploads.keep(given.image, where="image")
                snapshot = service.snapshot
                with uploads.named("image"):
                    like = items_like(snapshot.recommender, file, service.config.media, snapshot.available)
            if given.audio is not None:
                file = uploads.folder / uploads.keep(given.audio, where="audio")
                with uploads.named("audio"):
                    words = f"{words} {self._spoken(file, service.config.media)}".strip()
        return words, like


def _shown_query(reply: Reply) -> dict[str, Any]:
    """Return how the wishes so far were understood; what says nothing is left out."""
    query = reply.query
    shown = {
        "wanted": [asdict(facet) for facet in query.wanted],
        "unwanted": [asdict(facet) for facet in query.unwanted],
        "at_least": query.at_least,
        "at_most": query.at_most,
        "like": list(query.like),
        "unlike": list(query.unlike),
        "words": query.words,
        "not_understood": list(query.unknown),
    }
    return {name: value for name, value in shown.items() if value}
