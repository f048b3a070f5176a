"""Negatives of sampled losses.

In: training histories and the items chosen in a batch. Out: items drawn from both, and the probability of each item to be drawn.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from penchant.core.schema import Histories


class Negatives:
    """Items to learn against: some chosen in the same batch, the others drawn from the catalog by popularity to a power.

    Items of the batch come as often as they are chosen, so they are what a user is likely to have passed over; drawn ones reach the rest of
    the catalog. An item that nobody chose is never drawn.

    Source: Yang et al., Mixed negative sampling for learning two-tower neural networks in recommendations, WWW 2020.

    Args:
        histories: Training histories; events with weight above 0 are counted.
        count: Items of a draw.
        power: Of the popularity; 0 draws every item alike.
        in_batch: Share of the draw that comes from the batch.
        device: Where the network is.
    """

    def __init__(self, histories: Histories, count: int, power: float, in_batch: float, device: torch.device) -> None:
        liked = histories.item_index[histories.weight > 0]
        chosen = np.bincount(liked, minlength=histories.num_items).astype(np.float64)
        by_power = np.where(chosen > 0, np.maximum(chosen, 1) ** power, 0) if chosen.any() else np.ones(len(chosen))
        by_power /= by_power.sum()
        self.from_batch = round(in_batch * count)
        self.from_catalog = count - self.from_batch
        share = self.from_batch / count
        mixed = share * chosen / max(chosen.sum(), 1) + (1 - share) * by_power
        self.probability = torch.from_numpy(by_power).float().to(device)
        self.log_probability = torch.from_numpy(np.log(np.maximum(mixed, 1e-12))).float().to(device)
        """(items,) of one draw, whichever of the two it is; the network is corrected by it."""

    def draw(self, chosen: Int[Tensor, "N"]) -> Int[Tensor, "S"]:
        """Return item_index with repetitions.

        Args:
            chosen: Items chosen in the batch, at least one.
        """
        drawn = []
        if self.from_batch:
            drawn.append(chosen[torch.randint(len(chosen), (self.from_batch,), device=chosen.device)])
        if self.from_catalog:
            drawn.append(torch.multinomial(self.probability, self.from_catalog, replacement=True))
        return torch.cat(drawn)
