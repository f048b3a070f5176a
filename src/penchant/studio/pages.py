"""Routes of the studio.

In: a browser's requests. Out: pages, parts of them for htmx, images and audio. All answers come from the `Service` with the scopes of the
API; a change is taken only from the page itself.
"""

from __future__ import annotations

import base64
import secrets
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, File, Form, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from penchant.core.error_translations import translated_parts, translated_text
from penchant.core.errors import MediaError, NotFoundError, PenchantError
from penchant.recommender.lists import Id, RankingOptions
from penchant.reporting.labels import metric_label
from penchant.reporting.number_format import interval
from penchant.reporting.run_comparison import compare_runs
from penchant.reporting.written import WrittenReport
from penchant.service.alarms import AlarmLog
from penchant.service.http_errors import RefusedError, status_of
from penchant.service.schemas import MediaIn, Name, SearchIn
from penchant.service.service import Service
from penchant.studio import charts, heats, items, model, operations, users
from penchant.studio.cards import card, cards
from penchant.studio.item_map import ItemMapCache
from penchant.studio.media import MediaGallery
from penchant.studio.page_context import KEY, ChangedOnPage, Context, PageContext, page_context, set_cookie
from penchant.studio.rendering import HERE, render
from penchant.studio.talk import add_talk
from penchant.studio.tasks import add_tasks
from penchant.studio.trials import add_trial
from penchant.studio.user_pages import add_user_pages
from penchant.studio.versions import add_versions

SAMPLE_USERS, FOUND_USERS, NEIGHBOURS, FOUND_ITEMS = 8, 20, 12, 24
SHOWN_ALARMS = 10
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; frame-ancestors 'self'"
"""The report's styles are in the file itself; our own page may embed it, and it runs no script."""


class _Static(StaticFiles):
    """Static files that a browser caches and revalidates."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _Page(APIRoute):
    """Answers an error with a page, where the API would answer with JSON."""

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
                return _error_page(request, error)

        return page


class Studio:
    """Caches that the pages share."""

    def __init__(self) -> None:
        self.item_maps = ItemMapCache()
        self.media = MediaGallery()
        self.similarity = items.ItemSimilarity()
        self.drift_monitor = operations.DriftMonitor()


def add_studio(app: FastAPI) -> None:
    """Put the studio at `/` of an application whose state holds the service and its metrics."""
    router = APIRouter(route_class=_Page, include_in_schema=False)
    studio = Studio()
    _add_home(router)
    add_user_pages(router, studio.item_maps)
    _add_items(router, studio)
    _add_model(router, studio)
    _add_media(router, studio)
    add_talk(router)
    add_tasks(router)
    add_trial(router)
    add_versions(router)
    _add_sign_in(router)
    app.include_router(router)
    app.mount("/studio/static", _Static(directory=HERE / "static"), name="studio-static")


def _add_home(router: APIRouter) -> None:
    @router.get("/")
    def home(context: Context) -> Response:
        context.require("read")
        service = context.service
        snapshot = service.snapshot
        may_see = context.may("personal")
        shown = users.sample_users(snapshot, SAMPLE_USERS) if may_see else []
        popular = service.lists.recommend(f"guest-{secrets.token_hex(8)}", RankingOptions(k=NEIGHBOURS))
        return render(
            context,
            "home",
            users=shown,
            may_see=may_see,
            quality=model.quality(model.read_report(snapshot.recommender), context.translate),
            popular=cards(
                snapshot.recommender, snapshot.recommender.lookup.rows([item.item_id for item in popular.items])
            ),
            num_items=len(snapshot.recommender.lookup.items),
            num_users=len(snapshot.recommender.users),
            num_events=snapshot.recommender.histories.num_events,
            name=snapshot.recommender.facts.get("name", ""),
            guest=f"guest-{secrets.token_hex(3)}",
        )

    @router.get("/studio/users")
    def find(context: Context, q: Annotated[str, Query(max_length=200)] = "") -> Response:
        context.require("personal")
        text = q.strip()
        found = users.find_users(context.service, context.service.snapshot, text, FOUND_USERS) if text else []
        return render(context, "_users", found=found, text=text)


def _add_items(router: APIRouter, studio: Studio) -> None:
    @router.get("/studio/item")
    def item(
        context: Context,
        item_id: Annotated[Id, Query(alias="id")],
        by: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        context.require("read")
        service = context.service
        alike = service.items.similar(item_id, NEIGHBOURS, by)
        snapshot = service.snapshot
        row = snapshot.recommender.lookup.row(item_id)
        known = [found for found in alike.items if found.item_id in snapshot.recommender.lookup.items]
        rows = snapshot.recommender.lookup.rows([found.item_id for found in known])
        texts, facts = items.facts_of(snapshot.recommender, row)
        return render(
            context,
            "item",
            item=card(snapshot.recommender, row),
            is_withdrawn=not snapshot.available[row],
            texts=texts,
            facts=facts,
            by=alike.by,
            channels=snapshot.recommender.finder.names(),
            neighbours=list(zip(cards(snapshot.recommender, rows), [f.similarity for f in known], strict=True)),
            similarities=studio.similarity.of(snapshot.recommender, row, rows),
            heat_channels=heats.offered(snapshot.recommender, row),
            likers=items.likers(snapshot, row, named=context.may("personal")),
        )

    @router.get("/studio/search")
    def search(context: Context, words: Annotated[str, Query(max_length=2000)] = "") -> Response:
        context.require("read")
        text = words.strip()
        if not text:
            return render(context, "search", text="", found=None, by="", looked_for="")
        return _search_page(context, SearchIn(words=text, k=FOUND_ITEMS), text=text)

    @router.post("/studio/search", dependencies=[ChangedOnPage])
    def search_media(context: Context, file: Annotated[UploadFile, File()]) -> Response:
        """Search by an uploaded file, which is not kept."""
        context.require("read")
        media = MediaIn(data=base64.b64encode(file.file.read()).decode())
        modality = (file.content_type or "").partition("/")[0]
        if modality not in ("image", "audio"):
            raise MediaError(
                "This is neither an image nor audio.", where="file", fix="drop a JPEG, PNG, WAV, MP3 or FLAC"
            )
        wanted = SearchIn(image=media, k=FOUND_ITEMS) if modality == "image" else SearchIn(audio=media, k=FOUND_ITEMS)
        pool = context.request.app.state.pools["media"]
        page: Response = pool.call(lambda: _search_page(context, wanted, looked_for=modality))
        return page


def _add_model(router: APIRouter, studio: Studio) -> None:
    @router.get("/studio/model")
    def show_model(context: Context) -> Response:
        context.require("read")
        recommender = context.service.snapshot.recommender
        report = model.read_report(recommender)
        measured = model.measured(report, model.read_messages(recommender), context.translate) if report else None
        facts = recommender.facts
        return render(
            context,
            "model",
            measured=measured,
            name=facts.get("name", ""),
            mark=recommender.mark,
            quality=model.quality(report, context.translate),
            others=[folder.name for folder in context.service.config.compare],
        )

    @router.get("/studio/compare")
    def compare(context: Context, other: Annotated[int, Query(alias="with", ge=0)] = 0) -> Response:
        """Show the served bundle beside another one that the service was started with."""
        context.require("read")
        folders = context.service.config.compare
        if other >= len(folders):
            raise NotFoundError(
                "There is no such bundle to compare with.",
                where="with",
                fix="start the service with `penchant serve BUNDLE --compare OTHER`",
            )
        own = WrittenReport.beside(context.service.snapshot.recommender.folder)
        found = compare_runs(own, WrittenReport.beside(folders[other]), context.translate)
        names = found.names if len(set(found.names)) > 1 else (found.names[0], folders[other].name)
        rows = [
            (metric_label(context.translate, p.metric), *map(interval, p.scores), found.said(p, context.translate))
            for p in found.metrics
        ]
        others = [folder.name for folder in folders]
        return render(context, "compare", names=names, rows=rows, found=found, other=other, others=others)

    @router.get("/studio/report")
    def report(context: Context) -> Response:
        context.require("read")
        headers = {"Content-Security-Policy": REPORT_POLICY, "X-Frame-Options": "SAMEORIGIN"}
        recommender = context.service.snapshot.recommender
        page = model.report_page(recommender, with_examples=context.may("personal"))
        return HTMLResponse(page, headers=headers)

    @router.get("/studio/operations")
    def show_operations(context: Context) -> Response:
        context.require("read")
        drift = studio.drift_monitor.drift(context.service)
        translate = context.translate
        rows = [
            {"topic": context.value_of("topic", topic), "when": when, "share": share}
            for topic, *shares in (drift.rows if drift else ())
            for when, share in zip((translate("learned from"), translate("since")), shares, strict=True)
        ]
        return render(
            context,
            "operations",
            drift=drift,
            alarms=operations.shown_alarms(context, AlarmLog(context.service.store).newest(SHOWN_ALARMS)),
            is_watched=context.service.config.alarms is not None,
            shift=charts.shift(rows, translate),
            live=charts.live(translate),
            **_figures(context),
        )

    @router.get("/studio/snapshot")
    def snapshot(context: Context) -> Response:
        context.require("read")
        return render(context, "_snapshot", **_figures(context))


def _add_media(router: APIRouter, studio: Studio) -> None:
    @router.get("/studio/picture")
    def picture(
        context: Context, item_id: Annotated[Id, Query(alias="id")], size: Literal["small", "card", "large"] = "card"
    ) -> Response:
        context.require("read")
        return Response(studio.media.picture(context.service, item_id, size), media_type="image/jpeg", headers=_MEDIA)

    @router.get("/studio/heat")
    def heat(
        context: Context,
        item_id: Annotated[Id, Query(alias="item")],
        channel: Annotated[Name, Query()],
        user_id: Annotated[Id | None, Query(alias="user")] = None,
    ) -> Response:
        """Show what in an item's content adds to its score for a user, or makes it like its nearest items."""
        context.require("read", *([] if user_id is None else ["personal"]))
        return render(context, "heat", **heats.drawn(context.service, item_id, channel, user_id))

    @router.get("/studio/sound")
    def sound(context: Context, item_id: Annotated[Id, Query(alias="id")]) -> Response:
        context.require("read")
        path, kind = studio.media.sound(context.service, item_id)
        return FileResponse(path, media_type=kind, headers=_MEDIA)


_MEDIA = {"Cache-Control": "private, max-age=600", "Content-Security-Policy": "default-src 'none'"}


def _add_sign_in(router: APIRouter) -> None:
    @router.post("/studio/key", dependencies=[ChangedOnPage])
    def sign_in(
        request: Request,
        key: Annotated[str, Form(min_length=1, max_length=200)],
        to: Annotated[str, Form(max_length=2000)] = "/",
    ) -> Response:
        """Keep a valid key in a cookie."""
        service: Service = request.app.state.service
        try:
            service.keyring.check(f"Bearer {key.strip()}", "read")
        except RefusedError as error:
            if error.status != 403:  # a key without this scope is valid
                raise
        response = RedirectResponse(_local_address(to), 303)
        set_cookie(request, response, KEY, key.strip(), None)
        return response

    @router.post("/studio/leave", dependencies=[ChangedOnPage])
    def leave() -> Response:
        response = RedirectResponse("/", 303)
        response.delete_cookie(KEY, path="/", httponly=True, samesite="strict")
        return response


def _search_page(context: PageContext, wanted: SearchIn, text: str = "", looked_for: str = "") -> Response:
    found = context.service.items.search(wanted)
    recommender = context.service.snapshot.recommender
    known = [item for item in found.items if item.item_id in recommender.lookup.items]
    shown = cards(recommender, recommender.lookup.rows([item.item_id for item in known]))
    pairs = list(zip(shown, [item.similarity for item in known], strict=True))
    return render(context, "search", text=text, found=pairs, by=found.by, looked_for=looked_for)


def _figures(context: PageContext) -> dict[str, Any]:
    recommender = context.service.snapshot.recommender
    figures = operations.count(context.service, context.request.app.state.metrics)
    return {
        "figures": figures,
        "sample": operations.as_tiles(figures),
        "mark": recommender.mark,
        "num_items": len(recommender.lookup.items),
        "num_grown": len(recommender.added),
        "num_users": len(recommender.users),
        "versions": recommender.facts.get("versions", {}),
        "name": recommender.facts.get("name", ""),
        "store": "SQLite" if context.service.store.is_sqlite else "PostgreSQL",
    }


def _local_address(address: str) -> str:
    """Return an address of this site, so that no link redirects to another site."""
    parts = urlsplit(address)
    is_ours = (
        not parts.scheme and not parts.netloc and address.startswith("/") and not address.startswith(("//", "/\\"))
    )
    return address if is_ours and "\\" not in address and address.isprintable() else "/"


def _error_page(request: Request, error: Exception) -> Response:
    """Return what is wrong, where, and how to fix it, as a page; the sign-in page where a key is missing."""
    context = page_context(request)
    lines: tuple[str, str, str]
    if isinstance(error, PenchantError):
        status, lines = status_of(error), translated_parts(error, context.translate.language)
    elif isinstance(error, RequestValidationError | ValidationError):
        first = error.errors()[0]
        status, field = 422, str(first["loc"][-1]) if first["loc"] else ""
        what = context.translate(
            "The value of {field} is not accepted: {reason}.",
            field=field,
            reason=translated_text(str(first["msg"]).rstrip("."), context.translate.language),
        )
        lines = (what, field, context.translate("check the address, or go back and try again"))
    else:
        status = 503
        detail = context.translate("The store does not answer; nothing was changed.")
        lines = (detail, context.translate("Store"), context.translate("try again in a moment"))
    is_part = "hx-request" in request.headers
    template = "_error" if is_part else "sign_in" if status == 401 else "error"
    to = _local_address(f"{request.url.path}?{request.url.query}" if request.method == "GET" else "/")
    response = render(context, template, status, error=lines, to=to)
    if is_part:  # the page stays and shows the error
        response.headers.update({"HX-Retarget": "#news", "HX-Reswap": "innerHTML"})
    headers = getattr(error, "headers", {})
    response.headers.update({name: headers[name] for name in headers if name != "WWW-Authenticate"})
    return response
