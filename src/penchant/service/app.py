"""The HTTP application.

In: requests under `/v1`. Out: JSON, or a problem with what, where, fix; `/docs` shows all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import TypeAdapter

from penchant.classifiers.bundle import MEDIA
from penchant.core.errors import PenchantError
from penchant.recommender.lists import Id, RankingOptions, RecommendationList
from penchant.recommender.search import SearchResults
from penchant.service.alarms import AlarmLog
from penchant.service.api_reference import reference_page
from penchant.service.background import BackgroundWorker
from penchant.service.batching import MicroBatcher
from penchant.service.chat_routes import add_chat_routes
from penchant.service.config import ServiceConfig
from penchant.service.dependencies import Item, Task, User, allowed, service_of
from penchant.service.host_names import HostMiddleware
from penchant.service.http_errors import MEDIA_TYPE, add_error_handlers
from penchant.service.paths import PathMiddleware
from penchant.service.pools import Kind, WorkPool, WorkPools, in_pool
from penchant.service.query import QueryModel
from penchant.service.schemas import (
    AlarmOut,
    CoursesIn,
    CoursesOut,
    EventBatch,
    EventIn,
    EventsStored,
    ItemIn,
    ItemState,
    ListIn,
    PredictIn,
    PredictionOut,
    Problem,
    SearchIn,
    SessionIn,
    StreamOut,
    TrialOut,
    has_media,
)
from penchant.service.service import Service
from penchant.service.talk import TalkHere
from penchant.service.talk_process import TalkBeside
from penchant.service.telemetry import Metrics, RequestMiddleware
from penchant.service.times import iso_time
from penchant.service.tracing import Tracing
from penchant.service.user_routes import add_user_routes

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": what, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, what in {
        400: "Invalid JSON",
        401: "No valid API key",
        403: "Key lacks the scope",
        404: "Not found",
        408: "Body too slow",
        412: "Changed meanwhile",
        413: "Body too large",
        421: "Another host name",
        422: "Invalid value",
        429: "Too many requests",
        501: "Not in this bundle",
        503: "Store unavailable, or too many requests wait",
        507: "No room on the disk",
    }.items()
}
LISTS = "/recommendations"
"""End of the paths of lists: one that cannot be answered now is refused from its headers."""
MAX_BATCH = 64
"""Requests whose lists are computed in one pass."""
SILENT: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own spans hold the address, which holds user ids, and environment variables alone would export them."""


def create_app(
    config: ServiceConfig, *, add_pages: Callable[[FastAPI], None] | None = None, talks_at: Path | None = None
) -> FastAPI:
    """Return the application; it opens the bundle and the store when it starts.

    Args:
        config: How the service runs.
        add_pages: Adds pages beside the API, such as the studio's (`studio/pages.py`); None adds none.
        talks_at: Socket of the process that answers chats (`talk_process.py`); None answers them in this one.

    Raises:
        PenchantError: At its start: a bundle, the store or the secret is not as it should be.
    """
    metrics = Metrics()
    tracing = Tracing.to(config.traces) if config.traces else None

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        try:
            service = Service(config)
        except PenchantError as error:
            app.state.failure = error
            raise
        worker = BackgroundWorker(
            service,
            lambda outcome: metrics.content.labels(outcome).inc(),
            count_alarm=lambda signal: metrics.alarms.labels(signal).inc(),
            set_level=lambda name, level: metrics.list_ndcg.labels(name).set(level),
        )
        worker.start()
        app.state.service, app.state.worker = service, worker
        service.screen.count = lambda what: metrics.moderated.labels(what).inc()
        service.talk_limits.count = lambda why: metrics.talk_refused.labels(why).inc()
        app.state.batched = MicroBatcher(service.lists.recommend_many, max_size=MAX_BATCH)
        app.state.pools = WorkPools()
        app.state.talk = (
            TalkHere(service, app.state.pools) if talks_at is None else TalkBeside(talks_at, metrics.add_talk)
        )
        yield
        await app.state.talk.close()
        app.state.batched.close()
        app.state.pools.close()
        worker.close()
        service.close()
        if tracing is not None:
            tracing.close()

    def admit(path: str, num_bytes: int) -> Callable[[], None] | None:
        return _admitted(app.state.pools, app.state.batched, path, num_bytes)

    app = FastAPI(
        title="Penchant",
        version=version("penchant"),
        description="Events in, interests out: what each user cares about, as of their last event.",
        lifespan=life,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # such a redirect would repeat whatever Host the request names
        responses=PROBLEMS,
        telemetry=SILENT,
    )
    add_error_handlers(app)
    app.add_middleware(PathMiddleware)
    app.add_middleware(HostMiddleware, names=config.host_names)
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics,
        max_body_bytes=config.max_body_bytes,
        max_seconds=config.max_seconds,
        tracing=tracing,
        admit=admit,
    )
    app.state.metrics = metrics
    _add_events(app, metrics)
    _add_lists(app)
    add_user_routes(app, metrics)
    add_chat_routes(app)
    _add_items(app)
    _add_tasks(app)
    _add_probes(app, metrics)
    _describe_problems(app)
    if add_pages is not None:
        add_pages(app)
    return app


def _admitted(
    pools: WorkPools, batched: MicroBatcher[Any, Any], path: str, num_bytes: int
) -> Callable[[], None] | None:
    """Return what ends the stay of a request, None where it is to be refused: its pool, or for a list its queue, has no place."""
    leave = pools.admit(path, num_bytes)
    if leave is None or not path.endswith(LISTS):
        return leave
    arrive = batched.expect()
    if arrive is None:
        leave()
        return None

    def both() -> None:
        arrive()
        leave()

    return both


def _add_events(app: FastAPI, metrics: Metrics) -> None:
    @app.post("/v1/events", tags=["events"], dependencies=[allowed("write")])
    @in_pool(_kind_of_events)
    def add_events(
        request: Request,
        body: Annotated[EventIn | EventBatch, Body(openapi_examples=_EVENT_EXAMPLES)],
        idempotency_key: Annotated[
            Id | None, Header(description="The same key stores the same events once; with other events it is refused.")
        ] = None,
    ) -> EventsStored:
        """Store one event or a batch; answered once it is on disk. All of a batch, or none. Content is read in the background."""
        events = body.events if isinstance(body, EventBatch) else [body]
        stored = service_of(request).events.append(events, idempotency_key)
        metrics.events.inc(stored.stored)
        metrics.duplicates.inc(stored.duplicates)
        if stored.unread_content:
            metrics.content.labels("not read").inc(stored.unread_content)
        if stored.with_content:
            request.app.state.worker.wake()
        return stored


def _add_lists(app: FastAPI) -> None:
    @app.get(
        "/v1/users/{user_id:id}/recommendations",
        tags=["lists"],
        dependencies=[allowed("read")],
        response_model=RecommendationList,
        openapi_extra=_LIST_OPTIONS.described,
    )
    async def recommend(
        request: Request, user_id: User, options: Annotated[ListIn, Depends(_LIST_OPTIONS)]
    ) -> Response:
        """Rank the catalog for one user; `basis` states what the ranking is based on."""
        return await _recommended(request, user_id, options)

    @app.post(
        "/v1/sessions/recommendations",
        tags=["lists"],
        dependencies=[allowed("read")],
        response_model=RecommendationList,
    )
    async def recommend_session(
        request: Request, session: Annotated[SessionIn, Body(openapi_examples=_SESSION_EXAMPLES)]
    ) -> Response:
        """Rank the catalog for a history in the request; nothing is stored."""
        return await _recommended(request, None, session)

    @app.get("/v1/items/{item_id:id}/similar", tags=["lists"], dependencies=[allowed("read")])
    @in_pool("lists")
    def similar(
        request: Request,
        item_id: Item,
        k: Annotated[int, Query(ge=1, le=500)] = 10,
        by: Annotated[str | None, Query(max_length=64, description='A channel, "fused" or "behaviour".')] = None,
    ) -> SearchResults:
        """Return the items most like one."""
        return service_of(request).items.similar(item_id, k, by)

    @app.post("/v1/search", tags=["lists"], dependencies=[allowed("read")])
    @in_pool(_kind_of_search)
    def search(request: Request, wanted: Annotated[SearchIn, Body(openapi_examples=_SEARCH_EXAMPLES)]) -> SearchResults:
        """Find items by words, an image or audio."""
        return service_of(request).items.search(wanted)


def _add_items(app: FastAPI) -> None:
    @app.put("/v1/items/{item_id:id}", tags=["items"], dependencies=[allowed("write")], status_code=202)
    @in_pool(_kind_of_item)
    def put_item(
        request: Request, item_id: Item, item: Annotated[ItemIn, Body(openapi_examples=_ITEM_EXAMPLES)]
    ) -> ItemState:
        """Add or change an item; it is encoded in the background, then recommended without a refit."""
        state = service_of(request).items.put(item_id, item)
        request.app.state.worker.wake()
        return state

    @app.get("/v1/items/{item_id:id}", tags=["items"], dependencies=[allowed("read")])
    @in_pool("lists")
    def get_item(request: Request, item_id: Item) -> ItemState:
        """Return the status of an item."""
        return service_of(request).items.state(item_id)

    @app.delete("/v1/items/{item_id:id}", tags=["items"], dependencies=[allowed("write")])
    @in_pool("writes")
    def withdraw(request: Request, item_id: Item) -> ItemState:
        """Remove an item from every answer at once."""
        return service_of(request).items.withdraw(item_id)

    @app.get("/v1/catalog", tags=["items"], dependencies=[allowed("read")])
    @in_pool("lists")
    def catalog(request: Request) -> dict[str, Any]:
        """Return what can be asked for: attributes with their most frequent values, ranges of numbers, topics, labelled tasks."""
        return service_of(request).items.described()

    @app.get("/v1/alarms", tags=["operations"], dependencies=[allowed("read")])
    @in_pool("lists")
    def alarms(request: Request) -> list[AlarmOut]:
        """Return what moved in the stream of events, the newest first; empty where nothing is watched."""
        found = AlarmLog(service_of(request).store).newest()
        return [AlarmOut(at=iso_time(one.at), lines=[str(line) for line in one.lines]) for one in found]

    @app.get("/v1/streams", tags=["operations"], dependencies=[allowed("read")])
    @in_pool("lists")
    def streams(request: Request) -> list[StreamOut]:
        """Return how far each event stream is read, and what became of its records; empty where none was ever read."""
        return [StreamOut.model_validate(one) for one in service_of(request).streams.summary()]

    @app.get("/v1/trial", tags=["operations"], dependencies=[allowed("read")])
    @in_pool("lists")
    def trial(request: Request) -> TrialOut:
        """Return the metrics of the running trial's variants, with intervals that may be read at any time."""
        return service_of(request).trial_results()

    @app.get("/v1/report", tags=["operations"], dependencies=[allowed("read")])
    @in_pool("lists")
    def report(request: Request) -> dict[str, Any]:
        """Return how good the served model is on its test data, beside its baselines."""
        return service_of(request).report()


def _add_tasks(app: FastAPI) -> None:
    @app.post("/v1/predict/{task:id}", tags=["tasks"], dependencies=[allowed("read")])
    @in_pool(_kind_of_prediction)
    def predict(
        request: Request, task: Task, given: Annotated[PredictIn, Body(openapi_examples=_PREDICT_EXAMPLES)]
    ) -> PredictionOut:
        """Classify content, with evidence and whether a reviewer should decide; nothing is stored."""
        return service_of(request).predict(task, given)

    @app.post("/v1/courses/{task:id}", tags=["tasks"], dependencies=[allowed("read")])
    @in_pool("media")
    def courses(
        request: Request, task: Task, given: Annotated[CoursesIn, Body(openapi_examples=_COURSES_EXAMPLES)]
    ) -> CoursesOut:
        """Return how the recordings of people change over time, with early warnings; nothing is stored."""
        return service_of(request).courses(task, given)


def _add_probes(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["operations"])
    async def alive() -> dict[str, str]:
        """The process runs."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["operations"])
    def ready(request: Request) -> dict[str, Any]:
        """The bundle is loaded and the store answers."""
        service = service_of(request)
        service.store.world_version()
        recommender = service.snapshot.recommender
        sizes = {"items": len(recommender.catalog), "users": len(recommender.histories)}
        streams = [
            {name: one[name] for name in ("source", "state", "message", "since", "behind_seconds")}
            for one in service.streams.summary()
        ]
        about = {"status": "ready", "bundle": recommender.mark, **sizes, "tasks": service.tasks.names}
        return {**about, "streams": streams} if streams else about

    @app.get("/docs", include_in_schema=False)
    def reference(request: Request) -> HTMLResponse:
        """Show this reference."""
        return HTMLResponse(reference_page(request.app.openapi()))

    @app.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    def prometheus(request: Request) -> Response:
        """Metrics in the Prometheus format."""
        service = service_of(request)
        metrics.set_streams(service.streams.summary())
        text = metrics.text(service.user_cache)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _describe_problems(app: FastAPI) -> None:
    """Describe errors and API keys in OpenAPI, where FastAPI would put its own error."""
    original: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        parts = schema["components"]
        parts["schemas"]["Problem"] = Problem.model_json_schema()
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}, {}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


async def _recommended(request: Request, user_id: str | None, options: RankingOptions) -> Response:
    """Answer in one batch with other waiting requests; reasons take long, so such a request waits for a thread of its own."""
    list_id = request.scope["request_id"]
    if isinstance(options, SessionIn) and options.has_content:
        pools: WorkPools = request.app.state.pools
        work = partial(service_of(request).lists.recommend, user_id, options, list_id)
        answer = await pools["media" if options.has_media else "encoders"].run(work)
    elif options.reasons:
        pool: WorkPool = request.app.state.pools["lists"]
        answer = await pool.run(partial(service_of(request).lists.recommend, user_id, options, list_id))
    else:
        answer = await request.app.state.batched((user_id, options, list_id))
    # the list is valid by construction: validating it again would cost as much as computing it
    return Response(_LISTS.dump_json(answer), media_type="application/json")


def _kind_of_search(arguments: dict[str, Any]) -> Kind:
    wanted: SearchIn = arguments["wanted"]
    return "media" if has_media(wanted) else "encoders"


def _kind_of_events(arguments: dict[str, Any]) -> Kind:
    body: EventIn | EventBatch = arguments["body"]
    events = body.events if isinstance(body, EventBatch) else [body]
    return "uploads" if has_media(*events) else "writes"


def _kind_of_item(arguments: dict[str, Any]) -> Kind:
    item: ItemIn = arguments["item"]
    return "uploads" if has_media(item) else "writes"


def _kind_of_prediction(arguments: dict[str, Any]) -> Kind:
    given: PredictIn = arguments["given"]
    return "encoders" if all(getattr(given, modality) is None for modality in MEDIA) else "media"


_LISTS = TypeAdapter(RecommendationList)
_LIST_OPTIONS = QueryModel(ListIn)
_EVENT_EXAMPLES: Any = {
    "one": {"value": {"user_id": "u1", "item_id": "i1", "kind": "click"}},
    "with a review and a photo": {
        "value": {
            "user_id": "u1",
            "item_id": "i1",
            "kind": "review",
            "text": "Lovely colour, poor sole.",
            "image": {"url": "https://media.example.org/u1/shoe.jpg"},
        }
    },
    "batch": {"value": {"events": [{"user_id": "u1", "item_id": "i1", "kind": "purchase", "event_id": "order-7"}]}},
}
_SESSION_EXAMPLES: Any = {
    "items": {"value": {"history": ["i1", "i2"], "k": 5}},
    "with content": {
        "value": {"history": [{"item_id": "i1", "text": "Lovely colour."}], "about": {"columns": {"region": "north"}}}
    },
}
_SEARCH_EXAMPLES: Any = {
    "words": {"value": {"words": "red summer shoes", "k": 5}},
    "a picture": {"value": {"image": {"url": "https://media.example.org/shoe.jpg"}}},
}
_ITEM_EXAMPLES: Any = {
    "columns": {"value": {"columns": {"title": "Red shoe", "price": 49.9, "genres": ["summer"]}}},
    "with a picture": {"value": {"columns": {"title": "Red shoe"}, "image": {"data": "BASE64 OF THE FILE"}}},
}
_COURSES_EXAMPLES: Any = {
    "a table": {"value": {"readings": {"data": "BASE64 OF A CSV FILE", "ending": ".csv"}, "person": "anna"}},
}
_PREDICT_EXAMPLES: Any = {
    "words": {"value": {"text": "The room was lovely and the staff superb."}},
    "words and a picture": {
        "value": {"text": "Look at this", "image": {"url": "https://media.example.org/post-7.jpg"}}
    },
}
