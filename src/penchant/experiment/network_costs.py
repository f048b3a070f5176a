"""Time that an epoch of a network takes, predicted before it is trained.

In: histories, content and the epochs measured so far. Out: seconds of an epoch of any other network, on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np

from penchant.core.schema import Content, Histories

ELEMENTWISE = 120
"""What is done with each number of a block besides products (norms, activations, dropout), in products of that number."""
LOGIT, SAMPLED_LOGIT = 25, 200
"""The same of a logit: of the chunked softmax over all items, and of sampled losses, whose logits pass through memory."""


class EpochCosts:
    """Predicted seconds of an epoch, from the products its network takes and the seconds a product took so far.

    The speed of a backbone is the median of its epochs measured before; of one not measured yet, that of all others. On a CPU, one thread, the
    prediction is within a factor of about two (recurrent networks on long histories are the slow ones), and of a measured backbone nearer.

    Args:
        train: Histories that the networks learn from.
        content: Channels.
    """

    def __init__(self, train: Histories, content: Content) -> None:
        self.train, self.content = train, content
        self._lengths = train.lengths()
        self._speeds: dict[str, list[float]] = {}

    def learn(self, table: Mapping[str, Any], seconds: float, share: float = 1.0) -> None:
        """Remember the measured seconds of an epoch.

        Args:
            table: Settings of the network.
            seconds: Duration of an epoch.
            share: Of the events, that the epoch had.
        """
        speed = seconds / (share * self.products(table))
        self._speeds.setdefault(str(table.get("backbone")), []).append(speed)

    def seconds(self, table: Mapping[str, Any]) -> float | None:
        """Return the predicted seconds of an epoch; None before anything was measured."""
        known = self._speeds.get(str(table.get("backbone"))) or [one for own in self._speeds.values() for one in own]
        return self.products(table) * median(known) if known else None

    def products(self, table: Mapping[str, Any]) -> float:
        """Return about how many products an epoch takes, forward and backward; elementwise work is counted as products too."""
        from penchant.models.sequence import SequenceConfig, batch_of  # imports torch
        from penchant.networks import BACKBONES
        from penchant.networks.backbones import BackboneConfig

        config = SequenceConfig(**{key: value for key, value in table.items() if key != "model"})
        events, items, dim = self.train.num_events, self.train.num_items, config.dim
        batch = config.batch_events or batch_of(events)
        size = BackboneConfig(**{n: getattr(config, n) for n in BackboneConfig.model_fields})
        backbone = BACKBONES.load(config.backbone).products(size, self.window(config.max_length))
        if config.loss == "softmax":
            logits, named = items * (dim + LOGIT), items
        else:
            logits, named = config.negatives * (dim + SAMPLED_LOGIT), min(items, 2 * batch + config.negatives)
        names = tuple(self.content.channels) if config.channels is None else config.channels
        widths = [min(config.channel_dim, self.content.channels[n].dim) for n in names if n in self.content.channels]
        token = sum(width + dim for width in widths) * dim  # projected, then fused
        return events * (logits + (backbone + named / batch * token) * (1 + ELEMENTWISE / dim))

    def window(self, max_length: int) -> float:
        """Return the mean length of the window that an event lies in, where histories are cut after `max_length` events."""
        full, rest = np.divmod(self._lengths, max_length)
        return float((full * max_length**2 + rest**2).sum() / max(self._lengths.sum(), 1))
