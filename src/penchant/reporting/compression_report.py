"""The page of a compression: the measured trade-off between memory, time and quality.

In: measured points and the chosen one. Out: compression.html (one file, no network, no script), compression.md and compression.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from penchant.core.messages import Message, Translator, message
from penchant.core.notebook import table_html
from penchant.metrics.intervals import Difference
from penchant.reporting import number_format, plots
from penchant.reporting.report import page_templates

NAME = "compression"
HOUR = 3600
WATT_HOUR = 3600
"""Joules."""
COLUMNS = (
    message("way"),
    message("memory"),
    message("members"),
    message("request"),
    message("95 % of requests"),
    message("NDCG@10"),
    message("change"),
    message("cost of 1,000 requests"),
)


@dataclass(frozen=True)
class TradeOffPoint:
    """One way to make a bundle smaller, measured.

    Attributes:
        name: The way in a few words.
        ndcg: NDCG@10 on the held-out events of the users it may be chosen on.
        loss: Share of the original's NDCG@10 that is lost there; negative where it is higher.
        error: Standard error of `loss` over users.
        members_bytes: Held by the members' arrays.
        memory_bytes: Held by all arrays of the recommender.
        milliseconds: Of a median request.
        slow_milliseconds: 95 % of requests take less.
        cpu_seconds: Of a thousand requests.
        joules: Of a thousand requests, of the whole machine; None where it does not count them.
    """

    name: Message
    ndcg: float
    loss: float
    error: float
    members_bytes: int
    memory_bytes: int
    milliseconds: float
    slow_milliseconds: float
    cpu_seconds: float
    joules: float | None


@dataclass(frozen=True)
class CompressionResults:
    """The measured trade-off.

    Attributes:
        name: Of the run.
        points: The first is the bundle as it is.
        chosen: Number of the chosen point.
        check: Chosen point minus the bundle as it is, NDCG@10 of users who had no part in the choice.
        check_original: NDCG@10 of the bundle as it is on these users.
        memory: Bytes of members, content and histories, of the bundle as it is and of the smaller one as it was written.
        disk: Bytes of the files of both, without reports; None where a bundle was not written.
        memory_mb: Budget; None for none.
        latency_ms: Budget; None for none.
        cpu_hour_price: Price of an hour of one core.
        num_users: Users of the choice, and of the check.
    """

    name: str
    points: tuple[TradeOffPoint, ...]
    chosen: int
    check: Difference
    check_original: float
    memory: tuple[Mapping[str, int], Mapping[str, int]]
    disk: tuple[int | None, int | None]
    memory_mb: float | None
    latency_ms: float | None
    cpu_hour_price: float
    num_users: tuple[int, int]

    @property
    def original(self) -> TradeOffPoint:
        return self.points[0]

    @property
    def best(self) -> TradeOffPoint:
        return self.points[self.chosen]

    def cost(self, point: TradeOffPoint) -> float:
        """Return the price of a thousand requests, one core at the price of `cpu_hour_price`."""
        return point.cpu_seconds * self.cpu_hour_price / HOUR

    @property
    def summary(self) -> Message:
        """The choice in one sentence."""
        one, other = self.original, self.best
        return message(
            "{name}: {memory} of memory instead of {memory_before}, {time} a request instead of {time_before}; NDCG@10 changes by {change}.",
            name=other.name,
            memory=_megabytes(other.memory_bytes),
            memory_before=_megabytes(one.memory_bytes),
            time=number_format.seconds(other.milliseconds / 1000),
            time_before=number_format.seconds(one.milliseconds / 1000),
            change=_change(-other.loss),
        )

    @property
    def checked(self) -> Message:
        """What users say who had no part in the choice."""
        scale = self.check_original or math.nan
        ends = (self.check.mean, self.check.low, self.check.high)
        mean, low, high = (_change(end / scale) for end in ends)
        return message(
            "On {count} other users, who had no part in the choice, it changes by {mean}, 95 % interval {low} to {high}.",
            count=number_format.count(self.num_users[1]),
            mean=mean,
            low=low,
            high=high,
        )

    @property
    def protocol(self) -> tuple[Message, ...]:
        """How it was measured."""
        lines = [
            message(
                "The members were fitted again without the last tenth of the events of {count} users, who were then ranked for: half of them "
                "decided, the others were measured once afterwards. The test of the run was not used.",
                count=number_format.count(sum(self.num_users)),
            ),
            message(
                "Memory is that of all arrays: members, vectors of content, histories. Time is that of lists of 10 without reasons, one after the "
                "other on one thread; points took turns, and the fastest of three times counts."
            ),
            message(
                "Cost: processor time at {price} an hour of one core; other prices scale it.",
                price=f"{self.cpu_hour_price:g}",
            ),
        ]
        joules = self.best.joules
        if joules is None:
            lines.append(message("Energy: this machine does not count it."))
        else:
            lines.append(
                message(
                    "Energy of the whole machine for a thousand requests: {energy} Wh, before {before} Wh.",
                    energy=f"{joules / WATT_HOUR:.3g}",
                    before=f"{(self.original.joules or math.nan) / WATT_HOUR:.3g}",
                )
            )
        return tuple(lines)

    def rows(self) -> Iterator[tuple[Message, ...]]:
        """Yield the cells of each point, in the order of `COLUMNS`."""
        for point in self.points:
            yield (
                point.name,
                Message(_megabytes(point.memory_bytes)),
                Message(_megabytes(point.members_bytes)),
                Message(number_format.seconds(point.milliseconds / 1000)),
                Message(number_format.seconds(point.slow_milliseconds / 1000)),
                Message(number_format.number(point.ndcg, 4)),
                Message(_change(-point.loss)),
                Message(f"{self.cost(point):.2g}"),
            )

    def plot(self, translate: Translator) -> Any:
        """Return the trade-off as a plot: memory against the NDCG@10 that is kept."""
        kinds = ["member"] * len(self.points)
        kinds[0], kinds[self.chosen] = "baseline", "ours"
        return plots.scatter(
            [(p.memory_bytes / 1e6, p.ndcg) for p in self.points],
            kinds,
            x=translate(message("memory, MB")),
            y="NDCG@10",
            alt=translate.said(self.summary),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "summary": str(self.summary), "checked": str(self.checked)}

    def _repr_html_(self) -> str:
        cells = [tuple(str(cell) for cell in row) for row in self.rows()]
        return table_html(str(self.summary), tuple(str(c) for c in COLUMNS), cells)


def write_compression(data: CompressionResults, folder: Path, translate: Translator) -> None:
    """Write compression.html, compression.md and compression.json into a folder; the pages in the translator's language, the values in English."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = page_templates()
    environment.filters.update(said=translate.said, size=number_format.size, megabytes=_megabytes)
    template = environment.get_template("compression.html.jinja")
    page = template.render(data=data, columns=COLUMNS, _=translate, plot=partial(data.plot, translate))
    (folder / f"{NAME}.html").write_text(page, encoding="utf-8")
    lines = [
        f"# {data.name}",
        *map(translate.said, (data.summary, data.checked, *data.protocol)),
        _table(data, translate),
    ]
    (folder / f"{NAME}.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    text = json.dumps(data.as_dict(), ensure_ascii=False, indent=2)
    (folder / f"{NAME}.json").write_text(text, encoding="utf-8")


def _table(data: CompressionResults, translate: Translator) -> str:
    head = [translate(column) for column in COLUMNS]
    rows = [list(map(translate.said, row)) for row in data.rows()]
    rows[data.chosen][0] = f"**{rows[data.chosen][0]}**"
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _change(share: float) -> str:
    """Return a share as a percentage with its sign."""
    return number_format.MISSING if math.isnan(share) else f"{number_format.signed(100 * share, 1)} %"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
