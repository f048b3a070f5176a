"""What the store keeps, row by row.

In: nothing. Out: frozen records of items, content of users, erasures, requests and keys, as `Store` takes and returns them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from safetensors.numpy import load as read_arrays

from penchant.core.errors import PenchantError
from penchant.core.schema import OwnContent

FAILED, READY, WAITING, WITHDRAWN = "failed", "ready", "waiting", "withdrawn"
"""Statuses of an item."""


class ConflictError(PenchantError):
    """The record was changed in the meantime."""


@dataclass(frozen=True)
class StoredItem:
    """An item that came, changed or went since the bundle was made.

    Attributes:
        item_id: Its id.
        status: One of the four.
        body: JSON: columns, media, failures, reason.
        vectors: A safetensors file; None before encoding, and where vectors are not read.
        version: Number of its last change, higher than that of any change before; set by the store.
    """

    item_id: str
    status: str
    body: str
    vectors: bytes | None = None
    version: int = field(default=0, compare=False)


@dataclass(frozen=True)
class StoredContent:
    """Content of a user, as the store holds it.

    Attributes:
        user_id: Whose it is.
        sequence: Number of its event; None for what the user told of themself.
        body: JSON: columns, media, unreadable.
        vectors: A safetensors file; None before encoding. A vector is named by its channel and the encoder that made it.
        encoder: What made the vectors; "" before encoding.
    """

    user_id: str
    sequence: int | None
    body: str
    vectors: bytes | None = None
    encoder: str = ""

    @property
    def content(self) -> OwnContent:
        """What it holds; names of vectors as stored."""
        about = json.loads(self.body)
        vectors = {} if self.vectors is None else read_arrays(self.vectors)
        return OwnContent(about["columns"], about["media"], vectors, tuple(about.get("unreadable", ())))


def content_body(content: OwnContent) -> str:
    """Return content without vectors as JSON."""
    about = {"columns": dict(content.columns), "media": dict(content.media)}
    unreadable = {"unreadable": list(content.unreadable)} if content.unreadable else {}
    return json.dumps({**about, **unreadable}, ensure_ascii=False)


def vector_name(channel: str, encoder: str) -> str:
    """Return the name of a vector: one that another encoder made is not comparable."""
    return f"{channel}\n{encoder}"


@dataclass(frozen=True)
class StoredConversation:
    """A conversation of a user with the assistant.

    Attributes:
        user_id: The user.
        conversation_id: Drawn by the service.
        turns: JSON: what was said.
        state: JSON: what stands of it.
        version: Of its last change; 0 for one that is not stored yet.
        changed_at: Time of its last change; set by the store.
    """

    user_id: str
    conversation_id: str
    turns: str = "[]"
    state: str = ""
    version: int = 0
    changed_at: int = 0


@dataclass(frozen=True)
class StoredErasure:
    """An erasure; `finished_at` is None until the models were fitted anew, `subject` is a keyed hash of the id.

    `number` and `link` are its place in the chain of all erasures; None before the first start of a service that signs it.
    """

    receipt_id: str
    subject: str
    erased_at: int
    finished_at: int | None
    receipt: str
    number: int | None = None
    link: str | None = None

    def linked(self, before: str) -> str:
        """Return what its link is made of; `before` is the link of the erasure before, "" for the first."""
        return "\n".join([before, str(self.number), self.receipt_id, self.subject, str(self.erased_at)])


@dataclass(frozen=True)
class EventName:
    """What names events of one user: the id that a client gave one, or an item and a time.

    Attributes:
        key: The id; None names them by the others.
        item_id: Item.
        at: Time, microseconds since 1970.
        kind: None takes every kind.
    """

    key: str | None = None
    item_id: str = ""
    at: int = 0
    kind: str | None = None


@dataclass(frozen=True)
class RequestKey:
    """The idempotency key of one request.

    Attributes:
        key: As the client sent it.
        digests: User to the digest of the user's events in the request; two requests are the same if these are equal.
    """

    key: str
    digests: Mapping[str, str]


@dataclass(frozen=True)
class StoredRequest:
    """A request with an idempotency key that held events of a user."""

    key: str
    received_at: int


@dataclass(frozen=True)
class StoredKey:
    """An API key without its secret."""

    key_id: str
    name: str
    digest: str
    scopes: str
    per_minute: int | None
