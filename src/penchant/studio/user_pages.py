"""Routes of one user's page.

In: a browser's requests about a user. Out: the page, and the same page after a change: of a copy in look-only mode, of the user in acting mode,
where each change can be undone. No GET stores anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Response
from pydantic import BaseModel, Field

from penchant.core.errors import DataError, NotFoundError
from penchant.recommender.lists import Id
from penchant.recommender.lookup import ITEM
from penchant.service.schemas import EditIn, EventNameIn, Name
from penchant.service.times import moment_of
from penchant.studio import charts, heats, users
from penchant.studio.cards import card
from penchant.studio.item_map import ItemMapCache
from penchant.studio.page_context import ChangedOnPage, Context, PageContext
from penchant.studio.rendering import render
from penchant.studio.steps import (
    MAX_STEPS,
    Mode,
    Step,
    copied_edits,
    copied_events,
    edit_back,
    edit_step,
    event_step,
    read_steps,
    sent_event,
)

MAX_STATE = 40_000
"""Characters of a page's own state."""
Kind = Literal["click", "view", "like", "purchase", "dislike", "skip"]
UserId = Annotated[Id, Query(alias="id")]


class PageState(BaseModel):
    """What a user's page sends with each change.

    Attributes:
        user_id: The user.
        mode: "look" changes a copy on the page, "act" the user.
        steps: What was done, as `steps.py` writes it.
        before: Ids of the list that is shown.
    """

    user_id: Id
    mode: Mode = "look"
    steps: Annotated[str, Field(max_length=MAX_STATE)] = "[]"
    before: Annotated[str, Field(max_length=100_000)] = "[]"

    @property
    def done(self) -> list[Step]:
        return read_steps(self.steps)


def add_user_pages(router: APIRouter, item_maps: ItemMapCache) -> None:
    """Add the routes of a user's page."""
    _add_views(router, item_maps)
    _add_changes(router, item_maps)


def _add_views(router: APIRouter, item_maps: ItemMapCache) -> None:
    @router.get("/studio/user")
    def user(
        context: Context,
        user_id: UserId,
        mode: Mode = "look",
        new: Annotated[bool, Query()] = False,
    ) -> Response:
        """Show one user; nothing is stored by looking, and nothing by clicks before `mode=act` was chosen."""
        context.require("personal", *(["write"] if mode == "act" else []))
        if not new and not context.service.personal_data.is_known(user_id):
            alike = users.nearest_users(context.service, context.service.snapshot, user_id)
            return render(context, "unknown_user", 404, user_id=user_id, alike=alike)
        return _user_page(context, item_maps, user_id, "user", mode=mode)

    @router.get("/studio/members")
    def members(
        context: Context, user_id: UserId, steps: Annotated[str, Query(max_length=MAX_STATE)] = "[]"
    ) -> Response:
        """Show the list of each member beside the history, for whoever builds the model."""
        context.require("read", "personal")
        shown, lists = users.member_lists(context.service, user_id, read_steps(steps))
        return render(context, "members", user=shown, lists=lists)

    @router.get("/studio/why")
    def why(
        context: Context,
        user_id: Annotated[Id, Query(alias="user")],
        item_id: Annotated[Id, Query(alias="item")],
        steps: Annotated[str, Query(max_length=MAX_STATE)] = "[]",
        counterfactual: Annotated[bool, Query()] = False,
        network: Annotated[Name | None, Query()] = None,
    ) -> Response:
        """Show the parts of one score, of the copy where there are steps on one; and what would have to be different, where it is asked for."""
        context.require("personal")
        done = read_steps(steps)
        snapshot, state = context.service.states.after(user_id, copied_events(user_id, done), copied_edits(done))
        recommender = snapshot.recommender
        found = recommender.explain(state.history, item_id).as_dict()
        parts = charts.steps_of(found, context.translate)
        return render(
            context,
            "why",
            user_id=user_id,
            item=card(recommender, recommender.lookup.row(item_id)),
            found=found,
            num_steps=len(done),
            state=steps,
            networks=recommender.networks,
            heat_channels=heats.offered(recommender, recommender.lookup.row(item_id)),
            inside=None if network is None else recommender.attribute(state.history, item_id, network),
            different=snapshot.counterfactual(state, item_id, users.LIST) if counterfactual else None,
            steps=parts,
            chart=charts.waterfall(parts, context.translate),
        )


def _add_changes(router: APIRouter, item_maps: ItemMapCache) -> None:
    @router.post("/studio/event", dependencies=[ChangedOnPage])
    def event(
        context: Context,
        page: Annotated[PageState, Form()],
        item_id: Annotated[Id, Form()],
        kind: Annotated[Kind, Form()] = "click",
    ) -> Response:
        step = event_step(item_id, kind)
        if page.mode == "act":
            context.require("write", "personal")
            stored = context.service.events.append([sent_event(page.user_id, step)])
            context.request.app.state.metrics.events.inc(stored.stored)
        return _changed(context, item_maps, page, [*page.done, step])

    @router.post("/studio/edit", dependencies=[ChangedOnPage])
    def edit(
        context: Context,
        page: Annotated[PageState, Form()],
        name: Annotated[Name, Form()],
        value: Annotated[Id, Form()],
        level: Annotated[int, Form(ge=-2, le=2)],
    ) -> Response:
        return _edited(context, item_maps, page, name, value, level)

    @router.post("/studio/interest", dependencies=[ChangedOnPage])
    def add_interest(
        context: Context,
        page: Annotated[PageState, Form()],
        wanted: Annotated[str, Form(min_length=3, max_length=600)],
    ) -> Response:
        """Add an interest chosen from the offered ones: `["name", "value"]`."""
        return _edited(context, item_maps, page, *_pair(wanted), 1)

    @router.post("/studio/delete", dependencies=[ChangedOnPage])
    def delete(
        context: Context,
        page: Annotated[PageState, Form()],
        item_id: Annotated[Id, Form()],
        at: Annotated[int, Form(ge=-(2**62), le=2**62)],
        kind: Annotated[Name, Form()],
    ) -> Response:
        """Delete one stored event of a user; what was written, shown or said in it cannot be brought back."""
        context.require("personal")
        if page.mode != "act":
            raise DataError(
                "In look-only mode nothing of a user is deleted.", where="mode", fix="choose to act as this user first"
            )
        held = [
            e for e in context.service.store.events(page.user_id) if (e.item_id, e.at, e.kind) == (item_id, at, kind)
        ]
        context.service.events.delete_event(page.user_id, EventNameIn(item_id=item_id, at=moment_of(at), kind=kind))
        step = Step(item=item_id, kind=kind, at=at, is_deletion=True, value=held[0].value if held else None)
        can_return = all(e.content is None for e in held)
        return _changed(context, item_maps, page, [*page.done, step] if can_return else page.done)

    @router.post("/studio/undo", dependencies=[ChangedOnPage])
    def undo(context: Context, page: Annotated[PageState, Form()]) -> Response:
        """Take the last change back: from the copy, or from the store."""
        *rest, last = page.done or [Step()]
        if page.mode == "act" and (last.item or last.name):
            context.require("write", "personal")
            if last.name:
                context.service.interests.edit(page.user_id, [edit_back(last)], None)
            elif last.is_deletion:
                again = event_step(last.item, last.kind)
                event = sent_event(page.user_id, again).model_copy(
                    update={"at": moment_of(last.at), "value": last.value}
                )
                context.service.events.append([event])
            else:
                context.service.events.delete_event(page.user_id, EventNameIn(event_id=last.event_id))
        return _changed(context, item_maps, page, rest)


def _user_page(
    context: PageContext,
    item_maps: ItemMapCache,
    user_id: str,
    template: str,
    before: list[str] | None = None,
    *,
    mode: Mode = "look",
    steps: Sequence[Step] = (),
) -> Response:
    context.require("read", "personal")
    item_map = item_maps.of(context.service.snapshot.recommender)
    shown = users.user_view(context.service, item_map, user_id, before or (), mode=mode, steps=steps)
    topics = context.service.snapshot.recommender.topics
    names = item_map.names(topics, context.translate.language) if item_map else ()
    chart = charts.interest_map(shown.map_rows, names, context.translate) if shown.map_rows is not None else None
    titles = context.service.snapshot.recommender.lookup
    last = shown.steps[-1] if shown.steps else None
    last_title = titles.titles[titles.items.index(last.item)] if last and last.item in titles.items else ""
    return render(
        context, template, user=shown, chart=chart, may_write=context.may("write"), last=last, last_title=last_title
    )


def _edited(
    context: PageContext, item_maps: ItemMapCache, page: PageState, name: str, value: str, level: int
) -> Response:
    """Edit an interest of the user or of their copy."""
    context.require("personal", *(["write"] if page.mode == "act" else []))
    lookup = context.service.snapshot.recommender.lookup
    if name == ITEM:
        lookup.row(value)
    else:
        lookup.rows_with(name, value)
    done = page.done
    step = edit_step(name, value, level, context.service.store.edits(page.user_id))
    if page.mode == "act":
        context.service.interests.edit(page.user_id, [EditIn(name=name, value=value, action=step.action)], None)
    elif level and done and (done[-1].name, done[-1].of) == (name, value):
        done = done[:-1]  # a slider on its way
    return _changed(context, item_maps, page, [*done, step])


def _changed(context: PageContext, item_maps: ItemMapCache, page: PageState, steps: Sequence[Step]) -> Response:
    """Answer a change: htmx gets the changed part, a browser without scripts the whole page."""
    is_part = "hx-request" in context.request.headers
    steps = steps[-MAX_STEPS:]
    return _user_page(
        context, item_maps, page.user_id, "_user" if is_part else "user", _ids(page.before), mode=page.mode, steps=steps
    )


def _ids(text: str) -> list[str]:
    """Return the ids of a JSON list; none of other text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [i for i in found if isinstance(i, str)] if isinstance(found, list) else []


def _pair(text: str) -> tuple[str, str]:
    found = _ids(text)
    if len(found) != 2:
        raise NotFoundError("There is no such interest.", where="wanted", fix="choose one from the list")
    return found[0], found[1]
