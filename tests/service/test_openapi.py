"""Every address, thrown at with whatever its description allows, and with what it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from penchant.service.app import create_app
from penchant.service.config import ServiceConfig

CHECKS = (
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.status_code_conformance,
)


@pytest.fixture(scope="module")
def app(shop: Path, health: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    folder = tmp_path_factory.mktemp("state")
    app = create_app(
        ServiceConfig(bundle=shop, tasks={"health": health}, folder=folder, watch_seconds=60, host_names=["testserver"])
    )
    with TestClient(app):
        app.state.worker.refit = lambda: None
        yield app


@pytest.fixture(scope="module")
def operations(app: FastAPI) -> dict[str, Any]:
    found = [result.ok() for result in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations()]
    return {operation.label: operation for operation in found}


def test_whole_api_is_described(operations: dict[str, Any]):
    assert len(operations) == 29
    assert "POST /v1/events" in operations


def test_reference_page_shows_every_call_and_loads_nothing_from_elsewhere(app: FastAPI):
    page = TestClient(app).get("/docs").text
    assert "PATCH /v1/users/{user_id}/profile" in page
    assert "Only these items; empty allows all." in page
    assert "order-7" in page
    assert "Whether a reviewer should decide." in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "").partition("<body>")[0]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_makes_it_fail(operations: dict[str, Any], mode: schemathesis.GenerationMode):
    examples = int(os.environ.get("PENCHANT_API_EXAMPLES", "3"))
    for operation in operations.values():

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        with suppress(Unsatisfiable):  # an address that takes nothing cannot be asked wrongly
            answers()
