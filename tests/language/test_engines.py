"""Engines on a real small model and a real local endpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from chat_endpoint import endpoint
from penchant.core.errors import ConfigError, EncoderError
from penchant.language import engine_process, remote_engine
from penchant.language.engine import CachedEngine, EngineConfig, Prompt, make_engine
from penchant.language.engine_process import NICENESS, ProcessEngine
from penchant.language.local_engine import LocalEngine
from penchant.language.remote_engine import MAX_CHARACTERS, RemoteEngine
from penchant.language.screen import LanguageConfig


def remote(address: str, tmp_path: Path, **options: Any) -> RemoteEngine:
    settings = {
        "engine": "remote",
        "base_url": address,
        "remote_model": "tiny",
        "ledger": tmp_path / "ledger.jsonl",
        **options,
    }
    made = make_engine(EngineConfig(**settings))
    assert made is not None
    assert isinstance(made.engine, RemoteEngine)
    return made.engine


def echo(messages: list[dict[str, str]]) -> str:
    return "You asked: " + messages[-1]["content"]


def test_a_model_here_writes_batches_and_streams_the_same(parrot: Path) -> None:
    engine = LocalEngine(EngineConfig(engine="local", model=str(parrot)))
    prompts = [Prompt("", "a long love"), Prompt("", "robots"), Prompt("system words", "silence robots")]
    texts = engine.write(prompts)
    assert texts[:2] == ["Paris is far .", "they fight far ."]
    assert ["".join(engine.stream(p)).strip() for p in prompts] == [t.strip() for t in texts]


def test_a_stream_that_nobody_reads_stops(parrot: Path) -> None:
    engine = LocalEngine(EngineConfig(engine="local", model=str(parrot), max_tokens=50))
    stream = engine.stream(Prompt("", "silence"))  # it would say silence fifty times
    assert next(stream).strip()  # type: ignore[call-overload]
    stream.close()  # type: ignore[attr-defined]  # joins the writing thread


def test_a_prompt_longer_than_the_model_is_an_error(parrot: Path) -> None:
    engine = LocalEngine(EngineConfig(engine="local", model=str(parrot)))
    with pytest.raises(EncoderError, match="reads 64 tokens; the prompt has"):
        engine.write([Prompt("", "love " * 80)])
    with pytest.raises(EncoderError, match="reads 64 tokens"):
        list(engine.stream(Prompt("", "love " * 80)))


@pytest.mark.parametrize("way", ["stream", "whole"])
def test_an_endpoint_is_asked_and_its_tokens_counted(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_KEY", "secret")
    with endpoint(echo, way=way) as server:
        engine = remote(server.address, tmp_path, key_variable="TINY_KEY")
        assert engine.write([Prompt("be brief", "hello there")])[0].strip() == "You asked: hello there"
        assert engine.spent_tokens == 14
        body, headers = server.requests[0]
    assert (body["temperature"], body["model"]) == (0, "tiny")
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    assert headers["authorization"] == "Bearer secret"
    assert "hello" not in (tmp_path / "ledger.jsonl").read_text()


def test_a_passing_failure_is_tried_again_and_a_lasting_one_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_engine, "PAUSE_SECONDS", 0.01)
    with endpoint(echo, failures=[503, 429]) as server:
        assert remote(server.address, tmp_path).write([Prompt("", "x")])
        assert len(server.requests) == 3
    with endpoint(echo, failures=[401, 401]) as server:
        with pytest.raises(EncoderError, match=r"The endpoint does not answer: .*401"):
            remote(server.address, tmp_path).write([Prompt("", "x")])
        assert len(server.requests) == 1
    with pytest.raises(EncoderError, match="does not answer"):
        remote("http://127.0.0.1:9/v1", tmp_path, retries=0).write([Prompt("", "x")])


@pytest.mark.parametrize(
    ("way", "match"), [("nonsense", "not of the chat protocol: KeyError"), ("hang", "does not answer")]
)
def test_a_bad_endpoint_ends_in_an_error(way: str, match: str, tmp_path: Path) -> None:
    with endpoint(echo, way=way) as server:
        engine = remote(server.address, tmp_path, retries=0, timeout_seconds=0.5)
        with pytest.raises(EncoderError, match=match):
            engine.write([Prompt("", "x")])


def test_an_endpoint_that_never_stops_is_cut(tmp_path: Path) -> None:
    with endpoint(echo, way="endless") as server:
        (text,) = remote(server.address, tmp_path).write([Prompt("", "word " * 50)])
    assert MAX_CHARACTERS <= len(text) < 2 * MAX_CHARACTERS


def test_a_spent_budget_ends_the_asking(tmp_path: Path) -> None:
    with endpoint(echo) as server:
        engine = remote(server.address, tmp_path, max_total_tokens=12)
        engine.write([Prompt("", "hello")])
        with pytest.raises(EncoderError, match="budget of the endpoint is spent: 13 of 12 tokens"):
            engine.write([Prompt("", "hello")])
        assert len(server.requests) == 1


@pytest.mark.parametrize("table", [{"base_url": "ftp://x"}, {"base_url": "http://127.0.0.1:1/v1"}])
def test_a_remote_engine_needs_an_address_and_a_model(table: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        make_engine(EngineConfig(engine="remote", **table))


def test_a_text_is_written_once_until_it_is_forgotten(tmp_path: Path) -> None:
    with endpoint(echo) as server:
        engine = CachedEngine(remote(server.address, tmp_path), max_texts=2)
        for asked in (1, 2):
            for _ in range(2):
                assert engine.write([Prompt("", "a"), Prompt("", "a")])[1].strip() == "You asked: a"
                assert "".join(engine.stream(Prompt("", "a"))).strip() == "You asked: a"
            assert len(server.requests) == asked
            engine.forget()
        engine.write([Prompt("", "b"), Prompt("", "c")])  # the oldest goes
        engine.write([Prompt("", "d")])
        engine.write([Prompt("", "b")])
        assert len(server.requests) == 6
        next(iter(engine.stream(Prompt("", "d e f"))))  # not read to its end
        assert "".join(engine.stream(Prompt("", "d e f"))).strip() == "You asked: d e f"


def test_a_process_of_its_own_writes_the_same_and_survives_its_end(parrot: Path) -> None:
    config = LanguageConfig(engine="local", model=str(parrot), max_tokens=8)  # as a service has it
    prompts = [Prompt("", "a long love"), Prompt("", "robots")]
    apart = ProcessEngine(config)
    try:
        assert apart.write(prompts) == LocalEngine(config).write(prompts)
        assert apart.process_id is not None
        assert os.getpriority(os.PRIO_PROCESS, apart.process_id) == os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
        unread = apart.stream(prompts[0])
        next(iter(unread))
        unread.close()  # type: ignore[attr-defined]
        assert "".join(apart.stream(prompts[1])) == apart.write(prompts[1:])[0]
        with pytest.raises(EncoderError, match="reads 64 tokens"):
            apart.write([Prompt("", "love " * 80)])
        os.kill(apart.process_id, signal.SIGKILL)
        with contextlib.suppress(EncoderError):  # where it was not seen yet that the process is gone
            apart.write(prompts)
        assert apart.write(prompts) == LocalEngine(config).write(prompts)
    finally:
        apart.close()
    assert apart.process_id is None


FAILING = """
from penchant.core.errors import EncoderError
from penchant.language import engine_process

class Failing:
    def __init__(self, config):
        pass
    def stream(self, prompt):
        yield "The "
        raise EncoderError("It failed.", where="here", fix="mend it")
    def write(self, prompts):
        return ["written"]

engine_process.LocalEngine = Failing
engine_process.main()
"""


def test_a_stream_that_fails_ends_and_the_next_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "PROGRAM", FAILING)
    apart, pieces, errors = ProcessEngine(EngineConfig(engine="local")), [], []

    def read() -> None:
        try:
            pieces.extend(apart.stream(Prompt("", "robots")))
        except EncoderError as error:
            errors.append(error)

    reader = threading.Thread(target=read, daemon=True)
    try:
        assert apart.write([Prompt("", "robots")]) == ["written"]
        reader.start()
        reader.join(30)
        assert not reader.is_alive()  # it had waited for another line
        assert [error.message for error in errors] == ["It failed."]
        assert pieces == ["The "]
        assert apart.write([Prompt("", "robots")]) == ["written"]
    finally:
        apart.close()


def test_weights_of_eight_bits_write_one_text_whatever_is_beside_it(parrot: Path) -> None:
    small, whole = (
        LocalEngine(EngineConfig(engine="local", model=str(parrot), max_tokens=8, precision=p))
        for p in ("int8", "float32")
    )
    prompts = [Prompt("", "a long love"), Prompt("", "robots " * 9)]
    assert small.write(prompts)[0] == small.write(prompts[:1])[0]
    assert small.provenance["weights"] != whole.provenance["weights"]
    assert any("quantized" in type(module).__module__ for module in small.parts[1].modules())
