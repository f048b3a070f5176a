"""How often a trial without a difference shows one when it is read all the time.

In: nothing; trials are drawn. Out: for each rate the share of trials in which some look showed a difference, with intervals that may be read at
any time and with intervals for a single look.

    python benchmarks/sequential.py
"""

from __future__ import annotations

import math

import numpy as np

from penchant.metrics.sequential import sequential_difference

TRIALS, USERS, STEP = 300, 10_000, 50


def main() -> None:
    rng = np.random.default_rng(0)
    for rate in (0.02, 0.05, 0.3):
        ours = single = 0
        for _ in range(TRIALS):
            first, second = ((rng.random(USERS) < rate).astype(float) for _ in range(2))
            looks = [(first[:n], second[:n]) for n in range(2 * STEP, USERS + 1, STEP)]
            found = [sequential_difference(*look) for look in looks]
            ours += any(one.low > 0 or one.high < 0 for one in found)
            single += any(abs(b.mean() - a.mean()) > 1.96 * math.sqrt((a.var() + b.var()) / len(a)) for a, b in looks)
        print(f"rate {rate}: {ours / TRIALS:.3f} at any time, {single / TRIALS:.3f} for a single look", flush=True)


if __name__ == "__main__":
    main()
