"""The page of versions: what each learned from, how it compares with its parent, what became of it.

In: the records beside the bundle. Out: rows of a table; for a key of the operator, buttons that serve another version.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from penchant.recommender.versions import VersionRecord, VersionStore
from penchant.service.served_versions import ServedVersions, shown_scores, state_of, too_few_requests
from penchant.service.service import Service
from penchant.service.times import iso_time
from penchant.studio.language import PageTranslator
from penchant.studio.page_context import ChangedOnPage, Context
from penchant.studio.rendering import render

PAGE = "/studio/versions"


def add_versions(router: APIRouter) -> None:
    """Add the page and its two changes."""

    @router.get(PAGE)
    def show_versions(context: Context) -> Response:
        context.require("read")
        versions = VersionStore(context.service.config.bundle)
        served = versions.served()
        rows = [_row(versions, one, served, context.translate) for one in reversed(versions.records())]
        parent = None if served is None else served.parent
        back = parent if parent is not None and versions.has_files(parent) else None
        newest = next((one.report for one in reversed(versions.records()) if one.report), {})
        reason = too_few_requests(newest)
        too_few = "" if reason is None else context.translate.said(reason)
        return render(context, "versions", rows=rows, back=back, may_change=context.may("admin"), too_few=too_few)

    @router.post(f"{PAGE}/promote", dependencies=[ChangedOnPage])
    def promote(context: Context, number: Annotated[int, Form(ge=1)]) -> Response:
        context.require("admin")
        _served(context.service).promote(number)
        return _taken_over(context)

    @router.post(f"{PAGE}/rollback", dependencies=[ChangedOnPage])
    def rollback(context: Context) -> Response:
        context.require("admin")
        _served(context.service).rollback()
        return _taken_over(context)


def _served(service: Service) -> ServedVersions:
    return ServedVersions(VersionStore(service.config.bundle), service.store, service.secret)


def _taken_over(context: Context) -> Response:
    context.request.app.state.worker.wake()  # it reads the bundle that is in the place now
    return RedirectResponse(PAGE, 303)


def _row(
    versions: VersionStore, record: VersionRecord, served: VersionRecord | None, translate: PageTranslator
) -> dict[str, Any]:
    is_served = served is not None and record.number == served.number
    is_kept = versions.has_files(record.number)
    reasons = {"run": translate("a run"), "update": translate("an update"), "erasure": translate("an erasure")}
    hows = {
        "added": translate("its sums exchanged"),
        "refitted": translate("fitted again"),
        "continued": translate("continued"),
        "kept": translate("as before"),
    }
    return {
        "number": record.number,
        "parent": record.parent,
        "made": _minute(record.made_at),
        "reason": reasons[record.reason],
        "data": record.data,
        "first": _minute(record.data.first_at),
        "last": _minute(record.data.last_at),
        "new": record.new_events,
        "members": [(name, hows.get(how, how)) for name, how in sorted(record.members.items())],
        "state": translate.said(state_of(record, is_served=is_served, is_kept=is_kept)),
        "decided": None if record.decided_at is None else _minute(record.decided_at),
        "is_served": is_served,
        "may_serve": is_kept and not is_served,
        "scores": shown_scores(record.report),
        "requests": record.report.get("requests"),
    }


def _minute(at: int) -> str:
    return iso_time(at)[:16].replace("T", " ") if at else "–"
