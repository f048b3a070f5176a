"""The report: one page that works offline.

In: `ReportData`, the measurements of one run. Out: report.html (one file, no network, no script), report.json and report.md.
Titles and names are untrusted: all text is escaped, and the page's policy forbids scripts and outside addresses.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from penchant.core.messages import Translator, message, packed
from penchant.core.schema import Finding
from penchant.data.doctor.warnings import UNCOUNTED, DataWarning
from penchant.metrics.ablation import Ablation, GroupGain
from penchant.metrics.beyond_accuracy import BeyondAccuracy
from penchant.metrics.classification_results import ClassificationResults
from penchant.metrics.comparison import Leaderboard
from penchant.metrics.interest import InterestResults
from penchant.metrics.intervals import Interval
from penchant.metrics.option_prices import Prices
from penchant.metrics.slices import Slice
from penchant.reporting import conclusions, number_format, plots
from penchant.reporting import first_screen as screen
from penchant.reporting.heat import Heat
from penchant.reporting.inside import EmbeddingMap, ReadHistory, ShownHeat, TrainingCurve
from penchant.reporting.labels import CHOSEN_ON, metric_label, size_label, stage_label
from penchant.reporting.thumbnails import clip, thumbnail

CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and marks that change the text direction."""

MESSAGES = "messages.json"
"""Beside report.json: the source strings of slice names, from which the studio translates them."""

BY_REQUEST = "by_request.parquet"
"""Beside report.json: the metrics of each of our lists, without ids."""
USER = "user"
"""Column of that file: a number, equal for the lists of one user."""

LEFT_OUT = ("picture", "sound", "by_request", "points", "groups")
"""Fields that report.json does not hold."""

UNIT = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|MB|GB)\b)|(?<=&lt;) (?=\d)")
"""The space between a number and its unit, and between "less than" and its number."""


@dataclass(frozen=True)
class ChannelCoverage:
    """Coverage of the catalog by one channel.

    Attributes:
        channel: Its name.
        modality: "text", "image", ...
        num_items: Rows of the catalog.
        num_present: Items that have it.
        num_imputed: Items imputed from their neighbours.
    """

    channel: str
    modality: str
    num_items: int
    num_present: int
    num_imputed: int = 0


@dataclass(frozen=True)
class StepTime:
    """Time and memory of one step of the run.

    Attributes:
        name: The step.
        seconds: Wall clock.
        peak_bytes: Peak resident memory of the process when it ended; None where it was not measured.
        is_cached: Whether its result came from the cache.
    """

    name: str
    seconds: float
    peak_bytes: int | None = None
    is_cached: bool = False


@dataclass(frozen=True)
class FlowStep:
    """One arrow of the pipeline: what leaves a step.

    Attributes:
        name: The step.
        counts: What leaves it, by name; channels are named as they are.
    """

    name: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class ShownItem:
    """One item as a user sees it.

    Attributes:
        title: Its name; untrusted text.
        picture: File or bytes; unreadable ones are left out.
        sound: File; large ones are left out.
        reason: Of the recommendation.
        score: As the recommender gave it; None for an item of the history.
        is_hit: Whether the user chose it later.
        item_id: In the catalog; in the JSON, not on the page.
    """

    title: str
    picture: Path | bytes | None = None
    sound: Path | None = None
    reason: str = ""
    score: float | None = None
    is_hit: bool = False
    item_id: str = ""


ABOUT_USERS = ("events.", "users.")
"""Beginnings of the checks whose examples name users."""
NAMES_NO_USER = ("events.unknown_item", "events.one_instant", "events.no_time")


@dataclass(frozen=True)
class UserExample:
    """One user with a history and a list of recommendations.

    Attributes:
        user: A label that is no id: `user_label`.
        history: The latest events, oldest first.
        recommended: Best first.
        heats: What of the content of one item adds to its score.
        reading: What a network read of the history.
    """

    user: str
    history: tuple[ShownItem, ...]
    recommended: tuple[ShownItem, ...]
    heats: tuple[ShownHeat, ...] = ()
    reading: ReadHistory | None = None


@dataclass(frozen=True)
class WeightBand:
    """Ensemble weights for one range of history lengths, or of times between a user's last event and the request.

    Attributes:
        first: Least number of events, or microseconds.
        last: Greatest; None has no end.
        weights: Member to weight.
        by: "length" or "gap"; the first band of gaps, below 0, is of requests whose gap is not known.
    """

    first: int
    last: int | None
    weights: Mapping[str, float]
    by: str = "length"

    @property
    def label(self) -> str:
        """The range, such as "3–7" events, "8+" or "2 min 0 s+"; a missing number for gaps that are not known."""
        if self.by == "length":
            return f"{self.first}+" if self.last is None else f"{self.first}–{self.last}"
        if self.first < 0:
            return number_format.MISSING
        ends = [number_format.seconds(end / 1e6) for end in (self.first, self.last) if end is not None]
        return f"{ends[0]}+" if self.last is None else "–".join(ends)


@dataclass(frozen=True)
class ReportData:
    """The measurements of one run; an empty part is left out of the page.

    Attributes:
        name: The run.
        created_at: UTC.
        seed: The run's seed.
        language: "en" or "zh".
        hardware: One line.
        versions: Package to version.
        protocol: Paragraphs: split, candidates, selection.
        pool: What the lists were ranked from.
        ceiling: Metric to what lists ranked by the true probability of each choice reach; known for generated data only.
        concerns: What would harm a model most, the worst first.
        encoding: Channel to the seconds its content takes to encode, NaN where that was not measured.
        flow: The pipeline, in the order of its steps.
        by_request: Metrics of our lists, one row for each, without ids; written beside the report to compare two runs.
        test_mark: Hash of the test; runs of the same test have the same one.
        sizes: Name ("users", "items", "train", ...) to count.
        findings: Of the data and the split.
        coverage: One for each channel.
        leaderboard: Recommenders against the best baseline.
        ablation: By modality.
        group_gains: Gain of each modality for each group of users.
        slices: By group of users and of true items.
        classified: Interest in an item, yes or no; ours first.
        labelled: Classification results of a labelled task.
        variety: Beyond accuracy.
        prices: What ranking options cost.
        weights: Member to its weight in the ensemble.
        bands: Weights by length of the history, or by the time since the last event, where they are better.
        stages: In the order they ran.
        examples: A few users.
        heats: What of the content of some samples supports the answer; those of users are in the examples.
        training: Of every network.
        maps: Of items or samples.
    """

    name: str
    created_at: datetime
    seed: int
    language: str = "en"
    hardware: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    protocol: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    coverage: tuple[ChannelCoverage, ...] = ()
    leaderboard: Leaderboard | None = None
    ablation: Ablation | None = None
    group_gains: tuple[GroupGain, ...] = ()
    slices: tuple[Slice, ...] = ()
    classified: tuple[InterestResults, ...] = ()
    labelled: ClassificationResults | None = None
    variety: tuple[BeyondAccuracy, ...] = ()
    prices: Prices | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    bands: tuple[WeightBand, ...] = ()
    stages: tuple[StepTime, ...] = ()
    examples: tuple[UserExample, ...] = ()
    heats: tuple[ShownHeat, ...] = ()
    training: tuple[TrainingCurve, ...] = ()
    maps: tuple[EmbeddingMap, ...] = ()
    pool: str = ""
    ceiling: Mapping[str, Interval] = field(default_factory=dict)
    concerns: tuple[DataWarning, ...] = ()
    encoding: Mapping[str, float] = field(default_factory=dict)
    flow: tuple[FlowStep, ...] = ()
    by_request: pl.DataFrame | None = None
    test_mark: str = ""


def user_label(number: int) -> str:
    """Return the label of an example, "user A" for 0: a report is passed on, and outlives the erasure of a user."""
    letters = ""
    while number >= 0:
        letters, number = chr(ord("A") + number % 26) + letters, number // 26 - 1
    return message("user {letter}", letter=letters)


def _without_users(finding: Finding) -> Finding:
    """Leave out the examples that name users; the log of the run and `penchant doctor` show them."""
    if finding.check.startswith(ABOUT_USERS) and finding.check not in NAMES_NO_USER:
        return replace(finding, examples=())
    return finding


def write_report(data: ReportData, folder: Path) -> None:
    """Write report.html, report.json and report.md into a folder; examples of findings that name users are left out.

    Raises:
        ConfigError: The language is unknown.
    """
    translate = Translator(data.language)
    data = replace(data, findings=tuple(map(_without_users, data.findings)))
    context = {"data": data, "_": translate, "screen": first_screen(data, translate)}
    environment = _environment(translate)
    folder.mkdir(parents=True, exist_ok=True)
    for template in ("report.html", "report.md"):
        page = environment.get_template(f"{template}.jinja").render(context)
        if template == "report.html":
            page = UNIT.sub(
                "\u00a0", page.replace(" %", translate("\u00a0%"))
            )  # a number and its unit stay on one line
        (folder / template).write_text(CONTROL_CHARACTERS.sub("", page), encoding="utf-8")
    names = {text: packed(text) for row in data.slices for text in (row.dimension, row.group)}
    (folder / MESSAGES).write_text(json.dumps(names, ensure_ascii=False, indent=2), encoding="utf-8")
    plain = json.dumps(as_json(data), ensure_ascii=False, indent=2, allow_nan=False)
    (folder / "report.json").write_text(plain, encoding="utf-8")
    if data.by_request is not None:
        data.by_request.write_parquet(folder / BY_REQUEST)


@dataclass(frozen=True)
class FirstScreen:
    """What a reader needs to decide, as sentences.

    Attributes:
        warnings: Of the data, to be read before the results.
        results: Whether it is good, the plainest first; of a labelled task, its scores.
        modalities: Whether each pays, and what it costs.
        steps: What to do next.
    """

    warnings: tuple[str, ...]
    results: tuple[str, ...]
    modalities: tuple[str, ...]
    steps: tuple[str, ...]


def first_screen(data: ReportData, translate: Translator) -> FirstScreen:
    """Return the run's results as plain sentences."""
    board, results = data.leaderboard, []
    if board is not None:
        results = [
            screen.verdict(board, translate),
            *conclusions.leaderboard_sentences(board, translate, data.pool),
            screen.lead_sentence(data.slices, translate, has_requests=board.num_requests > board.num_users),
            screen.strongest_sentence(board, translate),
            screen.ceiling_sentence(board, data.ceiling, translate),
        ]
    results += [conclusions.classified_sentence(c, translate) for c in data.classified[:1]]
    results += conclusions.labelled_sentences(data.labelled, translate) if data.labelled else []
    coverage = _by_modality(data)
    modalities = screen.modality_sentences(data.ablation, coverage, translate) if data.ablation else []
    steps = screen.next_steps(data.concerns, board, data.ablation, coverage, translate)
    warnings = screen.warning_sentences(data.concerns, translate)
    return FirstScreen(*(tuple(_one_line(s) for s in part if s) for part in (warnings, results, modalities, steps)))


def _by_modality(data: ReportData) -> dict[str, screen.Coverage]:
    """Return coverage and time of encoding by modality: an item has it if it has one of its channels."""
    found: dict[str, screen.Coverage] = {}
    for c in data.coverage:
        before = found.get(c.modality, screen.Coverage(0.0, c.num_items, 0.0))
        share = max(before.share, c.num_present / max(c.num_items, 1))
        missing = min(before.missing, c.num_items - c.num_present)
        found[c.modality] = screen.Coverage(share, missing, before.seconds + data.encoding.get(c.channel, float("nan")))
    return found


def as_json(value: Any) -> Any:
    """Return plain JSON values: a missing number is null; pictures, sounds and their paths are left out, and the places of maps."""
    value = value.as_dict() if isinstance(value, Heat) else value.tolist() if isinstance(value, np.ndarray) else value
    if is_dataclass(value) and not isinstance(value, type):
        kept = (f.name for f in fields(value) if f.name not in LEFT_OUT)
        return {name: as_json(getattr(value, name)) for name in kept}
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_json(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, datetime) else value


def page_templates() -> Environment:
    """Return the environment of the templates beside this file, with HTML escaping."""
    return Environment(
        loader=PackageLoader("penchant.reporting", "."),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _environment(translate: Translator) -> Environment:
    environment = page_templates()
    environment.globals.update(
        plots=plots, conclusions=conclusions, Scale=plots.PlotScale, thumbnail=thumbnail, clip=clip, CHOSEN_ON=CHOSEN_ON
    )
    environment.filters.update(
        {
            name: getattr(number_format, name)
            for name in ("number", "count", "percent", "interval", "difference", "seconds", "size")
        },
        metric=partial(metric_label, translate),
        said=translate.said,
        size_label=partial(size_label, translate),
        stage_label=partial(stage_label, translate),
        line=_one_line,
        md=_markdown,
        grouped=_grouped,
        strongest=_strongest,
        by_severity=_by_severity,
        is_counted=lambda finding: finding.check not in UNCOUNTED,
    )
    return environment


def _strongest(classified: Sequence[InterestResults]) -> list[InterestResults]:
    """Return ours first, then the others, the highest AUC first: the curves show the strongest of them."""
    return [*classified[:1], *sorted(classified[1:], key=lambda c: -c.auc.mean)]


def _by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with errors and warnings first, else in their order; one that counts nothing is left out."""
    order = ("error", "warning")
    found = [finding for finding in findings if finding.count]
    return sorted(found, key=lambda f: order.index(f.severity) if f.severity in order else len(order))


def _grouped(rows: Sequence[Any], attribute: str) -> dict[str, list[Any]]:
    """Return rows by one attribute, in the order they came (Jinja's own groupby sorts)."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(getattr(row, attribute), []).append(row)
    return groups


def _one_line(text: object) -> str:
    """Return text on one line, without control characters."""
    return " ".join(CONTROL_CHARACTERS.sub("", str(text)).split())


def _markdown(text: object) -> str:
    """Return one line, escaped for Markdown and for HTML within it."""
    escaped = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#|~!])", r"\\\1", escaped)
