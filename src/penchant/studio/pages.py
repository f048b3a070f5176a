"""Routes of the studio.

In: a browser's requests. Out: pages, pieces of them for htmx, pictures and sounds. All answers come from the `Service` with the scopes of the
API; a change is taken only from the page itself.
"""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, FastAPI, File, Form, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from penchant.core.errors import MediaError, NotFoundError, PenchantError
from penchant.recommender.lists import Id, RankingOptions
from penchant.service.http_errors import STATUS, RefusedError
from penchant.service.schemas import EditIn, EventIn, MediaIn, Name, SearchIn
from penchant.service.service import Service
from penchant.studio import charts, items, model, operations, users
from penchant.studio.cards import card, cards
from penchant.studio.item_map import ItemMapCache
from penchant.studio.media import SIDES, MediaGallery
from penchant.studio.page_context import KEY, Asking, PageContext, from_page, set_cookie, visitor_of

HERE = Path(__file__).parent
SUGGESTED_PEOPLE, FOUND_PEOPLE, NEIGHBOURS, FOUND_ITEMS = 8, 20, 12, 24
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; frame-ancestors 'self'"
"""The report's styles are in the file itself; it may be shown inside our own page, and runs no script."""
Kind = Literal["click", "view", "like", "purchase", "dislike", "skip"]
UserId = Annotated[Id, Query(alias="id")]
ChangedOnPage = Depends(from_page)


class _Static(StaticFiles):
    """Our own files; a browser keeps them and asks whether they changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _Page(APIRoute):
    """Answers a failure with a page, where the API would answer with JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def page(request: Request) -> Response:
            try:
                return await answer(request)
            except (
                PenchantError,
                RequestValidationError,
                ValidationError,
                DBAPIError,
                sqlite3.Error,
                PoolTimeout,
            ) as error:
                return _failed(request, error)

        return page


class Studio:
    """What the pages share: drawings and shrunk pictures of the model that answers."""

    def __init__(self) -> None:
        self.atlases = ItemMapCache()
        self.gallery = MediaGallery()
        self.likeness = items.ItemSimilarity()
        self.watch = operations.DriftMonitor()


def add_studio(app: FastAPI) -> None:
    """Put the studio at `/` of an application whose state holds the service and its metrics."""
    router = APIRouter(route_class=_Page, include_in_schema=False)
    studio = Studio()
    _add_person(router, studio)
    _add_items(router, studio)
    _add_model(router, studio)
    _add_media(router, studio)
    _add_door(router)
    app.include_router(router)
    app.mount("/studio/static", _Static(directory=HERE / "static"), name="studio-static")


def _add_person(router: APIRouter, studio: Studio) -> None:
    @router.get("/")
    def home(asking: Asking) -> Response:
        asking.require("read")
        service = asking.service
        moment = service.now
        may_see = asking.may("personal")
        shown = users.some_people(service, moment, SUGGESTED_PEOPLE) if may_see else []
        popular = service.recommend(f"guest-{secrets.token_hex(8)}", RankingOptions(k=NEIGHBOURS))
        return _render(
            asking,
            "home",
            people=shown,
            may_see=may_see,
            popular=cards(moment.recommender, moment.recommender.lookup.rows([item.item_id for item in popular.items])),
            num_items=len(moment.recommender.lookup.items),
            num_users=len(moment.recommender.users),
            num_events=moment.recommender.histories.num_events,
            name=moment.recommender.facts.get("name", ""),
            guest=f"guest-{secrets.token_hex(3)}",
        )

    @router.get("/studio/people")
    def find(asking: Asking, q: Annotated[str, Query(max_length=200)] = "") -> Response:
        asking.require("personal")
        text = q.strip()
        found = users.find_people(asking.service, asking.service.now, text, FOUND_PEOPLE) if text else []
        return _render(asking, "_people", found=found, text=text)

    @router.get("/studio/person")
    def person(asking: Asking, user_id: UserId) -> Response:
        return _person(asking, studio, user_id, "person")

    @router.post("/studio/event", dependencies=[ChangedOnPage])
    def event(
        asking: Asking,
        user_id: Annotated[Id, Form()],
        item_id: Annotated[Id, Form()],
        kind: Annotated[Kind, Form()] = "click",
        before: Annotated[str, Form(max_length=100_000)] = "[]",
    ) -> Response:
        asking.require("write", "personal")
        stored = asking.service.append([EventIn(user_id=user_id, item_id=item_id, kind=kind)])
        metrics = asking.request.app.state.metrics
        metrics.events.inc(stored.stored)
        return _changed(asking, studio, user_id, before)

    @router.post("/studio/edit", dependencies=[ChangedOnPage])
    def edit(
        asking: Asking,
        user_id: Annotated[Id, Form()],
        name: Annotated[Name, Form()],
        value: Annotated[Id, Form()],
        level: Annotated[int, Form(ge=-2, le=2)],
        before: Annotated[str, Form(max_length=100_000)] = "[]",
    ) -> Response:
        asking.require("personal")
        asking.service.edit(user_id, [users.edit_of(name, value, level)], None)
        return _changed(asking, studio, user_id, before)

    @router.post("/studio/wish", dependencies=[ChangedOnPage])
    def wish(
        asking: Asking,
        user_id: Annotated[Id, Form()],
        wanted: Annotated[str, Form(min_length=3, max_length=600)],
        before: Annotated[str, Form(max_length=100_000)] = "[]",
    ) -> Response:
        """An interest chosen from the list of all: `["name", "value"]`."""
        asking.require("personal")
        name, value = _pair(wanted)
        asking.service.edit(user_id, [EditIn(name=name, value=value, action="more")], None)
        return _changed(asking, studio, user_id, before)

    @router.get("/studio/why")
    def why(
        asking: Asking, user_id: Annotated[Id, Query(alias="user")], item_id: Annotated[Id, Query(alias="item")]
    ) -> Response:
        asking.require("personal")
        found = asking.service.explain(user_id, item_id)
        recommender = asking.service.now.recommender
        steps = charts.steps_of(found, asking.translate)
        return _render(
            asking,
            "why",
            user_id=user_id,
            item=card(recommender, recommender.lookup.row(item_id)),
            found=found,
            steps=steps,
            chart=charts.waterfall(steps, asking.translate),
        )


def _add_items(router: APIRouter, studio: Studio) -> None:
    @router.get("/studio/item")
    def item(
        asking: Asking,
        item_id: Annotated[Id, Query(alias="id")],
        by: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        asking.require("read")
        service = asking.service
        alike = service.similar(item_id, NEIGHBOURS, by)
        moment = service.now
        row = moment.recommender.lookup.row(item_id)
        known = [found for found in alike.items if found.item_id in moment.recommender.lookup.items]
        rows = moment.recommender.lookup.rows([found.item_id for found in known])
        texts, facts = items.facts_of(moment.recommender, row)
        return _render(
            asking,
            "item",
            item=card(moment.recommender, row),
            is_withdrawn=not moment.available[row],
            texts=texts,
            facts=facts,
            by=alike.by,
            channels=moment.recommender.finder.names(),
            neighbours=list(zip(cards(moment.recommender, rows), [f.similarity for f in known], strict=True)),
            likeness=studio.likeness.of(moment.recommender, row, rows),
            likers=items.likers(service, moment, row, named=asking.may("personal")),
        )

    @router.get("/studio/search")
    def search(asking: Asking, words: Annotated[str, Query(max_length=2000)] = "") -> Response:
        asking.require("read")
        text = words.strip()
        if not text:
            return _render(asking, "search", text="", found=None, by="", looked_for="")
        return _found(asking, SearchIn(words=text, k=FOUND_ITEMS), text=text)

    @router.post("/studio/search", dependencies=[ChangedOnPage])
    def search_media(asking: Asking, file: Annotated[UploadFile, File()]) -> Response:
        """What was dropped is looked at and forgotten."""
        asking.require("read")
        media = MediaIn(data=base64.b64encode(file.file.read()).decode())
        modality = (file.content_type or "").partition("/")[0]
        if modality not in ("image", "audio"):
            raise MediaError(
                "This is neither a picture nor a sound.", where="file", fix="drop a JPEG, PNG, WAV, MP3 or FLAC"
            )
        wanted = SearchIn(image=media, k=FOUND_ITEMS) if modality == "image" else SearchIn(audio=media, k=FOUND_ITEMS)
        return _found(asking, wanted, looked_for=modality)


def _add_model(router: APIRouter, studio: Studio) -> None:
    @router.get("/studio/model")
    def show_model(asking: Asking) -> Response:
        asking.require("read")
        recommender = asking.service.now.recommender
        report = model.read_report(recommender)
        measured = model.measured(report, model.read_messages(recommender), asking.translate) if report else None
        facts = recommender.facts
        return _render(asking, "model", measured=measured, name=facts.get("name", ""), mark=recommender.mark)

    @router.get("/studio/report")
    def report(asking: Asking) -> Response:
        asking.require("read")
        headers = {"Content-Security-Policy": REPORT_POLICY, "X-Frame-Options": "SAMEORIGIN"}
        return HTMLResponse(model.report_page(asking.service.now.recommender), headers=headers)

    @router.get("/studio/operations")
    def show_operations(asking: Asking) -> Response:
        asking.require("read")
        drift = studio.watch.drift(asking.service)
        translate = asking.translate
        rows = [
            {"topic": topic, "when": when, "share": share}
            for topic, *shares in (drift.rows if drift else ())
            for when, share in zip((translate("learned from"), translate("since")), shares, strict=True)
        ]
        return _render(
            asking,
            "operations",
            drift=drift,
            shift=charts.shift(rows, translate),
            live=charts.live(translate),
            **_now(asking),
        )

    @router.get("/studio/now")
    def now(asking: Asking) -> Response:
        asking.require("read")
        return _render(asking, "_now", **_now(asking))


def _add_media(router: APIRouter, studio: Studio) -> None:
    @router.get("/studio/picture")
    def picture(
        asking: Asking, item_id: Annotated[Id, Query(alias="id")], size: Literal["small", "card", "large"] = "card"
    ) -> Response:
        asking.require("read")
        return Response(studio.gallery.picture(asking.service, item_id, size), media_type="image/jpeg", headers=_MEDIA)

    @router.get("/studio/sound")
    def sound(asking: Asking, item_id: Annotated[Id, Query(alias="id")]) -> Response:
        asking.require("read")
        path, kind = studio.gallery.sound(asking.service, item_id)
        return FileResponse(path, media_type=kind, headers=_MEDIA)


_MEDIA = {"Cache-Control": "private, max-age=600", "Content-Security-Policy": "default-src 'none'"}


def _add_door(router: APIRouter) -> None:
    @router.post("/studio/key", dependencies=[ChangedOnPage])
    def enter(
        request: Request,
        key: Annotated[str, Form(min_length=1, max_length=200)],
        to: Annotated[str, Form(max_length=2000)] = "/",
    ) -> Response:
        """Keep a key in a cookie, once it is seen to be one."""
        service: Service = request.app.state.service
        try:
            service.keyring.check(f"Bearer {key.strip()}", "read")
        except RefusedError as error:
            if error.status != 403:  # a key without this scope is a key
                raise
        response = RedirectResponse(_inside(to), 303)
        set_cookie(request, response, KEY, key.strip(), None)
        return response

    @router.post("/studio/leave", dependencies=[ChangedOnPage])
    def leave() -> Response:
        response = RedirectResponse("/", 303)
        response.delete_cookie(KEY, path="/", httponly=True, samesite="strict")
        return response


def _person(
    asking: PageContext, studio: Studio, user_id: str, template: str, before: list[str] | None = None
) -> Response:
    asking.require("read", "personal")
    atlas = studio.atlases.of(asking.service.now.recommender)
    shown = users.portrait(asking.service, atlas, user_id, before or ())
    names = atlas.names if atlas else ()
    chart = charts.interest_map(shown.map_rows, names, asking.translate) if shown.map_rows is not None else None
    return _render(asking, template, person=shown, chart=chart, may_write=asking.may("write"))


def _changed(asking: PageContext, studio: Studio, user_id: str, before: str) -> Response:
    """Answer a change: htmx takes the piece that changed, a browser without scripts is sent back to the page."""
    if "hx-request" not in asking.request.headers:
        return RedirectResponse(f"/studio/person?id={quote(user_id, safe='')}", 303)
    return _person(asking, studio, user_id, "_person", _ids(before))


def _ids(text: str) -> list[str]:
    """Return the list that was on the screen; what is none is no list."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [i for i in found if isinstance(i, str)] if isinstance(found, list) else []


def _pair(text: str) -> tuple[str, str]:
    found = _ids(text)
    if len(found) != 2:
        raise NotFoundError("There is no such interest.", where="wanted", fix="choose one from the list")
    return found[0], found[1]


def _found(asking: PageContext, wanted: SearchIn, text: str = "", looked_for: str = "") -> Response:
    found = asking.service.search(wanted)
    recommender = asking.service.now.recommender
    known = [item for item in found.items if item.item_id in recommender.lookup.items]
    shown = cards(recommender, recommender.lookup.rows([item.item_id for item in known]))
    pairs = list(zip(shown, [item.similarity for item in known], strict=True))
    return _render(asking, "search", text=text, found=pairs, by=found.by, looked_for=looked_for)


def _now(asking: PageContext) -> dict[str, Any]:
    recommender = asking.service.now.recommender
    figures = operations.count(asking.service, asking.request.app.state.metrics)
    return {
        "figures": figures,
        "sample": operations.as_tiles(figures),
        "mark": recommender.mark,
        "num_items": len(recommender.lookup.items),
        "num_grown": len(recommender.added),
        "num_users": len(recommender.users),
        "versions": recommender.facts.get("versions", {}),
        "name": recommender.facts.get("name", ""),
        "store": "SQLite" if asking.service.store.is_sqlite else "PostgreSQL",
    }


def _inside(address: str) -> str:
    """Return an address of this page alone: nobody is sent elsewhere by a link somebody made."""
    parts = urlsplit(address)
    is_ours = (
        not parts.scheme and not parts.netloc and address.startswith("/") and not address.startswith(("//", "/\\"))
    )
    return address if is_ours and "\\" not in address and address.isprintable() else "/"


def _failed(request: Request, error: Exception) -> Response:
    """Return what is wrong, where, and how to mend it, as a page; the door where a key is missing."""
    asking = visitor_of(request)
    if isinstance(error, PenchantError):
        status = getattr(error, "status", None) or next((STATUS[k] for k in type(error).__mro__ if k in STATUS), 500)
        said = (error.message, error.where, error.fix)
    elif isinstance(error, RequestValidationError | ValidationError):
        first = error.errors()[0]
        status, said = (
            422,
            (str(first["msg"]), ".".join(str(p) for p in first["loc"]), asking.translate("check the address")),
        )
    else:
        status, said = (
            503,
            (
                asking.translate("The store does not answer; nothing was changed."),
                asking.translate("Store"),
                asking.translate("try again in a moment"),
            ),
        )
    is_piece = "hx-request" in request.headers
    template = "_problem" if is_piece else "door" if status == 401 else "problem"
    to = _inside(f"{request.url.path}?{request.url.query}" if request.method == "GET" else "/")
    response = _render(asking, template, status, said=said, to=to, problem_status=status)
    if is_piece:  # the page stays, and says it
        response.headers.update({"HX-Retarget": "#news", "HX-Reswap": "innerHTML"})
    response.headers.update(
        {k.replace("_", "-"): v for k, v in getattr(error, "headers", {}).items() if k != "WWW_Authenticate"}
    )
    return response


def _render(asking: PageContext, template: str, status: int = 200, **values: Any) -> Response:
    text = _templates.get_template(f"{template}.html.jinja").render(
        _=asking.translate, theme=asking.theme, asking=asking, path=asking.request.url.path, sides=SIDES, **values
    )
    response = HTMLResponse(text, status, headers=_HEADERS)
    asking.remember(response)
    return response


_HEADERS = {"Vary": "Cookie, Accept-Language", "Referrer-Policy": "same-origin"}
"""With no referrer at all a browser hides the origin of a form, and the page could not tell its own from another's."""


def _with(request: Request, **parameters: str) -> str:
    """Return the address of the page that is shown, with some parameters changed."""
    url = request.url if request.method == "GET" else request.url.replace(query="")
    changed = url.include_query_params(**parameters)
    return f"{changed.path}?{changed.query}"


def _make_templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["q"] = lambda text: quote(str(text), safe="")
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False, default=float)
    environment.filters["count"] = lambda number: f"{number:,.0f}"
    environment.globals["address_with"] = _with
    return environment


_templates = _make_templates()
