"""Errors as RFC 9457 problem+json.

In: whatever an endpoint raised. Out: a status and what is wrong, where, how to mend it; never a trace, never another's data.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from penchant.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    EncoderError,
    MediaError,
    MissingExtraError,
    NotFoundError,
    PenchantError,
)
from penchant.service.store import ConflictError

logger = logging.getLogger("penchant.service")
MEDIA_TYPE = "application/problem+json"


class RefusedError(PenchantError):
    """The caller may not, or too much was asked at once; `status` says which.

    Args:
        status: 401, 403, 413 or 429.
        headers: To send along, for example Retry-After.
    """

    def __init__(
        self, message: str, *, where: str, fix: str, status: int, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, where=where, fix=fix)
        self.status = status
        self.headers = headers or {}


STATUS: dict[type[PenchantError], int] = {
    NotFoundError: 404,
    ConflictError: 412,
    DataError: 422,
    ConfigError: 422,
    MediaError: 422,
    EncoderError: 501,
    MissingExtraError: 501,
    ArtifactError: 503,
}


def handle_problems(app: FastAPI) -> None:
    """Teach an application to answer every failure in one form."""
    app.add_exception_handler(PenchantError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(DBAPIError, _no_store)
    app.add_exception_handler(sqlite3.Error, _no_store)
    app.add_exception_handler(PoolTimeout, _no_store)
    app.add_exception_handler(Exception, _unknown)


def problem(status: int, title: str, detail: str, where: str, fix: str, request_id: str) -> dict[str, Any]:
    """Return the body of one problem."""
    return {
        "type": f"urn:penchant:problem:{title}",
        "title": title,
        "status": status,
        "detail": detail,
        "where": where,
        "fix": fix,
        "instance": f"urn:request:{request_id}",
    }


def answer(
    request: Request, status: int, title: str, detail: str, where: str, fix: str, **headers: str
) -> JSONResponse:
    """Return one problem as a response."""
    body = problem(status, title, detail, where, fix, request.scope.get("request_id", "-"))
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(body, status, media_type=MEDIA_TYPE, headers=said)


async def _known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PenchantError)
    title = type(error).__name__.removesuffix("Error").lower()
    if isinstance(error, RefusedError):
        return answer(request, error.status, title, error.message, error.where, error.fix, **error.headers)
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    return answer(request, status, title, error.message, error.where, error.fix)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Name the first thing that does not fit; the value itself is not repeated, it may be long or personal."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return answer(request, 400, "json", "The body is no JSON.", where, "send UTF-8 JSON: application/json")
    more = f" ({len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    said = first["msg"].rstrip(".")
    return answer(request, 422, "invalid", f"{said}{more}.", where, "change that value; /docs shows what is expected")


async def _plain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    fixes = {404: "look at /docs for the addresses there are", 405: "use another method; /docs shows which"}
    fix = fixes.get(error.status_code, "see /docs")
    headers = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
    return answer(request, error.status_code, "http", f"{error.detail}.", request.method, fix, **headers)


async def _no_store(request: Request, error: Exception) -> JSONResponse:
    logger.error("the store does not answer: %s", type(error).__name__)
    return answer(
        request,
        503,
        "store",
        "The store does not answer; nothing was changed.",
        "the database",
        "send the same request again, with the same event_id; look at /readyz",
        Retry_After="1",
    )


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    logger.error(
        "unexpected %s", type(error).__name__, exc_info=error, extra={"request_id": request.scope.get("request_id")}
    )
    return answer(request, 500, "unexpected", "Something went wrong here.", "the service", "report the request's id")
