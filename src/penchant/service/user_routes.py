"""One user over HTTP: the profile and its edits, what the user tells, export, deletion and erasure.

In: requests under `/v1/users` and `/v1/export`. Out: JSON, or the bytes of a file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from penchant.service.dependencies import Item, User, allowed, service_of
from penchant.service.erasure import HELD
from penchant.service.pools import Kind, in_pool
from penchant.service.schemas import (
    ErasureReceipt,
    EventNameIn,
    EventsDeleted,
    Name,
    ProfilePatch,
    UserIn,
    UserState,
    has_media,
)
from penchant.service.talk import Talk
from penchant.service.telemetry import Metrics


def add_user_routes(app: FastAPI, metrics: Metrics) -> None:
    """Add the routes of one user: the profile, what the user tells, and all that is stored."""
    _add_profile(app)
    _add_told(app, metrics)
    _add_stored(app, metrics)


def _add_profile(app: FastAPI) -> None:
    @app.get("/v1/users/{user_id:id}/profile", tags=["users"], dependencies=[allowed("personal")])
    @in_pool("lists")
    def profile(request: Request, user_id: User) -> JSONResponse:
        """Return interests with weights and evidence, and the user's own edits; the ETag guards later edits."""
        found, held = service_of(request).interests.profile(user_id)
        return JSONResponse(found, headers={"ETag": f'"{held}"'})

    @app.get("/v1/users/{user_id:id}/profile/words", tags=["users"], dependencies=[allowed("personal", talks=True)])
    async def profile_in_words(request: Request, user_id: User, language: Literal["en", "zh"] = "en") -> dict[str, Any]:
        """Return the interests as sentences, each with the events behind it; `name` and `value` of a statement can be edited."""
        talk: Talk = request.app.state.talk
        return await talk.in_words(user_id, language)

    @app.patch("/v1/users/{user_id:id}/profile", tags=["users"], dependencies=[allowed("personal")])
    @in_pool("writes")
    def edit_profile(
        request: Request,
        user_id: User,
        patch: Annotated[ProfilePatch, Body(openapi_examples=_EDIT_EXAMPLES)],
        if_match: Annotated[
            str | None, Header(pattern=r'^"\d{1,19}"$', description="ETag of the profile that was read.")
        ] = None,
    ) -> JSONResponse:
        """Store the user's edits of their interests: more, less, never, pin, reset; the next list follows them."""
        expected = None if if_match is None else int(if_match.strip('"'))
        found, held = service_of(request).interests.edit(user_id, patch.edits, expected)
        return JSONResponse(found, headers={"ETag": f'"{held}"'})

    @app.get("/v1/users/{user_id:id}/explanations/{item_id:id}", tags=["users"], dependencies=[allowed("personal")])
    @in_pool(_kind_of_explanation)
    def explain(
        request: Request,
        user_id: User,
        item_id: Item,
        counterfactual: Annotated[bool, Query(description="Instead: what would have to be different.")] = False,
        k: Annotated[int, Query(ge=1, le=100, description="Length of the list of a counterfactual.")] = 10,
        method: Annotated[
            Literal["exact", "integrated_gradients", "occlusion"],
            Query(description="Other than exact: of one network."),
        ] = "exact",
        member: Annotated[Name | None, Query(description="A network over histories; by default the first.")] = None,
    ) -> dict[str, Any]:
        """Split one score into what past events, channels and members contribute; the parts sum to it.

        With `counterfactual=true` instead: without which past events the item leaves the user's list, or with which edit it enters it. With
        `method=integrated_gradients` or `occlusion` instead: which events, and which modality of them, one network's score comes from.
        """
        service = service_of(request)
        if counterfactual:
            return service.interests.counterfactual(user_id, item_id, k).as_dict()
        if method != "exact":
            return service.interests.attribution(user_id, item_id, member, method).as_dict()
        return service.interests.explain(user_id, item_id)


def _add_told(app: FastAPI, metrics: Metrics) -> None:
    @app.patch("/v1/users/{user_id:id}", tags=["users"], dependencies=[allowed("personal")], status_code=202)
    @in_pool(_kind_of_user)
    def tell(
        request: Request, user_id: User, told: Annotated[UserIn, Body(openapi_examples=_USER_EXAMPLES)]
    ) -> UserState:
        """Store attributes, words, a picture or a sound of a user; they are read in the background, within about a second."""
        state = service_of(request).personal_data.tell(user_id, told)
        for _ in set(state.new_values) & set(told.columns):
            metrics.content.labels("new value").inc()
        request.app.state.worker.wake()
        return state

    @app.get("/v1/users/{user_id:id}", tags=["users"], dependencies=[allowed("personal")])
    @in_pool("lists")
    def about(request: Request, user_id: User) -> UserState:
        """Return what a user told of themself, and what of it is read."""
        return service_of(request).personal_data.about(user_id)


def _add_stored(app: FastAPI, metrics: Metrics) -> None:
    @app.delete("/v1/users/{user_id:id}/events", tags=["users"], dependencies=[allowed("personal")])
    @in_pool("writes")
    def delete_event(request: Request, user_id: User, name: Annotated[EventNameIn, Query()]) -> EventsDeleted:
        """Delete one event of a user, by its `event_id` or by item and time; the next list does not know it."""
        return service_of(request).events.delete_event(user_id, name)

    @app.get(
        "/v1/export/{user_id:id}",
        tags=["users"],
        dependencies=[allowed("personal")],
        response_model=dict[str, Any],
    )
    @in_pool("lists")
    def export(request: Request, user_id: User) -> JSONResponse:
        """Return all stored data of one user."""
        return JSONResponse(service_of(request).personal_data.export(user_id))  # rendered here: it may be long

    @app.get(
        "/v1/export/{user_id:id}/files/{name:id}",
        tags=["users"],
        dependencies=[allowed("personal")],
        response_class=FileResponse,
    )
    @in_pool("lists")
    def export_file(
        request: Request, user_id: User, name: Annotated[Name, Path(description="A name from the export.")]
    ) -> FileResponse:
        """Return a file that the user sent, byte for byte."""
        return FileResponse(service_of(request).files.of_user(user_id, name), media_type="application/octet-stream")

    @app.delete(
        "/v1/users/{user_id:id}",
        tags=["users"],
        dependencies=[allowed("personal")],
        responses={202: {"description": "A reader holds SQLite's log: it is emptied later", "model": ErasureReceipt}},
    )
    @in_pool("writes")
    def erase(request: Request, response: Response, user_id: User) -> ErasureReceipt:
        """Erase a user: at once in store, caches and answers, with the refit that starts now in the model."""
        receipt = service_of(request).personal_data.erase(user_id)
        response.status_code = 202 if receipt["store"] == HELD else 200
        metrics.erasures.inc()
        request.app.state.worker.wake()
        return ErasureReceipt(receipt=receipt)


def _kind_of_explanation(arguments: dict[str, Any]) -> Kind:
    is_long = arguments["counterfactual"] or arguments["method"] != "exact"  # lists must not wait for these
    return "encoders" if is_long else "lists"


def _kind_of_user(arguments: dict[str, Any]) -> Kind:
    told: UserIn = arguments["told"]
    return "uploads" if has_media(told) else "writes"


_EDIT_EXAMPLES: Any = {
    "less of a genre, an item never": {
        "value": {
            "edits": [
                {"name": "genres", "value": "Comedy", "action": "less"},
                {"name": "item", "value": "i1", "action": "never"},
            ]
        }
    },
}
_USER_EXAMPLES: Any = {
    "attributes and a bio": {"value": {"columns": {"region": "north", "bio": "I repair old radios."}}},
    "take one back": {"value": {"columns": {"bio": None}, "image": None}},
}
