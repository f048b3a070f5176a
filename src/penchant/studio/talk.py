"""The page where a user talks with the assistant, and reads their profile in words.

In: a user's message. Out: the next turn of the conversation, as part of the page.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from penchant.recommender.lists import Id
from penchant.recommender.recommender import Recommender
from penchant.service.chat import Chats
from penchant.service.schemas import CardOut, ChatIn, Name
from penchant.studio.cards import ItemCard, card
from penchant.studio.page_context import ChangedOnPage, Context
from penchant.studio.rendering import render
from penchant.studio.users import nearest_users

LENGTH = 6
"""Items of one answer."""


def add_talk(router: APIRouter) -> None:
    """Add the page and its parts to the studio."""

    @router.get("/studio/talk")
    def talk(
        context: Context, user_id: Annotated[Id, Query(alias="id")], new: Annotated[bool, Query()] = False
    ) -> Response:
        context.require("personal")
        if not new and not context.service.personal_data.is_known(user_id):
            alike = nearest_users(context.service, context.service.snapshot, user_id)
            return render(context, "unknown_user", 404, user_id=user_id, alike=alike)
        written = context.service.interests.in_words(user_id, context.translate.language)
        return render(context, "talk", user_id=user_id, written=written)

    @router.post("/studio/talk", dependencies=[ChangedOnPage])
    def say(
        context: Context,
        user_id: Annotated[Id, Form()],
        message: Annotated[str, Form(max_length=2000)],
        conversation_id: Annotated[Name | None, Form()] = None,
    ) -> Response:
        context.require("personal")
        chats: Chats = context.request.app.state.chats
        given = ChatIn(user_id=user_id, message=message, conversation_id=conversation_id or None, k=LENGTH)
        reply, stored = chats.reply(given)
        answer = chats.answer(reply, stored, " ".join(chats.worded(reply)))
        found = _cards(context.service.snapshot.recommender, answer.items)
        return render(context, "_turn", user_id=user_id, message=message, answer=answer, found=found)


def _cards(recommender: Recommender, items: list[CardOut]) -> list[tuple[ItemCard, list[str]]]:
    """Return the card of each item with the item's reasons."""
    return [(card(recommender, recommender.lookup.row(item.item_id)), item.reasons) for item in items]
