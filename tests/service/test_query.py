"""Options of an address are read as FastAPI reads them, and described as it describes them."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Query
from fastapi.testclient import TestClient

from penchant.service.query import QueryModel
from penchant.service.schemas import ListIn

OPTIONS = QueryModel(ListIn)
ASKED = [
    "",
    "k=3&reasons=true&seen=1",
    "k=3&k=4",
    "where=genres:a&where=genres:b&deny=x",
    "where=",
    "k=",
    "k=0",
    "k=many&diversity=2",
    "where=nothing",
    "unknown=1&unknown=2&k=2",
    "at=now",
    "at=2026-11-30T10:00:00Z",
    "one_per=%20",
    "K=3",
    "circumstances=device:tablet&context=i1&context=i2",
]


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()

    @app.get("/theirs")
    def theirs(options: Annotated[ListIn, Query()]) -> Any:
        return options

    @app.get("/ours", openapi_extra=OPTIONS.described)
    def ours(options: Annotated[ListIn, Depends(OPTIONS)]) -> Any:
        return options

    return TestClient(app)


@pytest.mark.parametrize("query", ASKED)
def test_values_and_refusals_are_those_of_fastapi(client: TestClient, query: str) -> None:
    ours, theirs = client.get(f"/ours?{query}"), client.get(f"/theirs?{query}")
    assert ours.status_code == theirs.status_code
    if ours.status_code == 200:
        assert ours.json() == theirs.json()
    else:
        without = lambda answer: [{**one, "input": None} for one in answer.json()["detail"]]  # noqa: E731
        assert without(ours) == without(theirs)


def test_description_is_that_of_fastapi(client: TestClient) -> None:
    paths = client.app.openapi()["paths"]  # type: ignore[attr-defined]
    assert paths["/ours"]["get"]["parameters"] == paths["/theirs"]["get"]["parameters"]
    assert len(paths["/ours"]["get"]["parameters"]) == len(ListIn.model_fields)
