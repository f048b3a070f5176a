"""Values as the schema describes them: JSON's own types, times that are written out, ids that look like themselves."""

from __future__ import annotations

import json
import subprocess
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from penchant.cli.printing import shell_word
from penchant.service.fetching import is_public
from penchant.studio.user_pages import _ids

EVENT = {"user_id": "a", "item_id": "i1"}
EDIT = {"name": "item", "value": "i1", "action": "more"}
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *[("POST", "/v1/events", {**EVENT, "at": at}) for at in (0, 1.5, True, "0", "1700000000", "1e9", "")],
        *[("POST", "/v1/events", {**EVENT, "value": value}) for value in ("5", True)],
        *[("POST", "/v1/sessions/recommendations", {"reasons": reasons}) for reasons in (0, 1, "true", "yes")],
        *[("POST", "/v1/sessions/recommendations", {"seen": seen}) for seen in (0, "on")],
        ("POST", "/v1/sessions/recommendations", {"k": "5"}),
        ("POST", "/v1/sessions/recommendations", {"diversity": "0.5"}),
        ("POST", "/v1/search", {"words": "low", "k": "5"}),
        ("POST", "/v1/predict/none", {"text": "x", "evidence": 0}),
        *[("PATCH", "/v1/users/a/profile", {"edits": [{**EDIT, "strength": strength}]}) for strength in ("1", True)],
    ],
)
def test_value_of_another_type_than_the_schemas_is_refused(
    client: TestClient, method: str, path: str, body: dict[str, Any]
):
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["title"]) == (422, "invalid")


@pytest.mark.parametrize("value", ["0", "1", "yes", "on", "t", "True", ""])
def test_flag_in_an_address_is_true_or_false(client: TestClient, value: str):
    for name in ("seen", "reasons"):
        assert client.get("/v1/users/u0/recommendations", params={name: value}).status_code == 422
        for written in ("true", "false"):
            assert client.get("/v1/users/u0/recommendations", params={name: written}).status_code == 200


@pytest.mark.parametrize(
    "at", ["2025-01-31T12:00:00Z", "2025-01-31 12:00:00.5+02:00", "2025-01-31T12:00:00", "2025-01-31"]
)
def test_written_times_are_accepted(client: TestClient, at: str):
    assert client.post("/v1/events", json={**EVENT, "at": at, "value": 5}).status_code == 200


@pytest.mark.parametrize("control", [*BIDI, "\x85", "\x9b", "\x1b"])
def test_ids_that_read_as_others_are_refused(client: TestClient, control: str):
    for name in ("user_id", "item_id", "event_id"):
        assert client.post("/v1/events", json={**EVENT, name: f"u1{control}x"}).status_code == 422
    assert client.get(f"/v1/export/u1{quote(control)}").status_code == 422
    assert client.put(f"/v1/items/i1{quote(control)}", json={}).status_code == 422
    assert client.get("/v1/users/u0/recommendations", params={"context": f"i1{control}"}).status_code == 422


def test_words_of_every_script_are_searched(client: TestClient):
    assert client.post("/v1/search", json={"words": "low \u200fصوت\u200e"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/events", "/v1/sessions/recommendations", "/v1/search"])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deeply_nested_body_is_a_problem(client: TestClient, path: str, opening: str):
    headers = {"Content-Type": "application/json"}
    answer = client.post(path, content=opening * 50_000, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",  # 6to4 of 10.0.0.1
        "2002:808:808::1",
        "2001:0:808:808::1",  # Teredo
        "::10.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:0:10.0.0.1",
        "fec0::1",
        "feff::1",
        "fe80::1%eth0",
        "3fff::1",
        "5f00::1",
        "4000::1",
    ],
)
def test_addresses_that_lead_elsewhere_are_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111", "2a00:1450::1"]
)
def test_open_addresses_are_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    "word",
    ["u1", "a b", "it's", "$(id)", "`id`", "-x", "a;b&c|d", "名字", "é\x1b[31m", "a\nb", "u\u202e1'\\", "~", "*", "!x"],
)
def test_command_to_try_holds_each_id_as_one_word(word: str):
    shown = shell_word(word)
    assert shown.isprintable()
    program = f"printf %s {shown}" if not word.startswith("-") else f"printf %s -- {shown}"
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.removeprefix("--") == word


def test_list_before_a_change_may_be_anything():
    assert _ids("[" * 100_000) == []
    assert _ids('{"a":' * 20_000) == []
    assert _ids(json.dumps(["a", 1, "b"])) == ["a", "b"]
