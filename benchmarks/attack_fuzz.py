"""Random bytes and texts for every reader of what others wrote.

In: a scratch folder and minutes. Out: for each reader how many inputs it got, and what it raised beside a `PenchantError`.
"""

from __future__ import annotations

import resource
import time
import traceback
from collections import Counter
from pathlib import Path

from hypothesis import given, seed, settings

from attacked_service import Measurement
from fuzz_targets import GENERATED, Target, check, readers, requests
from shop import make_bundle

MAX_SECONDS, MAX_BYTES = 10.0, 2_000_000_000
"""Longest time for one input, and the most memory of the process."""
EXAMPLES = 50


def attack_fuzz(folder: Path, minutes: float, first_seed: int) -> list[Measurement]:
    """Give every reader an equal share of the time."""
    shop = folder / "bundle"
    make_bundle(shop)
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    longest, slowest = 0.0, ""
    with requests(folder, shop) as asked:
        targets = {**readers(folder, shop), **asked}
        for name, target in targets.items():
            until = time.monotonic() + 60 * minutes / len(targets)
            number = first_seed
            while time.monotonic() < until:
                number += 1
                took = _run(name, target, number, until, counts, faults)
                longest, slowest = max((longest, slowest), (took, name))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = ", ".join(f"{name} {n:,}" for name, n in counts.items())
    kinds = "; ".join(f"{n} x {fault}" for fault, n in faults.most_common(12)) or "0"
    return [
        Measurement("fuzz", f"{len(counts)} readers: inputs", f"{sum(counts.values()):,} ({told})"),
        Measurement("fuzz", "raised beside a PenchantError; answers of 500 and above", kinds, "0", not faults),
        Measurement("fuzz", "longest", f"{longest:.1f} s ({slowest})", f"< {MAX_SECONDS:.0f} s", longest < MAX_SECONDS),
        Measurement("fuzz", "peak memory of the process", f"{peak / 1e6:,.0f} MB", "< 2,000 MB", peak < MAX_BYTES),
    ]


def _run(name: str, target: Target, number: int, until: float, counts: Counter[str], faults: Counter[str]) -> float:
    """Give one reader a batch of inputs; return the seconds the slowest of them took."""
    longest = 0.0

    @seed(number)
    @settings(GENERATED, max_examples=EXAMPLES)
    @given(target.values)
    def run(value: object) -> None:
        nonlocal longest
        if time.monotonic() > until:
            return
        began = time.monotonic()
        try:
            check(target, value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of Polars is no Exception
            place = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in place if "penchant" in frame.filename] or place
            fault = f"{name}: {type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
            if not faults[fault]:
                print(f"{fault}\n  {str(error)[:300]}\n  {value!r:.600}", flush=True)
            faults[fault] += 1
        counts[name] += 1
        longest = max(longest, time.monotonic() - began)

    run()
    return longest
