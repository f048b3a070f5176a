"""Host names the service answers at.

In: the Host header of a request. Out: the request passes, or is refused before any route sees it. A web page can make a browser
send requests to this machine under the page's own name, by pointing that name at 127.0.0.1 (DNS rebinding); the Host header
still shows the page's name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Annotated

from fastapi import Request
from pydantic import StringConstraints
from starlette.types import ASGIApp, Receive, Scope, Send

from penchant.service.http_errors import RefusedError, problem_response

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?P<port>:\d{1,5})?", re.IGNORECASE)
HostName = Annotated[
    str, StringConstraints(to_lower=True, pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])$")
]
"""Without scheme, port and path."""


def is_allowed(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header, or the host and port of an Origin, names this machine or one of some names; any port is allowed."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["name"].lower()
    return name == "localhost" or name in names or _is_loopback_address(name.strip("[]"))


def _is_loopback_address(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class HostMiddleware:
    """Refuses requests for other host names: always while the service is open, and with keys where names were configured.

    Args:
        app: The wrapped application; its `state.service` holds the keys.
        names: Allowed names beside those of this machine.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not self._is_foreign(scope):
            await self._app(scope, receive, send)
            return
        error = RefusedError(
            "The service does not answer at this host name.",
            where="Host",
            fix="use localhost or 127.0.0.1, or start the service with --host-name NAME",
            status=421,
        )
        await problem_response(Request(scope), error)(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        is_open = scope["app"].state.service.keyring.is_open
        return (is_open or bool(self._names)) and (len(hosts) != 1 or not is_allowed(hosts[0], self._names))
