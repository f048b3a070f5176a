"""Errors as RFC 9457 problem+json.

In: an exception of an endpoint. Out: a status and what is wrong, where, how to fix it; never a traceback, never another user's data.
"""

from __future__ import annotations

import difflib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError as DriverDataError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import Scope

from penchant.core.error_translations import translated_parts
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
from penchant.core.messages import LANGUAGES, preferred_language
from penchant.service.store import ConflictError

logger = logging.getLogger("penchant.service")
MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""What a client is told to wait after a refusal."""


class RefusedError(PenchantError):
    """A request that is not allowed or too large or too frequent, by `status`.

    Args:
        status: 401, 403, 413, 421, 429, 503 or 507.
        headers: Of the response, for example Retry-After.
    """

    def __init__(
        self, message: str, *, where: str, fix: str, status: int, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, where=where, fix=fix)
        self.status = status
        self.headers = headers or {}


class RelayedError(RefusedError):
    """An error that another process of the service told.

    Args:
        problem: Its fields, as `problem` makes them.
        headers: Of the response, for example Retry-After.
    """

    def __init__(self, problem: Mapping[str, Any], headers: dict[str, str]) -> None:
        super().__init__(
            problem["detail"], where=problem["where"], fix=problem["fix"], status=problem["status"], headers=headers
        )
        self.title: str = problem["title"]


_STATUS: dict[type[PenchantError], int] = {
    NotFoundError: 404,
    ConflictError: 412,
    DataError: 422,
    ConfigError: 422,
    MediaError: 422,
    EncoderError: 501,
    MissingExtraError: 501,
    ArtifactError: 503,
}


def status_of(error: PenchantError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, RefusedError):
        return error.status
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def add_error_handlers(app: FastAPI) -> None:
    """Register the handlers that answer every error in one form."""
    app.add_exception_handler(PenchantError, _penchant_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(DriverDataError, _value_error)
    app.add_exception_handler(DBAPIError, _store_error)
    app.add_exception_handler(sqlite3.Error, _store_error)
    app.add_exception_handler(PoolTimeout, _store_error)
    app.add_exception_handler(Exception, _unexpected_error)


def _response(
    request: Request,
    status: int,
    title: str,
    detail: str,
    where: str,
    fix: str,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error response; to a client that asks for another language, its sentences are in that. `type` and `title` are for programs."""
    language = preferred_language(request.headers.get("accept-language", ""))
    if language != "en":
        detail, where, fix = translated_parts(PenchantError(detail, where=where, fix=fix), language)
        headers = {**(headers or {}), "Content-Language": LANGUAGES[language]}
    body = problem(status, title, detail, where, fix, request.scope.get("request_id", "-"))
    return JSONResponse(body, status, media_type=MEDIA_TYPE, headers=headers)


def problem(status: int, title: str, detail: str, where: str, fix: str, request_id: str = "-") -> dict[str, Any]:
    """Return the fields of an error response."""
    return {
        "type": f"urn:penchant:problem:{title}",
        "title": title,
        "status": status,
        "detail": detail,
        "where": where,
        "fix": fix,
        "instance": f"urn:request:{request_id}",
    }


def overloaded_response(scope: Scope) -> JSONResponse:
    """Return the refusal of a request that would wait for too many others of its kind."""
    detail = "Too many requests of this kind wait already; nothing was changed."
    fix = f"send the same request again in {RETRY_SECONDS} s"
    body = problem(503, "overloaded", detail, "the service", fix, scope.get("request_id", "-"))
    return JSONResponse(body, 503, media_type=MEDIA_TYPE, headers={"Retry-After": str(RETRY_SECONDS)})


def problem_response(request: Request, error: PenchantError) -> JSONResponse:
    """Return the response to an error."""
    title = error.title if isinstance(error, RelayedError) else type(error).__name__.removesuffix("Error").lower()
    headers = error.headers if isinstance(error, RefusedError) else None
    return _response(request, status_of(error), title, error.message, error.where, error.fix, headers)


async def _penchant_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PenchantError)
    return problem_response(request, error)


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Name the first invalid value; the value itself is not repeated, it may be long or personal."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return _response(request, 400, "json", "The body is not JSON.", where, "send UTF-8 JSON: application/json")
    more = f" ({len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    detail = f"{first['msg'].rstrip('.')}{more}."
    return _response(request, 422, "invalid", detail, where, _fix(request, first))


def _fix(request: Request, error: Mapping[str, Any]) -> str:
    """Return how to mend an invalid value: for a key that is unknown or missing, with the keys there are."""
    where, key = error["loc"][:-1], str(error["loc"][-1])
    allowed = _keys(request, where) if error["type"] in ("extra_forbidden", "missing") else []
    if not allowed:
        return "change that value; /docs shows what is expected"
    listed = f"allowed keys: {', '.join(allowed)}"
    if error["type"] == "missing":
        return f"add {key!r}; {listed}"
    if OTHER_WORD.get(key) in allowed:
        return f"it is called {OTHER_WORD[key]!r} here; {listed}"
    close = difflib.get_close_matches(key, allowed, 1)
    return f"did you mean {close[0]!r}? {listed}" if close else f"leave it out; {listed}"


def _keys(request: Request, path: Sequence[int | str]) -> list[str]:
    """Return the keys that the API's description allows at a place of the request."""
    schema = request.app.openapi()
    call = schema["paths"].get(getattr(request.scope.get("route"), "path_format", ""), {})
    described = call.get(request.method.lower(), {})
    if path[:1] == ("query",):
        return [p["name"] for p in described.get("parameters", []) if p["in"] == "query"]
    body = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for step in (*path[1:], None):
        named = {name: shape for name, shape in _shapes(body, schema) if "properties" in shape or "items" in shape}
        if step is None:
            return sorted({key for shape in named.values() for key in shape.get("properties", {})})
        if step in named:  # of several models, the validator names the one it tried
            body = named[str(step)]
        elif isinstance(step, int):
            body = next((shape["items"] for shape in named.values() if "items" in shape), {})
        else:
            body = next((s["properties"][step] for s in named.values() if step in s.get("properties", {})), body)
    return []


def _shapes(shape: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the alternatives of a schema with the names of their models."""
    for one in shape.get("anyOf", [shape]):
        name = one.get("$ref", "").rpartition("/")[2]
        yield name or str(one.get("type", "")), schema["components"]["schemas"].get(name, one)


OTHER_WORD = {"text": "words", "words": "text"}
"""A search takes words, a prediction and an event the text that is read: who knows one writes it at the other."""


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    fixes = {
        404: "see /docs for the addresses",
        405: "use another method; see /docs",
        503: "send the same request again a little later",
    }
    fix = fixes.get(error.status_code, "see /docs")
    headers = error.headers
    if error.status_code == 405:
        headers = {**(headers or {}), "Allow": ", ".join(_allowed_methods(request))}
    return _response(request, error.status_code, "http", f"{error.detail}.", request.method, fix, headers)


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods of every route at the path; the framework names those of the first route alone."""
    found = set[str]()
    for route in request.app.routes:
        for method in ("GET",) if isinstance(route, Mount) else _METHODS:
            asked = {"type": "http", "method": method, "path": request.scope["path"], "headers": []}
            if route.matches(asked)[0] is Match.FULL:
                found.add(method)
    return sorted(found)


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


async def _value_error(request: Request, error: Exception) -> JSONResponse:
    """To send the same value again would fail again; the driver's message may repeat it, so it is not shown."""
    logger.error("the database refuses a value: %s", type(error).__name__)
    fix = "send shorter texts and smaller numbers; /docs shows what is expected"
    return _response(request, 422, "data", "The database refuses a value; nothing was changed.", "the request", fix)


async def _store_error(request: Request, error: Exception) -> JSONResponse:
    logger.error("the store does not answer: %s", type(error).__name__)
    return _response(
        request,
        503,
        "store",
        "The store does not answer; nothing was changed.",
        "the database",
        "send the same request again, with the same event_id; look at /readyz",
        {"Retry-After": "1"},
    )


async def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    return unexpected_response(request, error)


def unexpected_response(request: Request, error: Exception) -> JSONResponse:
    """Return the answer to what nobody foresaw; its traceback goes to the log."""
    logger.error(
        "unexpected %s", type(error).__name__, exc_info=error, extra={"request_id": request.scope.get("request_id")}
    )
    return _response(request, 500, "unexpected", "An unexpected error.", "the service", "report the request's id")
