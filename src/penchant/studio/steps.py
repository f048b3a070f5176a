"""What was done on a user's page.

In: the page's own fields. Out: in look-only mode the steps taken on a copy of the user, which are in no store; in acting mode the changes that were
stored, newest last, each with what takes it back.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from penchant.data.histories import Event
from penchant.recommender.lists import Edit, Id
from penchant.service.schemas import EditIn, EventIn, Name

MAX_STEPS = 60
"""Steps that a page keeps; older changes of acting mode stay, without an undo."""
LEVELS: dict[int, Literal["more", "less", "never", "pin", "reset"]] = {
    -2: "never",
    -1: "less",
    0: "reset",
    1: "more",
    2: "pin",
}
"""Slider position to its action."""
Mode = Literal["look", "act"]


class Step(BaseModel):
    """One change of a user.

    Attributes:
        item: Of an event; "" for an edit.
        kind: Of the event.
        at: Its time, microseconds since 1970.
        event_id: Of a stored event, to delete it.
        is_deletion: Whether the event was deleted, not added.
        value: Of a deleted event.
        name: Of an edited interest; "" for an event.
        of: The interest's value.
        action: What was asked for.
        before: The action before, to restore it.
        strength: Of the action before.
    """

    model_config = ConfigDict(extra="forbid")

    item: Id | Literal[""] = ""
    kind: Annotated[str, Field(max_length=64)] = ""
    at: Annotated[int, Field(ge=-(2**62), le=2**62)] = 0
    event_id: Id | Literal[""] = ""
    is_deletion: bool = False
    value: float | None = None
    name: Name | Literal[""] = ""
    of: Id | Literal[""] = ""
    action: Literal["more", "less", "never", "pin", "reset"] = "reset"
    before: Literal["more", "less", "never", "pin", "reset"] = "reset"
    strength: Annotated[float, Field(gt=0, le=5)] = 1.0


_STEPS = TypeAdapter(Annotated[list[Step], Field(max_length=MAX_STEPS)])


def read_steps(text: str) -> list[Step]:
    """Return the steps of a page's field; none of other text."""
    try:
        return _STEPS.validate_json(text)
    except (ValidationError, RecursionError):
        return []


def written_steps(steps: Sequence[Step]) -> str:
    """Return steps as a page's field."""
    return _STEPS.dump_json(list(steps)[-MAX_STEPS:], exclude_defaults=True).decode()


def event_step(item_id: str, kind: str) -> Step:
    """Return the step of a new event, now."""
    return Step(item=item_id, kind=kind, at=time.time_ns() // 1000, event_id=f"studio-{secrets.token_hex(12)}")


def edit_step(name: str, value: str, level: int, held: Sequence[Edit]) -> Step:
    """Return the step of a slider position, with the edit that it replaces."""
    old = next((e for e in held if (e.name, e.value) == (name, value)), None)
    before = {} if old is None else {"before": old.action, "strength": old.strength}
    return Step.model_validate({"name": name, "of": value, "action": LEVELS[level], **before})


def copied_events(user_id: str, steps: Sequence[Step]) -> list[Event]:
    """Return the events of a copy."""
    return [Event(user_id, s.item, s.kind, s.at) for s in steps if s.item]


def copied_edits(steps: Sequence[Step]) -> list[Edit]:
    """Return the edits of a copy, "reset" included."""
    return [Edit(s.name, s.of, s.action) for s in steps if s.name]


def sent_event(user_id: str, step: Step) -> EventIn:
    """Return the event of a step, as a client would send it."""
    return EventIn.model_validate(
        {"user_id": user_id, "item_id": step.item, "kind": step.kind, "event_id": step.event_id}
    )


def edit_back(step: Step) -> EditIn:
    """Return the edit that restores what was before a step."""
    return EditIn(name=step.name, value=step.of, action=step.before, strength=step.strength)
