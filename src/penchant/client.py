"""A client of the service.

In: an address and a key. Out: the service's answers as dictionaries; its errors as `ServiceError` with what, where, fix.

    client = penchant.client.Client("http://127.0.0.1:8000")
    client.event("u1", "i7", kind="like")
    client.recommend("u1", k=5)["items"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

from penchant.core.errors import PenchantError


class ServiceError(PenchantError):
    """An error response, or none; `status` is the HTTP status, 0 where there was no response; `request_id` identifies the request in the service's log."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        fields = {"where": "the service", "fix": "see its log", "detail": f"The service answered {status}.", **problem}
        super().__init__(fields["detail"], where=fields["where"], fix=fields["fix"])
        self.status = status
        self.request_id = str(problem.get("instance", "")).removeprefix("urn:request:")


class Client:
    """Talks to one service over kept connections; threads may share it.

    Args:
        address: Of the service.
        key: An API key; None where the service is open.
        timeout: Seconds.
        http: An HTTP client to use instead of a new one.
    """

    def __init__(
        self, address: str = "http://127.0.0.1:8000", key: str | None = None, *, timeout: float = 30, http: Any = None
    ) -> None:
        self.address = address.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http: Any = (
            http if http is not None else httpx2.Client(base_url=address, headers=headers, timeout=timeout)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def event(self, user_id: str, item_id: str, **facts: Any) -> dict[str, Any]:
        """Store one event (`kind`, `value`, `at`, `event_id`); it is on disk when this returns.

        Its content is `text=`, and `image=` and `audio=` as `{"data": BASE64}`, `{"file": PATH}` or `{"url": ADDRESS}`; lists know it within about a second.
        """
        return self._request("POST", "/v1/events", json={"user_id": user_id, "item_id": item_id, **facts})

    def events(self, events: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Store a batch: all of it or none; sent again with the same key it is stored once."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._request("POST", "/v1/events", json={"events": list(events)}, headers=headers)

    def delete_event(self, user_id: str, **name: str) -> dict[str, Any]:
        """Delete an event by `event_id=`, or by `item_id=` and `at=` (and `kind=`) as the export shows them."""
        return self._request("DELETE", f"{_user(user_id)}/events", params=name)

    def recommend(self, user_id: str, **options: Any) -> dict[str, Any]:
        """Return a list for one user; options are those of the API (`k`, `where`, `boost`, `circumstances`, `reasons`)."""
        return self._request("GET", f"{_user(user_id)}/recommendations", params=options)

    def recommend_session(self, history: Sequence[str | Mapping[str, Any]], **options: Any) -> dict[str, Any]:
        """Return a list for a history that is not stored: item ids, or `{"item_id": ID, "text": ...}`; `about=` is what `tell` takes."""
        return self._request("POST", "/v1/sessions/recommendations", json={"history": list(history), **options})

    def tell(self, user_id: str, columns: Mapping[str, Any] | None = None, **media: Any) -> dict[str, Any]:
        """Store what a user is: attributes and words by column, `image=`, `audio=`; None takes one back."""
        return self._request("PATCH", _user(user_id), json={"columns": dict(columns or {}), **media})

    def about(self, user_id: str) -> dict[str, Any]:
        """Return what a user told of themself, and what of it is read."""
        return self._request("GET", _user(user_id))

    def similar(self, item_id: str, **options: Any) -> dict[str, Any]:
        """Return the items most like one (`k`, `by`)."""
        return self._request("GET", f"{_item(item_id)}/similar", params=options)

    def search(self, words: str | None = None, **options: Any) -> dict[str, Any]:
        """Return the items nearest to words, or to `image=` or `audio=` as `{"data": BASE64}`."""
        return self._request("POST", "/v1/search", json={**({"words": words} if words else {}), **options})

    def predict(self, task: str, text: str | Mapping[str, str] | None = None, **content: Any) -> dict[str, Any]:
        """Return a labelled task's prediction for words, or for `image=`, `audio=` ... as `{"data": BASE64}`."""
        given = {**({} if text is None else {"text": text}), **content}
        return self._request("POST", f"/v1/predict/{quote(task, safe='')}", json=given)

    def courses(self, task: str, readings: Mapping[str, str], person: str | None = None) -> dict[str, Any]:
        """Return how recordings of people change over time, for a table of readings such as `{"data": BASE64, "ending": ".csv"}`."""
        given = {"readings": dict(readings), **({} if person is None else {"person": person})}
        return self._request("POST", f"/v1/courses/{quote(task, safe='')}", json=given)

    def profile(self, user_id: str) -> dict[str, Any]:
        """Return the interests of one user, with evidence, and their own edits."""
        return self._request("GET", f"{_user(user_id)}/profile")

    def profile_in_words(self, user_id: str, language: str = "en") -> dict[str, Any]:
        """Return the interests of one user as sentences, each with the events behind it."""
        return self._request("GET", f"{_user(user_id)}/profile/words", params={"language": language})

    def chat(self, user_id: str, message: str, conversation_id: str | None = None, **options: Any) -> dict[str, Any]:
        """Return the assistant's answer to a message; `conversation_id` of an earlier answer goes on with its conversation."""
        held = {"conversation_id": conversation_id} if conversation_id else {}
        return self._request("POST", "/v1/chat", json={"user_id": user_id, "message": message, **held, **options})

    def catalog(self) -> dict[str, Any]:
        """Return sizes, attributes, numbers and topics of the catalog, and the labelled tasks."""
        return self._request("GET", "/v1/catalog")

    def report(self) -> dict[str, Any]:
        """Return how good the served model is, beside its baselines."""
        return self._request("GET", "/v1/report")

    def edit_profile(self, user_id: str, *edits: Mapping[str, Any]) -> dict[str, Any]:
        """Store edits such as `{"name": "genres", "value": "Comedy", "action": "more"}`; return the profile."""
        return self._request("PATCH", f"{_user(user_id)}/profile", json={"edits": list(edits)})

    def explain(self, user_id: str, item_id: str, **options: str) -> dict[str, Any]:
        """Return the exact additive contributions to one score; `method="integrated_gradients"` or `"occlusion"` reads one network (`member=`)."""
        return self._request("GET", f"{_user(user_id)}/explanations/{quote(item_id, safe='')}", params=options)

    def counterfactual(self, user_id: str, item_id: str, k: int = 10) -> dict[str, Any]:
        """Return without which events the item leaves the user's list of k, or with which edit it enters it."""
        path = f"{_user(user_id)}/explanations/{quote(item_id, safe='')}"
        return self._request("GET", path, params={"counterfactual": "true", "k": k})

    def put_item(self, item_id: str, columns: Mapping[str, Any], **media: Any) -> dict[str, Any]:
        """Add or change an item; `image=` and `audio=` are `{"data": BASE64}`, `{"file": PATH}` or `{"url": ADDRESS}`."""
        return self._request("PUT", _item(item_id), json={"columns": dict(columns), **media})

    def item(self, item_id: str) -> dict[str, Any]:
        """Return the status of an item: waiting, ready, failed or withdrawn."""
        return self._request("GET", _item(item_id))

    def withdraw(self, item_id: str) -> dict[str, Any]:
        """Remove an item from every answer at once."""
        return self._request("DELETE", _item(item_id))

    def export(self, user_id: str) -> dict[str, Any]:
        """Return all stored data of one user."""
        return self._request("GET", f"/v1/export/{quote(user_id, safe='')}")

    def exported_file(self, user_id: str, name: str) -> bytes:
        """Return a file of an export, byte for byte."""
        path = f"/v1/export/{quote(user_id, safe='')}/files/{quote(name, safe='')}"
        content: bytes = self._answer("GET", path).content
        return content

    def erase(self, user_id: str) -> dict[str, Any]:
        """Erase a user; return the signed receipt."""
        receipt: dict[str, Any] = self._request("DELETE", _user(user_id))["receipt"]
        return receipt

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._answer(method, path, **options).json()
        return answer

    def _answer(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except (httpx2.TransportError, httpx2.UnsupportedProtocol) as error:
            slow = isinstance(error, httpx2.TimeoutException)
            fix = (
                "send it again (with an event_id it is stored once), or give Client(timeout=...) more seconds"
                if slow
                else "start it with `penchant serve BUNDLE`, or correct the address of Client(...)"
            )
            what = "did not answer in time" if slow else "cannot be reached"
            raise ServiceError(
                0, {"detail": f"The service {what}: {error}.", "where": f"{self.address}{path}", "fix": fix}
            ) from error
        if response.status_code >= 400:
            is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
            raise ServiceError(response.status_code, response.json() if is_problem else {})
        return response


def _user(user_id: str) -> str:
    return f"/v1/users/{quote(user_id, safe='')}"


def _item(item_id: str) -> str:
    return f"/v1/items/{quote(item_id, safe='')}"
