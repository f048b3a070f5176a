"""What the store holds of a user, as an export shows it.

In: events, content and conversations of the store. Out: values that JSON can hold.
"""

from __future__ import annotations

import json
from typing import Any

from penchant.core.schema import OwnContent
from penchant.data.histories import Event
from penchant.service.store import StoredConversation
from penchant.service.stream_log import DeadLetter
from penchant.service.times import iso_time

EXPORTED = ("user_id", "item_id", "kind", "value", "key")
"""What an export shows of an event, besides its time and content."""


def exported_event(event: Event) -> dict[str, Any]:
    """Return an event with its content."""
    content = {} if event.content is None else {"content": exported_content(event.content)}
    return {**{n: getattr(event, n) for n in EXPORTED}, "at": iso_time(event.at), **content}


def exported_content(content: OwnContent) -> dict[str, Any]:
    """Return content with its vectors as lists of numbers."""
    vectors = {name.partition("\n")[0]: v.astype(float).round(6).tolist() for name, v in content.vectors.items()}
    return {
        "columns": dict(content.columns),
        "files": dict(content.media),
        "vectors": vectors,
        "unreadable": list(content.unreadable),
    }


def exported_conversation(stored: StoredConversation) -> dict[str, Any]:
    """Return a conversation with what stands of it."""
    return {
        "conversation_id": stored.conversation_id,
        "turns": json.loads(stored.turns),
        "state": json.loads(stored.state),
    }


def exported_letter(letter: DeadLetter) -> dict[str, Any]:
    """Return a record of an event stream that could not be stored."""
    return {"stream": letter.source, "at": iso_time(letter.received_at), "reason": letter.reason, "record": letter.body}
