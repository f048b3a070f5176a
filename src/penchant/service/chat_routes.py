"""The assistant over HTTP.

In: a user's message. Out: the answer as JSON, or its sentences as server-sent events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import Body, FastAPI, Header, Request, Response
from fastapi.responses import StreamingResponse

from penchant.core.errors import PenchantError
from penchant.service.dependencies import allowed, service_of
from penchant.service.http_errors import problem_response, unexpected_response
from penchant.service.schemas import ChatIn, ChatOut
from penchant.service.talk import Pieces, Talk

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
        service_of(request).talk_limits.check_length(given.message or "")
        talk: Talk = request.app.state.talk
        if EVENT_STREAM in (accept or ""):
            return StreamingResponse(_chat_events(request, await talk.begin(given)), media_type=EVENT_STREAM)
        answer = await talk.answer(given)
        return Response(answer.model_dump_json(), media_type="application/json")


async def _chat_events(request: Request, pieces: Pieces) -> AsyncIterator[bytes]:
    """Yield server-sent events: `sentence` for each sentence once it is checked, then `answer` with the whole answer, or `error` with what broke it off."""
    async with aclosing(pieces):  # a client that went away: the engine stops
        try:
            async for piece in pieces:
                if isinstance(piece, ChatOut):
                    yield _event("answer", piece.model_dump_json())
                else:
                    yield _event("sentence", json.dumps({"text": piece}, ensure_ascii=False))
        except PenchantError as error:  # the status is sent already
            yield _event("error", bytes(problem_response(request, error).body).decode())
        except Exception as error:
            yield _event("error", bytes(unexpected_response(request, error).body).decode())


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


_CHAT_EXAMPLES: Any = {
    "a request": {"value": {"user_id": "u1", "message": "something like the last one, but cheaper"}},
    "a statement": {"value": {"user_id": "u1", "message": "I no longer like thrillers"}},
    "in Chinese": {"value": {"user_id": "u1", "message": "不要恐怖的，来点喜剧"}},
}
