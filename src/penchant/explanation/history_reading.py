"""What a network over histories read of one of them.

In: a fitted network, a history, an item. Out: for each of the latest events how much the last state attends to it (or, without attention, how far the
state moved when it came), and how much the item's log-probability falls where the event, or a part of it, says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64

from penchant.core.messages import message
from penchant.core.schema import BEHAVIOUR, LATEST, Content, Histories
from penchant.explanation.network_attribution import attribute_network
from penchant.models.sequence import Sequence as Network
from penchant.networks.backbones import Transformer
from penchant.networks.sequences import recent_windows
from penchant.reporting.inside import ReadHistory

SHOWN = 12
"""Latest events that are shown; the network reads more of them."""


def read_history(
    name: str, network: Network, content: Content, history: Histories, row: int, titles: Sequence[str]
) -> ReadHistory:
    """Return what one network read of a history; attention is no reason, so that what the score loses stands beside it.

    Cost: as occlusion in `attribute_network`.

    Args:
        name: Of the network.
        network: Fitted.
        content: Over its catalog.
        history: Exactly one user, with at least one event.
        row: The item.
        titles: Of the catalog.

    Source: Jain & Wallace, Attention is not explanation, NAACL 2019.
    """
    asked = history if history.requested_at is not None else history.requested(LATEST)
    known = replace(asked.where(asked.item_index < len(network.vectors)), num_items=len(network.vectors))
    _, values, _, _ = attribute_network(network, content, known, row, "occlusion")
    inner = inner_states(network, known)
    columns = (
        tuple(message("attention, block {number}", number=str(block + 1)) for block in range(inner.shape[1]))
        if _attends(network)
        else (message("movement of the state"),)
    )
    read = known.item_index[known.num_events - len(values) :]
    return ReadHistory(
        member=name,
        item=titles[row],
        events=tuple(titles[item] for item in read[-SHOWN:]),
        columns=(*columns, *network.bases, BEHAVIOUR),
        values=np.concatenate([inner, values], axis=1)[-SHOWN:],
        num_inner=inner.shape[1],
    )


@torch.no_grad()
def inner_states(network: Network, history: Histories) -> Float64[np.ndarray, "events columns"]:
    """Return the attention of the last state to each event that is read, by block; of a backbone without attention how far the state moved."""
    assert network.network is not None
    batch = recent_windows(history, np.array([0]), network.config.max_length)
    tokens = network.vectors[batch.items]
    if _attends(network):
        steps = network.network.steps(tokens, batch)
        found = network.network.backbone.attention(steps, batch.lengths + 1)[0, :, 1:].T  # type: ignore[operator]
    else:
        states = network.network(tokens, batch)[0]
        found = torch.linalg.vector_norm(states[1:] - states[:-1], dim=1)[:, None]
    return found.numpy().astype(np.float64)


def _attends(network: Network) -> bool:
    return isinstance(getattr(network.network, "backbone", None), Transformer)
