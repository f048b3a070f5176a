"""Off-policy estimates on real traffic: the click rate of one policy from the log of another, beside what it truly had.

In: Open Bandit Data (`PENCHANT_DATA`/open_bandit). Out: a row for each campaign and direction, and how many intervals hold the truth.

    python benchmarks/off_policy.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from open_bandit import CAMPAIGNS, campaign
from penchant.metrics.off_policy import evaluate_policy


def main() -> None:
    folder = Path(os.environ["PENCHANT_DATA"]) / "open_bandit"
    held = total = 0
    for name in CAMPAIGNS:
        for logged, wanted in (("random", "bts"), ("bts", "random")):
            log, truth = campaign(folder, name, logged, wanted)
            found = evaluate_policy(log)
            print(f"{name}, {logged} to {wanted}: true {truth:.4f}, mean weight {found.mean_weight:.3f}")
            for value in found.values:
                if np.isnan(value.low):
                    print(f"  {value.name:14} {value.value:.4f} no interval, {value.effective:.0f} effective choices")
                    continue
                held += value.low <= truth <= value.high
                total += 1
                print(f"  {value.name:14} {value.value:.4f} [{value.low:.4f}, {value.high:.4f}] {value.effective:,.0f}")
    print(f"{held} of {total} intervals hold the true click rate")


if __name__ == "__main__":
    main()
