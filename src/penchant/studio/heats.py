"""What in an item's photo, words or sound a model looks at, for the pages.

In: an item, a channel, perhaps a user. Out: the values of the page: marked words, or a drawing inside the page.
"""

from __future__ import annotations

import base64
from typing import Any

from penchant.core.errors import NotFoundError
from penchant.recommender.recommender import Recommender
from penchant.service.service import Service
from penchant.studio.cards import card


def drawn(service: Service, item_id: str, channel: str, user_id: str | None) -> dict[str, Any]:
    """Return the values of the page of one heat.

    Raises:
        NotFoundError: The item or the channel is unknown, the item is withdrawn, was added later, or has no such content.
        MediaError: A file cannot be decoded.
    """
    snapshot = service.snapshot
    recommender, row = snapshot.recommender, snapshot.recommender.lookup.row(item_id)
    if not snapshot.available[row] or item_id in recommender.added or service.stored_items.media(item_id):
        raise NotFoundError(
            f"Heat is drawn over the catalog's own content, and that of {item_id!r} was sent or withdrawn later.",
            where="item",
            fix="choose an item of the bundle, or fit the bundle again",
        )
    history = None if user_id is None else service.states.one(user_id)[1].history
    found = recommender.heat(item_id, channel, history, limits=service.config.media)
    is_text = found.modality == "text"
    picture = None if is_text else f"data:image/png;base64,{base64.b64encode(found.png()).decode()}"
    return {
        "item": card(recommender, row),
        "user_id": user_id,
        "channel": channel,
        "found": found,
        "words": found.html() if is_text else None,
        "picture": picture,
        "channels": offered(recommender, row),
    }


def offered(recommender: Recommender, row: int) -> list[str]:
    """Return the channels over which heat can be drawn for an item of the catalog."""
    if recommender.lookup.items.ids[row] in recommender.added:
        return []
    return [name for name in recommender.heat_channels if recommender.content.channels[name].usable[row]]
