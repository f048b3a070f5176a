"""The SDK's own client uses the tools: in memory, and over HTTP and stdio against a running service."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from mcp import Client as McpClient
from mcp import StdioServerParameters

from own_service import SERVER, free_port, wait_until_ready
from penchant.agent_tools import make_server
from penchant.client import Client
from penchant.service.security import make_key
from penchant.service.store import Store


def names(server: Any) -> set[str]:
    async def ask() -> set[str]:
        async with McpClient(server) as agent:
            return {tool.name for tool in (await agent.list_tools()).tools}

    return asyncio.run(ask())


def call(server: Any, tool: str, **arguments: Any) -> tuple[bool, Any]:
    async def ask() -> tuple[bool, Any]:
        async with McpClient(server) as agent:
            result = await agent.call_tool(tool, arguments)
            text = result.content[0].text
            return bool(result.is_error), json.loads(text) if not result.is_error else text

    return asyncio.run(ask())


@pytest.fixture
def service(client: TestClient) -> Client:
    return Client(http=client)


def test_personal_and_writing_tools_are_off_unless_switched_on(service: Client) -> None:
    reading = {"search", "similar", "recommend", "predict"}
    assert names(make_server("", client=service)) == reading
    assert names(make_server("", client=service, is_personal=True)) == reading | {
        "profile",
        "explain",
        "counterfactual",
    }
    assert names(make_server("", client=service, may_write=True)) == reading | {"record_event"}
    everything = make_server("", client=service, is_personal=True, may_write=True)
    assert names(everything) == reading | {
        *("profile", "explain", "counterfactual", "record_event", "chat", "edit_interest")
    }


def test_an_agent_records_recommends_and_explains(service: Client) -> None:
    server = make_server("", client=service, is_personal=True, may_write=True)
    for item in ("i12", "i13", "i14"):
        failed, answer = call(server, "record_event", user_id="new", item_id=item, kind="like")
        assert (failed, answer["stored"]) == (False, 1)
    _, found = call(server, "recommend", user_id="new", k=3)
    assert all(int(item["item_id"][1:]) >= 12 for item in found["items"])
    _, other = call(server, "recommend", history=["i1"], k=3, where=["genres:high"])
    assert all(int(item["item_id"][1:]) < 12 for item in other["items"])
    _, why = call(server, "explain", user_id="new", item_id=found["items"][0]["item_id"])
    assert why["score"] == pytest.approx(found["items"][0]["score"], abs=1e-4)
    item = found["items"][0]["item_id"]
    _, other = call(server, "counterfactual", user_id="new", item_id=item, k=3)
    assert (other["item_id"], other["k"], other["rank"]) == (item, 3, 1)
    _, said = call(server, "chat", user_id="new", message="something high")
    assert said["understood"]["wanted"] == [{"name": "genres", "value": "high"}]


def test_arguments_of_tools_reach_the_service(service: Client) -> None:
    server = make_server("", client=service, may_write=True)
    for stored in (1, 0):  # the same id is stored once
        _, answer = call(server, "record_event", user_id="again", item_id="i1", event_id="e1")
        assert answer["stored"] == stored
    _, found = call(server, "recommend", history=["i1"], k=3, where=["genres:low"])
    assert [int(item["item_id"][1:]) >= 12 for item in found["items"]] == [True] * 3
    for asked, least, most in ((0, 1, 1), (100_000, 20, 50)):  # a length that no list has is brought to one
        failed, found = call(server, "search", words="tune", k=asked)
        assert not failed
        assert least <= len(found["items"]) <= most


def test_errors_reach_the_agent_with_their_fix(service: Client) -> None:
    failed, text = call(make_server("", client=service), "similar", item_id="nothing")
    assert failed
    assert "There is no item 'nothing'" in text
    assert "fix:" in text


def test_the_catalog_is_a_resource(service: Client) -> None:
    async def ask() -> dict[str, Any]:
        async with McpClient(make_server("", client=service)) as agent:
            found = await agent.read_resource("penchant://catalog")
            return dict(json.loads(found.contents[0].text))

    found = asyncio.run(ask())
    assert found["items"] == 24
    assert set(found["attributes"]["genres"]) == {"high", "low", "tune"}
    assert found["numbers"]["price"] == {"least": 0.0, "most": 23.0}


@pytest.mark.parametrize("transport", ["stdio", "streamable-http"])
def test_a_key_without_a_scope_is_refused_whatever_the_agent_asks(transport: str, shop: Path, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'state' / 'store.db'}"
    (tmp_path / "state").mkdir()
    opened = Store.open(store)
    reading, personal = make_key(opened, "agent", ["read"]), make_key(opened, "own", ["read", "personal"])
    opened.close()
    port, tools_port = free_port(), free_port()
    command = [sys.executable, "-c", SERVER, str(shop), str(tmp_path / "state"), str(port), "1"]
    address = f"http://127.0.0.1:{port}"
    tools = [sys.executable, "-m", "penchant", "mcp", "--address", address, "--personal", "--transport", transport]
    environment = {**os.environ, "PENCHANT_KEY": reading}

    async def ask(server: Any) -> tuple[str, bool, str]:
        async with McpClient(server) as agent:
            found = await agent.call_tool("recommend", {"user_id": "u0", "k": 2})
            refused = await agent.call_tool("profile", {"user_id": "u0"})
            return found.content[0].text, bool(refused.is_error), refused.content[0].text

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as service:
        try:
            wait_until_ready(service, port)
            if transport == "stdio":
                found, failed, text = asyncio.run(
                    ask(StdioServerParameters(command=tools[0], args=tools[1:], env=environment))
                )
            else:
                with subprocess.Popen(
                    [*tools, "--port", str(tools_port)], env=environment, stdout=subprocess.DEVNULL
                ) as other:
                    try:
                        found, failed, text = asyncio.run(ask(when_open(tools_port)))
                    finally:
                        other.terminate()
        finally:
            service.terminate()
    assert len(json.loads(found)["items"]) == 2
    assert failed
    assert "lacks the scope" in text
    assert personal


def when_open(port: int) -> str:
    for _ in range(3000):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            break
        except OSError:
            time.sleep(0.1)
    return f"http://127.0.0.1:{port}/mcp"
