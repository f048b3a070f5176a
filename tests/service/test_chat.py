"""Conversations over HTTP: lists, edits after a yes, server-sent events, export, erasure."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from chat_endpoint import endpoint
from penchant.cli import app
from penchant.core.errors import DataError
from penchant.language.engine import EngineConfig, Prompt
from penchant.language.remote_engine import RemoteEngine
from penchant.language.screen import LanguageConfig, LimitsConfig
from penchant.service.app import create_app
from penchant.service.chat import MAX_TURNS
from penchant.service.config import ServiceConfig
from penchant.service.schemas import ChatIn
from penchant.service.security import make_key
from penchant.service.store import ConflictError, Store, StoredConversation
from penchant.studio.pages import add_studio
from shop import make_bundle


def say(client: TestClient, message: str, conversation: str | None = None, user: str = "u0") -> dict[str, Any]:
    body = {"user_id": user, "message": message, **({"conversation_id": conversation} if conversation else {})}
    answer = client.post("/v1/chat", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(answer: dict[str, Any]) -> set[str]:
    return {item["item_id"] for item in answer["items"]}


def test_a_conversation_narrows_the_list(client: TestClient) -> None:
    first = say(client, "something low please")
    assert first["understood"]["wanted"] == [{"name": "genres", "value": "low"}]
    assert all(int(i[1:]) >= 12 for i in ids(first))
    assert first["items"][0]["reasons"]
    second = say(client, "price under 16", first["conversation_id"])
    assert ids(second) <= {"i12", "i13", "i14", "i15", "i16"}
    assert second["understood"]["at_most"] == {"price": 16.0}


def test_a_statement_becomes_an_edit_after_yes_and_every_list_follows(client: TestClient) -> None:
    asked = say(client, "I don't like high sounds")
    assert [(e["name"], e["value"], e["action"]) for e in asked["proposed"]] == [("genres", "high", "never")]
    assert client.get("/v1/users/u0/profile").json()["edits"] == []
    done = say(client, "yes", asked["conversation_id"])
    assert done["confirmed"]
    assert [e["value"] for e in client.get("/v1/users/u0/profile").json()["edits"]] == ["high"]
    assert all(int(i["item_id"][1:]) >= 12 for i in client.get("/v1/users/u0/recommendations").json()["items"])


def test_sentences_come_as_events_and_the_answer_last(client: TestClient) -> None:
    body = {"user_id": "u0", "message": "low"}
    answer = client.post("/v1/chat", json=body, headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [e.split("\n") for e in answer.text.strip().split("\n\n")]
    assert [e[0] for e in events] == ["event: sentence"] * (len(events) - 1) + ["event: answer"]
    whole = json.loads(events[-1][1].removeprefix("data: "))
    assert whole["items"]
    assert whole["text"] == " ".join(json.loads(e[1].removeprefix("data: "))["text"] for e in events[:-1])


@pytest.mark.parametrize(
    ("broken", "status", "detail"),
    [
        (DataError("The model ended.", where="the assistant", fix="ask again"), 422, "The model ended."),
        (RuntimeError("a secret"), 500, "An unexpected error."),
    ],
)
def test_an_answer_that_breaks_off_says_so_in_its_last_event(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, broken: Exception, status: int, detail: str
) -> None:
    async def pieces() -> AsyncGenerator[str, None]:
        yield "One."
        raise broken

    async def begin(given: ChatIn) -> AsyncGenerator[str, None]:
        return pieces()

    monkeypatch.setattr(client.app.state.talk, "begin", begin)  # type: ignore[attr-defined]
    headers = {"Accept": "text/event-stream"}
    answer = client.post("/v1/chat", json={"user_id": "u0", "message": "hello"}, headers=headers)
    first, last, rest = answer.text.split("\n\n")
    assert (first, rest) == ('event: sentence\ndata: {"text": "One."}', "")
    assert last.startswith("event: error\ndata: ")
    said = json.loads(last.partition("data: ")[2])
    assert (said["status"], said["detail"]) == (status, detail)
    assert "secret" not in answer.text


def test_conversations_belong_to_one_user_and_are_exported_and_erased(client: TestClient) -> None:
    own = say(client, "low sounds for my secret party", user="newcomer")["conversation_id"]
    other = client.post("/v1/chat", json={"user_id": "u1", "message": "low", "conversation_id": own})
    assert (other.status_code, other.json()["fix"]) == (404, "leave it out to begin another one")
    (kept,) = client.get("/v1/export/newcomer").json()["conversations"]
    assert kept["turns"][0] == {"role": "user", "text": "low sounds for my secret party"}
    client.delete("/v1/users/newcomer")
    assert client.get("/v1/export/newcomer").json()["conversations"] == []
    gone = client.post("/v1/chat", json={"user_id": "newcomer", "message": "low", "conversation_id": own})
    assert gone.status_code == 404


def test_what_was_said_before_an_erasure_cannot_come_back(address: str) -> None:
    store = Store.open(address)
    held = store.put_conversation(StoredConversation("a", "c1"), '["before"]', "{}", most=5)
    store.erase("a", "subject", "receipt")
    with pytest.raises(ConflictError):
        store.put_conversation(held, '["before", "after"]', "{}", most=5)
    assert store.conversations("a") == []
    store.close()


def test_two_answers_to_one_state_do_not_overwrite_each_other(address: str) -> None:
    store = Store.open(address)
    held = store.put_conversation(StoredConversation("a", "c1"), "[1]", "{}", most=5)
    store.put_conversation(held, "[1, 2]", "{}", most=5)
    with pytest.raises(ConflictError):
        store.put_conversation(held, "[1, 3]", "{}", most=5)
    for n in range(2, 9):
        store.put_conversation(StoredConversation("a", f"c{n}"), "[]", "{}", most=5)
    assert [c.conversation_id for c in store.conversations("a")] == [f"c{n}" for n in range(4, 9)]
    assert store.versions(["a"])[0] != [None]
    store.close()


def test_long_conversations_keep_their_last_turns(client: TestClient) -> None:
    own = say(client, "low")["conversation_id"]
    for _ in range(MAX_TURNS // 2 + 2):
        say(client, "hello", own)
    (kept,) = client.get("/v1/export/u0").json()["conversations"]
    assert len(kept["turns"]) == MAX_TURNS
    assert kept["turns"][0]["text"] == "hello"
    assert say(client, "hello", own)["understood"]["wanted"] == [{"name": "genres", "value": "low"}]


def test_lists_of_the_assistant_follow_stored_edits_and_withdrawn_items(client: TestClient) -> None:
    assert "i12" in ids(say(client, "low, price under 13", user="somebody"))
    client.delete("/v1/items/i12")
    assert "i12" not in ids(say(client, "low, price under 13", user="somebody"))
    edit = {"name": "genres", "value": "high", "action": "never"}
    assert client.patch("/v1/users/u1/profile", json={"edits": [edit]}).status_code == 200
    assert all(int(i[1:]) >= 12 for i in ids(say(client, "anything", user="u1")))


def test_a_state_that_cannot_be_read_begins_anew_and_keeps_its_turns(client: TestClient) -> None:
    store: Store = client.app.state.service.store  # type: ignore[attr-defined]
    turns = json.dumps([{"role": "user", "text": "before"}])
    store.put_conversation(StoredConversation("u0", "old"), turns, '{"query": "of another version"}', most=5)
    assert say(client, "low", "old")["understood"]["wanted"] == [{"name": "genres", "value": "low"}]
    (kept,) = client.get("/v1/export/u0").json()["conversations"]
    assert [turn["text"] for turn in kept["turns"][:2]] == ["before", "low"]


def test_the_words_of_a_changed_catalog_are_known(client: TestClient) -> None:
    assert "wanted" not in say(client, "abyssal")["understood"]
    client.put("/v1/items/i99", json={"columns": {"title": "One", "genres": ["abyssal"]}})
    client.app.state.worker.step()  # type: ignore[attr-defined]
    assert say(client, "abyssal")["understood"]["wanted"] == [{"name": "genres", "value": "abyssal"}]


def test_the_oldest_conversations_go(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penchant.service.chat.MAX_CONVERSATIONS", 2)
    own = [say(client, "low", user="talker")["conversation_id"] for _ in range(3)]
    kept = client.get("/v1/export/talker").json()["conversations"]
    assert [one["conversation_id"] for one in kept] == own[1:]


@pytest.mark.parametrize("message", ["", "🙂", "\x00", "x" * 2000, "什么都行", "like item i99999"])
def test_any_message_is_answered(client: TestClient, message: str) -> None:
    body = json.dumps({"user_id": "u0", "message": message})
    answer = client.post("/v1/chat", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"]


def test_a_message_may_be_spoken_or_shown_only_where_the_bundle_can_read_it(client: TestClient) -> None:
    answer = client.post("/v1/chat", json={"user_id": "u0", "image": {"data": "bm8="}})
    assert answer.status_code in (404, 422)
    assert answer.json()["fix"]


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictured") / "bundle"
    make_bundle(folder, has_pictures=True)
    return folder


def test_a_picture_says_what_the_list_is_like_and_one_that_is_text_is_named_by_its_place(
    pictured: Path, tmp_path: Path
) -> None:
    def shown(raw: bytes, **more: Any) -> Any:
        return client.post("/v1/chat", json={"user_id": "nobody", "image": {"data": b64encode(raw).decode()}, **more})

    with TestClient(create_app(ServiceConfig(bundle=pictured, folder=tmp_path, host_names=["testserver"]))) as client:
        found = shown(next((pictured.parent / "media").glob("13*.png")).read_bytes(), message="price under 20").json()
        assert "i13" in found["understood"]["like"]
        assert found["items"]
        for raw in (b"These are words, not a picture.", b"\x89PNG\r\n\x1a\n and words"):
            refused = shown(raw)
            assert (refused.status_code, refused.json()["where"]) == (422, "image")
            assert str(tmp_path) not in refused.text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng")
def test_a_spoken_question_is_answered(client: TestClient, shop: Path, tmp_path: Path) -> None:
    sound = tmp_path / "question.wav"
    subprocess.run(["espeak-ng", "-s", "140", "-w", sound, "I would like something low, please"], check=True)
    data = b64encode(sound.read_bytes()).decode()
    answer = client.post("/v1/chat", json={"user_id": "u0", "audio": {"data": data}}).json()
    assert answer["understood"]["wanted"] == [{"name": "genres", "value": "low"}]
    assert all(int(i[1:]) >= 12 for i in ids(answer))
    (kept,) = client.get("/v1/export/u0").json()["conversations"]
    assert "low" in kept["turns"][0]["text"]
    done = CliRunner().invoke(app, ["chat", str(shop), "--user", "u0", "--audio", str(sound), "--message", "under 16"])
    assert done.exit_code == 0, done.output
    assert {"i12", "i13"} <= set(re.findall(r"\[(i\d+)\]", done.output.rpartition("\n  1.")[2]))
    other = client.post("/v1/chat", json={"user_id": "u0", "audio": {"data": chinese(tmp_path)}})
    assert other.status_code == 200, (
        "the model of the wheel knows English alone: it may understand nothing, and says so"
    )
    assert other.json()["text"]


def chinese(folder: Path) -> str:
    sound = folder / "chinese.wav"
    subprocess.run(["espeak-ng", "-v", "cmn", "-w", sound, "我想要低沉的音乐"], check=True)
    return b64encode(sound.read_bytes()).decode()


@pytest.mark.parametrize("way", ["nonsense", "hang", "endless", "gibberish"])
def test_whatever_an_engine_does_the_list_is_there_with_true_words(way: str, shop: Path, tmp_path: Path) -> None:
    def speak(messages: list[dict[str, str]]) -> str:
        return "Qxz is 99 % blorp. You will win. " * 50

    language = {"engine": "remote", "remote_model": "m", "ledger": tmp_path / "ledger", "send_personal": True}
    with endpoint(speak, way="stream" if way == "gibberish" else way) as server:
        given = LanguageConfig(**language, base_url=server.address, retries=0, timeout_seconds=0.5)
        config = ServiceConfig(bundle=shop, folder=tmp_path / "s", host_names=["testserver"], language=given)
        with TestClient(create_app(config)) as client:
            began = time.monotonic()
            answer = say(client, "something low please")
            assert time.monotonic() - began < 20
    assert all(int(i[1:]) >= 12 for i in ids(answer))
    assert len(answer["items"]) > 3
    assert answer["text"]
    assert not any(word in answer["text"] for word in ("Qxz", "blorp", "win"))


def test_a_message_of_a_megabyte_is_refused_and_the_conversation_goes_on(client: TestClient) -> None:
    own = say(client, "something low please")["conversation_id"]
    body = {"user_id": "u0", "conversation_id": own, "message": "low " * 250_000}
    refused = client.post("/v1/chat", json=body)
    assert (refused.status_code, refused.json()["where"]) == (422, "body.message")
    assert say(client, "price under 16", own)["understood"]["wanted"] == [{"name": "genres", "value": "low"}]
    (kept,) = client.get("/v1/export/u0").json()["conversations"]
    assert len(json.dumps(kept)) < 100_000


def test_an_engine_words_the_answer_and_what_it_makes_up_is_dropped(shop: Path, tmp_path: Path) -> None:
    def speak(messages: list[dict[str, str]]) -> str:
        return "Here is what fits you best with low. You will win a prize. Buy “high tune 1” now."

    with endpoint(speak) as server:
        language = LanguageConfig(
            engine="remote", base_url=server.address, remote_model="m", ledger=tmp_path / "ledger", send_personal=True
        )
        config = ServiceConfig(bundle=shop, folder=tmp_path / "s", host_names=["testserver"], language=language)
        with TestClient(create_app(config)) as client:
            answer = say(client, "low")
            assert answer["text"].startswith("Here is what fits you best with low.")
            assert "prize" not in answer["text"]
            assert "high tune" not in answer["text"]
            assert "u0" not in json.dumps([body for body, _ in server.requests])
            written = client.get("/v1/users/u0/profile/words").json()
            assert written["num_dropped"] == 3 or written["written_by"] == "template"
        asked = len(server.requests)
        assert asked == 2  # the answer and the profile
        private = ServiceConfig(
            bundle=shop,
            folder=tmp_path / "s2",
            host_names=["testserver"],
            language=language.model_copy(update={"send_personal": False}),
        )
        with TestClient(create_app(private)) as client:
            assert say(client, "low")["text"]
            assert client.get("/v1/users/u0/profile/words").json()["written_by"] == "template"
        assert len(server.requests) == asked


def test_profiles_in_words_cite_their_events(client: TestClient) -> None:
    written = client.get("/v1/users/u0/profile/words").json()
    assert any("high" in statement["text"] and statement["evidence"] for statement in written["statements"])
    chinese = client.get("/v1/users/u0/profile/words", params={"language": "zh"}).json()
    assert "你" in chinese["text"]


@pytest.mark.parametrize(("title", "abuse"), [("fuck you all", "fuck"), ("傻逼去死吧", "傻逼")])
def test_no_abuse_is_shown_of_an_engine_or_of_a_title(shop: Path, tmp_path: Path, title: str, abuse: str) -> None:
    """The engine repeats what it was given, which the check must let through: a title is what third parties wrote."""

    def speak(messages: list[dict[str, str]]) -> str:
        lines = [line.removeprefix("- ") for line in messages[-1]["content"].splitlines() if line.startswith("- ")]
        return " ".join(lines) + f" {abuse}! {abuse} you, “{title}” is low."

    def told(client: TestClient, what: str) -> float:
        rows = [r for r in client.get("/metrics").text.splitlines() if r.startswith(f"{what}")]
        return sum(float(row.split()[-1]) for row in rows)

    with endpoint(speak) as server:
        language = LanguageConfig(
            engine="remote", base_url=server.address, remote_model="m", ledger=tmp_path / "ledger", send_personal=True
        )
        config = ServiceConfig(bundle=shop, folder=tmp_path / "s", host_names=["testserver"], language=language)
        with TestClient(create_app(config)) as client:
            client.put("/v1/items/i99", json={"columns": {"title": title, "genres": ["low"], "price": 500.0}})
            client.app.state.worker.step()  # type: ignore[attr-defined]
            answer = say(client, "low, price over 400")
            assert [item["item_id"] for item in answer["items"]] == ["i99"]
            assert abuse not in answer["text"].lower()
            assert "low" in answer["text"]
            assert told(client, 'penchant_moderated_total{what="sentence"}') >= 1
            for n in range(6):
                client.post(
                    "/v1/events", json={"user_id": "reader", "item_id": "i99", "kind": "like", "event_id": f"{n}"}
                )
            client.post("/v1/events", json={"user_id": "reader", "item_id": "i14", "kind": "like"})
            written = client.get("/v1/users/reader/profile/words").json()
            assert abuse not in json.dumps(written, ensure_ascii=False).lower()
            assert any("…" in statement["evidence"] for statement in written["statements"])
            assert told(client, 'penchant_moderated_total{what="quotation"}') >= 1


def test_talking_is_limited_by_key_and_by_length(config: ServiceConfig) -> None:
    limits = {"per_minute": 2, "keys": {"desk": 4}, "max_characters": 20}
    language = LanguageConfig.read({"limits": limits}, where="test")
    with TestClient(create_app(config.model_copy(update={"language": language}))) as client:
        store: Store = client.app.state.service.store  # type: ignore[attr-defined]
        keys = {name: make_key(store, name, ["personal", "read"]) for name in ("phone", "desk")}
        client.app.state.worker.step()  # type: ignore[attr-defined]

        def ask(name: str, message: str = "low") -> Any:
            headers = {"Authorization": f"Bearer {keys[name]}"}
            return client.post("/v1/chat", json={"user_id": "u0", "message": message}, headers=headers)

        assert [ask("phone").status_code for _ in range(3)] == [200, 200, 429]
        refused = ask("phone")
        assert 1 <= int(refused.headers["retry-after"]) <= 31
        assert "'phone'" in refused.json()["where"]
        assert refused.json()["fix"].startswith("wait")
        own = {"Authorization": f"Bearer {keys['phone']}"}
        assert client.get("/v1/users/u0/profile/words", headers=own).status_code == 429
        assert (
            client.get("/v1/users/u0/recommendations", headers=own).status_code == 200
        )  # lists have limits of their own
        long = ask("desk", "x" * 21)
        assert (long.status_code, long.json()["where"]) == (413, "message")
        assert long.json()["detail"] == "The message has 21 characters; 20 are read at most."
        assert [ask("desk").status_code for _ in range(4)] == [200, 200, 200, 429]
        found = client.get("/metrics").text
        assert 'penchant_talk_refused_total{why="length"} 1.0' in found
        assert 'penchant_talk_refused_total{why="rate"} 4.0' in found


def _repeat(messages: list[dict[str, str]]) -> str:
    """Say what was given to say, which every check lets through."""
    lines = [line.removeprefix("- ") for line in messages[-1]["content"].splitlines() if line.startswith("- ")]
    return " ".join(lines)


def test_a_profile_that_a_model_worded_is_written_again_in_the_background_after_new_events(shop: Path, tmp_path: Path):
    with endpoint(_repeat) as server:
        language = LanguageConfig(
            engine="remote",
            base_url=server.address,
            remote_model="m",
            ledger=tmp_path / "ledger",
            send_personal=True,
            rewrite_after=2,
            limits=LimitsConfig(per_minute=None),
        )
        config = ServiceConfig(bundle=shop, folder=tmp_path / "s", host_names=["testserver"], language=language)
        with TestClient(create_app(config, add_pages=add_studio)) as client:

            def read() -> dict[str, Any]:
                return dict(client.get("/v1/users/u0/profile/words").json())

            def choose(item: str) -> None:
                client.post("/v1/events", json={"user_id": "u0", "item_id": item, "kind": "like", "event_id": item})

            first = read()
            assert (first["written_by"], first["num_new_events"]) == ("m", 0)
            assert read() == first
            choose("i20")
            second = read()
            assert (second["paragraph"], second["written_at"]) == (first["paragraph"], first["written_at"])
            assert second["num_new_events"] == 1
            page = client.get("/studio/talk", params={"id": "u0"}).text
            assert f"Written {first['written_at'][:10]}; newer events: 1." in page
            assert second["statements"] != first["statements"], "the facts are those of now"
            assert len(server.requests) == 1
            choose("i21")
            assert read()["num_new_events"] == 2
            newest = _until(read, lambda found: found["num_new_events"] == 0)
            assert newest["paragraph"] != first["paragraph"]
            assert newest["written_at"] > first["written_at"]
            assert len(server.requests) == 2
            client.delete("/v1/users/u0/events", params={"event_id": "i21"})
            without = read()
            assert (without["num_new_events"], without["paragraph"] != newest["paragraph"]) == (0, True)
            assert len(server.requests) == 3, "words about an event that is gone are not shown"
            profiles = client.app.state.service.written_profiles  # type: ignore[attr-defined]
            assert len(profiles._kept) == 1
            client.app.state.worker.refit = lambda: None  # type: ignore[attr-defined]
            client.delete("/v1/users/u1")
            assert len(profiles._kept) == 0


def test_writing_a_profile_again_stops_for_a_conversation(config: ServiceConfig) -> None:
    pieces = iter(range(1000))

    class Slow(RemoteEngine):
        def stream(self, prompt: Prompt) -> Iterator[str]:
            return (f"{piece} " for piece in pieces)

    engine = EngineConfig(engine="remote", base_url="http://127.0.0.1:9/v1", remote_model="m")
    with TestClient(create_app(config)) as client:
        profiles = client.app.state.service.written_profiles  # type: ignore[attr-defined]
        profiles._engine = Slow(engine)
        asked = iter([False, False, True])
        assert profiles.rewrite("u0", "en", lambda: next(asked)) is False
        assert next(pieces) == 3
        assert not profiles._kept


def test_where_the_engine_does_not_answer_the_profile_is_in_fixed_sentences(shop: Path, tmp_path: Path) -> None:
    language = LanguageConfig(
        engine="remote",
        base_url="http://127.0.0.1:9/v1",
        remote_model="m",
        ledger=tmp_path / "ledger",
        send_personal=True,
        retries=0,
    )
    config = ServiceConfig(bundle=shop, folder=tmp_path / "s", host_names=["testserver"], language=language)
    with TestClient(create_app(config)) as client:
        written = client.get("/v1/users/u0/profile/words", params={"language": "zh"}).json()
        assert (written["written_by"], written["reason"]) == ("template", "语言模型没有回答")
        assert "你" in written["text"]
        client.post("/v1/events", json={"user_id": "u0", "item_id": "i20", "kind": "like"})
        newer = client.get("/v1/users/u0/profile/words", params={"language": "zh"}).json()
        assert newer["num_new_events"] == 0, "fixed sentences are those of now"


def _until(read: Callable[[], dict[str, Any]], is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    for _ in range(200):
        found = read()
        if is_so(found):
            return found
        time.sleep(0.05)
    raise AssertionError("not in ten seconds")
