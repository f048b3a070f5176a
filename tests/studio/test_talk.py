"""The page where a user talks, and reads their profile in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from penchant.language.screen import LanguageConfig, LimitsConfig
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.studio.pages import add_studio

PAGE = {"hx-request": "true"}


@pytest.fixture
def studio(shop: Path, tmp_path: Path) -> Iterator[TestClient]:
    config = ServiceConfig(bundle=shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config, add_pages=add_studio), raise_server_exceptions=False) as client:
        yield client


def test_the_page_shows_the_profile_in_words_in_both_languages(studio: TestClient) -> None:
    page = studio.get("/studio/talk", params={"id": "u0"}).text
    assert "You choose" in page
    assert "for example" in page
    assert "你比其他用户更多地选择" in studio.get("/studio/talk", params={"id": "u0", "lang": "zh"}).text


def test_a_conversation_goes_on_and_a_yes_changes_the_profile(studio: TestClient) -> None:
    first = studio.post("/studio/talk", data={"user_id": "u0", "message": "I don't like high sounds"}, headers=PAGE)
    assert first.status_code == 200, first.text
    assert "Shall I never show you high again?" in first.text
    held = re.search(r'name="conversation_id" value="([0-9a-f]{32})"', first.text)
    assert held is not None
    done = studio.post(
        "/studio/talk", data={"user_id": "u0", "message": "Yes", "conversation_id": held[1]}, headers=PAGE
    )
    assert "Your profile is changed." in done.text
    assert "high tune" not in re.sub(r"<p class=\"facts\">.*?</p>", "", done.text)
    assert [e["value"] for e in studio.get("/v1/users/u0/profile").json()["edits"]] == ["high"]


def test_a_message_is_text_and_no_page(studio: TestClient) -> None:
    said = studio.post("/studio/talk", data={"user_id": "u0", "message": "<script>alert(1)</script>"}, headers=PAGE)
    assert "<script>alert" not in said.text


def test_another_site_cannot_speak_for_a_user(studio: TestClient) -> None:
    said = studio.post(
        "/studio/talk", data={"user_id": "u0", "message": "low"}, headers={"origin": "https://evil.example"}
    )
    assert said.status_code == 403


def test_a_mistyped_id_says_so_and_a_new_user_may_talk(studio: TestClient) -> None:
    wrong = studio.get("/studio/talk", params={"id": "u00"})
    assert wrong.status_code == 404
    assert 'href="/studio/user?id=u0"' in wrong.text
    assert studio.get("/studio/talk", params={"id": "u00", "new": "true"}).status_code == 200
    assert "/studio/talk?id=u00&amp;new=true" in studio.get("/studio/user", params={"id": "u00", "new": "true"}).text


def test_a_question_can_be_answered_with_none_of_these(studio: TestClient) -> None:
    asked = studio.post("/studio/talk", data={"user_id": "u0", "message": "what is there?"}, headers=PAGE).text
    assert asked.count('class="choices"') == asked.count(">None of these</button>") == 1


def test_the_page_has_the_limits_of_the_api(shop: Path, tmp_path: Path) -> None:
    limits = LimitsConfig(per_minute=5, max_characters=20)
    config = ServiceConfig(bundle=shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    config = config.model_copy(update={"language": LanguageConfig(limits=limits)})
    with TestClient(create_app(config, add_pages=add_studio), raise_server_exceptions=False) as client:

        def say(message: str, language: str = "en") -> Response:
            data = {"user_id": "u0", "message": message}
            return client.post("/studio/talk", params={"lang": language}, data=data, headers=PAGE)

        long = say("x" * 21)
        assert long.status_code == 413
        assert "The message has 21 characters; 20 are read at most." in long.text
        page = client.get("/studio/talk", params={"id": "u0"})
        assert (page.status_code, 'maxlength="20"' in page.text) == (200, True)
        assert [say("low").status_code for _ in range(2)] == [200, 200]
        assert (
            client.post("/v1/chat", json={"user_id": "u0", "message": "low"}).status_code == 200
        )  # the same allowance
        refused = say("low")
        assert (refused.status_code, 1 <= int(refused.headers["retry-after"]) <= 13) == (429, True)
        assert "More than 5 requests a minute." in refused.text
        assert "每分钟请求超过 5 次。" in say("low", "zh").text
        assert client.get("/studio/talk", params={"id": "u0", "lang": "zh"}).status_code == 429
        assert 'penchant_talk_refused_total{why="rate"} 3.0' in client.get("/metrics").text
