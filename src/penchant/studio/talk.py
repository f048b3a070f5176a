"""The page where a user talks with the assistant, and reads their profile in words.

In: a user's message. Out: the next turn of the conversation, as part of the page.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Response
from starlette.concurrency import run_in_threadpool

from penchant.language.screen import MAX_MESSAGE
from penchant.recommender.lists import Id
from penchant.recommender.recommender import Recommender
from penchant.service.schemas import CardOut, ChatIn, ChatOut, Name
from penchant.service.talk import Talk
from penchant.studio.cards import ItemCard, card
from penchant.studio.page_context import ChangedOnPage, Context, PageContext
from penchant.studio.rendering import render
from penchant.studio.users import nearest_users

LENGTH = 6
"""Items of one answer."""


def add_talk(router: APIRouter) -> None:
    """Add the page and its parts to the studio."""

    @router.get("/studio/talk")
    async def talk(
        context: Context, user_id: Annotated[Id, Query(alias="id")], new: Annotated[bool, Query()] = False
    ) -> Response:
        context.require_talk()
        unknown = None if new else await run_in_threadpool(_unknown, context, user_id)
        if unknown is not None:
            return unknown
        written = await _talk_of(context).in_words(user_id, context.translate.language)
        longest = context.service.config.language.limits.max_characters
        return await run_in_threadpool(render, context, "talk", user_id=user_id, written=written, longest=longest)

    @router.post("/studio/talk", dependencies=[ChangedOnPage])
    async def say(
        context: Context,
        user_id: Annotated[Id, Form()],
        message: Annotated[str, Form(max_length=MAX_MESSAGE)],
        conversation_id: Annotated[Name | None, Form()] = None,
    ) -> Response:
        context.require_talk()
        context.service.talk_limits.check_length(message)
        given = ChatIn(user_id=user_id, message=message, conversation_id=conversation_id or None, k=LENGTH)
        answer = await _talk_of(context).answer(given)
        return await run_in_threadpool(_turn, context, user_id, message, answer)


def _talk_of(context: PageContext) -> Talk:
    found: Talk = context.request.app.state.talk
    return found


def _unknown(context: PageContext, user_id: str) -> Response | None:
    """Return the page about an id that nobody has; None where it is a user's."""
    if context.service.personal_data.is_known(user_id):
        return None
    alike = nearest_users(context.service, context.service.snapshot, user_id)
    return render(context, "unknown_user", 404, user_id=user_id, alike=alike)


def _turn(context: PageContext, user_id: str, message: str, answer: ChatOut) -> Response:
    """Return one turn of the conversation as a part of the page."""
    found = _cards(context.service.snapshot.recommender, answer.items)
    longest = context.service.config.language.limits.max_characters
    return render(context, "_turn", user_id=user_id, message=message, answer=answer, found=found, longest=longest)


def _cards(recommender: Recommender, items: list[CardOut]) -> list[tuple[ItemCard, list[str]]]:
    """Return the card of each item with the item's reasons."""
    return [(card(recommender, recommender.lookup.row(item.item_id)), item.reasons) for item in items]
