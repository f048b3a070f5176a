"""What the routes of the API share: the service behind a request, scopes of keys, and the ids of an address.

In: a request. Out: the service, or a refusal.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Request

from penchant.recommender.lists import Id
from penchant.service.schemas import Name
from penchant.service.service import Service

User = Annotated[Id, Path(description="The user's id.", examples=["u1"])]
Item = Annotated[Id, Path(description="The item's id.", examples=["i1"])]
Task = Annotated[Name, Path(description="A labelled task the service was started with.", examples=["sentiment"])]


def service_of(request: Request) -> Service:
    """Return the service behind a request."""
    service: Service = request.app.state.service
    return service


def allowed(scope: str, *, talks: bool = False) -> Any:
    """Return a dependency that lets a request pass if its key has a scope; one that talks also by the limits of talking."""

    async def check(request: Request) -> None:
        service = service_of(request)
        key = service.keyring.check(request.headers.get("authorization"), scope)
        if talks:
            service.talk_limits.check_rate(key)

    return Depends(check)
