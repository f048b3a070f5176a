"""Paths with ids in them.

In: the path of a request as it was sent. Out: a path whose slashes separate segments and nothing else, so that `u%2F1` is one id and `u/1`
is two segments. The server decodes the whole path at once, after which both are the same.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send


class IdConvertor(Convertor[str]):
    """One segment of a path, `{user_id:id}`, as the id it stands for."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Return the id."""
        return value.replace("%2F", "/").replace("%25", "%")

    def to_string(self, value: str) -> str:
        """Return the segment."""
        return value.replace("%", "%25").replace("/", "%2F")


_ids = IdConvertor()
register_url_convertor("id", _ids)


class PathMiddleware:
    """Decodes a path segment by segment; slashes and percent signs of a segment stay encoded until `IdConvertor` reads it.

    Args:
        app: The wrapped application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            raw: bytes | None = scope.get("raw_path")
            if raw is None:  # the server keeps the decoded path alone
                scope["path"] = scope["path"].replace("%", "%25")
            elif b"%" in raw:
                scope["path"] = "/".join(_ids.to_string(unquote(part)) for part in raw.decode("latin-1").split("/"))
        await self._app(scope, receive, send)
