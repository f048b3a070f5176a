"""Logged lists of Open Bandit Data (ZOZOTOWN, Saito et al. 2021): two policies on the same pages of a shop, each with its propensities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from penchant.metrics.off_policy import LoggedChoices

CAMPAIGNS = ("all", "men", "women")


def campaign(folder: Path, name: str, logged: str, wanted: str) -> tuple[LoggedChoices, float]:
    """Return the choices of one policy with the probabilities of the other, and the click rate that the other one had itself.

    The random policy has equal probabilities. The probabilities of the Thompson policy changed over the week; how often its own log
    shows each item at each position is their mean.
    """
    tables = {policy: pl.read_csv(folder / f"{policy}_{name}.csv.gz") for policy in (logged, wanted)}
    own, other = tables[logged], tables[wanted]
    items = int(max(t["item_id"].max() for t in tables.values())) + 1  # type: ignore[type-var]
    places = own["position"].to_numpy() - 1
    shares = np.full((3, items), 1 / items)
    if wanted == "bts":
        shown = np.zeros((3, items))
        np.add.at(shown, (other["position"].to_numpy() - 1, other["item_id"].to_numpy()), 1)
        shares = shown / shown.sum(1, keepdims=True)
    log = LoggedChoices(
        own["click"].to_numpy().astype(float),
        own["propensity_score"].to_numpy(),
        own["item_id"].to_numpy(),
        places,
        np.tile(np.arange(items), (len(own), 1)),
        shares[places],
        np.arange(len(own)),
    )
    return log, float(other["click"].mean())  # type: ignore[arg-type]
