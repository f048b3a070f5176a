"""The assistant over HTTP.

In: a user's message. Out: the answer as JSON, or its sentences as server-sent events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import Body, FastAPI, Header, Request, Response
from fastapi.responses import StreamingResponse

from penchant.assistant.dialogue import Reply
from penchant.service.chat import Chats
from penchant.service.dependencies import allowed
from penchant.service.pools import WorkPool, WorkPools
from penchant.service.schemas import ChatIn, ChatOut, has_media
from penchant.service.store import StoredConversation

EVENT_STREAM = "text/event-stream"


def add_chat_routes(app: FastAPI) -> None:
    """Add the routes of the assistant."""

    @app.post(
        "/v1/chat",
        tags=["users"],
        dependencies=[allowed("personal", talks=True)],
        response_model=ChatOut,
        responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
    )
    async def chat(
        request: Request,
        given: Annotated[ChatIn, Body(openapi_examples=_CHAT_EXAMPLES)],
        accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Response:
        """Answer a message with a list, a question or a proposed edit; `Accept: text/event-stream` sends the text sentence by sentence."""
        pools: WorkPools = request.app.state.pools
        chats: Chats = request.app.state.chats
        reply, stored = await pools["media" if has_media(given) else "replies"].run(partial(chats.reply, given))
        if EVENT_STREAM in (accept or ""):
            return StreamingResponse(_chat_events(pools["chats"], chats, reply, stored), media_type=EVENT_STREAM)
        text = await pools["chats"].run(lambda: " ".join(chats.worded(reply)))
        return Response(chats.answer(reply, stored, text).model_dump_json(), media_type="application/json")


async def _chat_events(pool: WorkPool, chats: Chats, reply: Reply, stored: StoredConversation) -> AsyncIterator[bytes]:
    """Yield server-sent events: `sentence` for each sentence once it is checked, then `answer` with the whole answer."""
    sentences = chats.worded(reply)
    said: list[str] = []
    try:
        while (sentence := await pool.run(partial(next, sentences, None))) is not None:
            said.append(sentence)
            yield _event("sentence", json.dumps({"text": sentence}, ensure_ascii=False))
        yield _event("answer", chats.answer(reply, stored, " ".join(said)).model_dump_json())
    finally:
        sentences.close()  # a client that went away: the engine stops


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


_CHAT_EXAMPLES: Any = {
    "a request": {"value": {"user_id": "u1", "message": "something like the last one, but cheaper"}},
    "a statement": {"value": {"user_id": "u1", "message": "I no longer like thrillers"}},
    "in Chinese": {"value": {"user_id": "u1", "message": "不要恐怖的，来点喜剧"}},
}
