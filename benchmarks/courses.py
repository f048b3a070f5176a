"""The early warning on generated people whose change is known, beside simpler rules at the same promised rate.

    python benchmarks/courses.py [--courses runs/depresjon-course/report/courses.json]

In: nothing, or the left-out courses of a run, to which shifts are added. Out: false alarms kept, share found, delay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

RATE, BASELINE, SLACK = 0.02, 5, 0.5
Score = Callable[[np.ndarray], np.ndarray]


def cusum(deviation: np.ndarray) -> np.ndarray:
    total, found = 0.0, []
    for step in (deviation - SLACK).tolist():
        total = max(0.0, total + step)
        found.append(total)
    return np.array(found)


def one_window(deviation: np.ndarray) -> np.ndarray:
    return deviation


def three_windows(deviation: np.ndarray) -> np.ndarray:
    padded = np.concatenate([np.zeros(2), deviation])
    return np.convolve(padded, np.ones(3) / 3, mode="valid")


RULES: dict[str, Score] = {"CUSUM (ours)": cusum, "one window": one_window, "mean of three windows": three_windows}


def alarms(deviation: np.ndarray, score: Score, threshold: float) -> list[int]:
    """Return where a score reaches the threshold; after an alarm it starts again."""
    found, start = [], 0
    while start < len(deviation):
        above = np.flatnonzero(score(deviation[start:]) >= threshold)
        if not len(above):
            break
        start += int(above[0]) + 1
        found.append(start - 1)
    return found


def threshold_of(people: list[np.ndarray], score: Score) -> float:
    """Return the lowest threshold that keeps the rate with one alarm more."""
    most = RATE * sum(map(len, people)) - 1
    candidates = np.unique(np.concatenate([score(one) for one in people]))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        if sum(len(alarms(one, score, candidates[middle] + 1e-9)) for one in people) <= most:
            high = middle
        else:
            low = middle + 1
    return float(candidates[min(low, len(candidates) - 1)]) + 1e-9


def deviations(courses: list[np.ndarray]) -> list[np.ndarray]:
    spread = np.sqrt(sum(((c - c.mean()) ** 2).sum() for c in courses) / sum(len(c) - 1 for c in courses))
    return [(c[BASELINE:] - c[:BASELINE].mean()) / spread for c in courses if len(c) > BASELINE]


def measure(
    train: list[np.ndarray], test: list[np.ndarray], shift: float, rng: np.random.Generator
) -> dict[str, tuple[float, float, float]]:
    """Return for each rule: alarms a person-day on test people, share of shifts found, median delay."""
    begins = [int(rng.integers(0, max(1, len(one) - 2))) for one in test]
    result = {}
    for name, score in RULES.items():
        threshold = threshold_of(train, score)
        kept = sum(len(alarms(one, score, threshold)) for one in test) / sum(map(len, test))
        delays = []
        for one, begin in zip(test, begins, strict=True):
            raised = one + shift * (np.arange(len(one)) >= begin)
            after = [t for t in alarms(raised, score, threshold) if t >= begin]
            delays.append(after[0] - begin if after else np.nan)
        found = np.isfinite(delays)
        result[name] = (kept, float(found.mean()), float(np.median(np.array(delays)[found])) if found.any() else np.nan)
    return result


def show(title: str, results: list[dict[str, tuple[float, float, float]]], *, independent: bool) -> None:
    print(title)
    for name in RULES:
        values = np.array([one[name] for one in results])
        kept, found, delay = np.nanmean(values, axis=0)
        print(
            f"  {name:22s} alarms a day {kept:.4f} (deviation {values[:, 0].std():.4f}), found {found:.2f}, delay {delay:.1f}"
        )
    ours = np.array([one["CUSUM (ours)"][1] for one in results])
    for name in list(RULES)[1:]:
        gain = ours - np.array([one[name][1] for one in results])
        low, high = np.quantile(gain, (0.025, 0.975))
        error = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
        mean = (
            f"{gain.mean():+.3f} [{gain.mean() - error:+.3f}, {gain.mean() + error:+.3f}]"
            if independent
            else f"{gain.mean():+.3f}"
        )
        print(f"  found, ours minus {name}: {mean}; 95 % of {len(results)} draws {low:+.3f} to {high:+.3f}")


def generated(count: int, days: int, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.normal(0, 2) + rng.normal(0, 1, days) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--courses", type=Path, help="courses.json of a run; its class that the rule was fitted on is used"
    )
    parser.add_argument("--steady", default="control")
    parser.add_argument("--draws", type=int, default=40)
    given = parser.parse_args()
    for shift in (1.0, 2.0):
        done = []
        for draw in range(given.draws):
            rng = np.random.default_rng(draw)
            train, test = (deviations(generated(n, 30, rng)) for n in (40, 100))
            done.append(measure(train, test, shift, rng))
        show(
            f"generated, 40 people of 30 days set the threshold, 100 others are watched, shift {shift:g}",
            done,
            independent=True,
        )
    if given.courses is None:
        return
    held = json.loads(given.courses.read_text())["courses"]
    every = [np.array(one["probability"]) for one in held if one["label"] == given.steady]
    courses = [np.log(np.clip(p, 1e-6, 1 - 1e-6) / (1 - np.clip(p, 1e-6, 1 - 1e-6))) for p in every]
    for shift in (1.0, 2.0):
        done = []
        for draw in range(given.draws):
            rng = np.random.default_rng(draw)
            order = rng.permutation(len(courses))
            half = len(order) // 2
            train, test = (deviations([courses[n] for n in part]) for part in (order[:half], order[half:]))
            done.append(measure(train, test, shift, rng))
        show(
            f"{given.courses}: half of the steady people set the threshold, the others are watched, shift {shift:g} added",
            done,
            independent=False,
        )


if __name__ == "__main__":
    main()
