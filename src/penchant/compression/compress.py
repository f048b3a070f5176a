"""THE FLOW of compression: candidates, each measured, the best within a budget, and its bundle.

In: a recommender's bundle and a budget. Out: a smaller bundle, served, explained, erased and updated like any, with the trade-off in its report.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from penchant.compression.distillation import ALONE, distilled
from penchant.compression.held_out import Halves, hold_out, relative_loss, standard_error
from penchant.compression.measuring import Speed, memory_of, speeds
from penchant.compression.network_pruning import prunable, with_pruned_networks
from penchant.compression.pruning import CUTOFF, fewer_members
from penchant.compression.recipes import Recipe, compressed_members, over
from penchant.compression.vectors import with_codes
from penchant.core.artifacts import REPORT, reserved
from penchant.core.compact_embeddings import DIM, CodeKind
from penchant.core.config import Settings
from penchant.core.errors import ConfigError
from penchant.core.logs import logger, step
from penchant.core.messages import Translator
from penchant.core.schema import Histories
from penchant.experiment.fit import HoldOut
from penchant.experiment.fit_cache import FitCache
from penchant.experiment.pool import MemberPool, popularity_of
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.intervals import Difference, paired_difference
from penchant.metrics.ranking import measure
from penchant.models.compact import CompactConfig
from penchant.models.ensemble import Ensemble
from penchant.models.event_log import EventLog
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender
from penchant.reporting.compression_report import (
    CompressionResults,
    TradeOffPoint,
    write_compression,
)

FACT = "compression"
"""Name under which a compressed bundle's facts say how it was made."""
METRIC = f"ndcg@{CUTOFF}"


class CompressConfig(Settings):
    """The settings of a compression."""

    memory_mb: float | None = Field(None, gt=0)
    """Megabytes (10^6 bytes) that the arrays of the bundle may hold; None sets no bound."""
    latency_ms: float | None = Field(None, gt=0)
    """Milliseconds that the median request for a list of 10 may take on this machine; None sets no bound."""
    max_loss: float = Field(0.02, ge=0)
    """Without a budget the smallest point is taken whose loss of NDCG@10, with one standard error added, is at most this share: the smallest of many
    that look harmless is one that was lucky."""
    entries: list[int] = [200, 100, 50, 25]
    """Entries kept of each row of an item-to-item matrix that are tried; 0 keeps all, with fewer bits."""
    bits: list[Literal[8, 16]] = [16, 8]
    """Bits of an entry that are tried."""
    members: list[int] = [8, 5, 3]
    """Numbers of members that are tried; those that the lists miss least are left out."""
    codes: list[CodeKind] = ["int8", "pca", "product", "binary"]
    """What vectors of content may become, tried on the bundle as it is and on the best of the other ways; members that read content are fitted again
    on each, networks not."""
    code_dim: int = Field(DIM, ge=1)
    """Main directions that `pca` keeps of a channel."""
    prune: list[float] = [0.5]
    """Shares of the heads and feed-forward units of Transformers over histories that are taken out, tried as `codes` are; such a network is then trained
    for `refit_epochs`."""
    distill: bool = False
    """Whether one network that is taught the lists of all members is tried. It costs minutes, and an erasure fits all members and the network again."""
    student: dict[str, Any] = {}
    """Settings of this network, as of the model `distilled`."""
    users: int = Field(3000, ge=2)
    """Users whose last events are held out, at most: a point is chosen on half of them and measured again on the other half."""
    requests: int = Field(50, ge=1)
    """Requests that are timed."""
    cpu_hour_price: float = Field(0.04, ge=0)
    """Price of an hour of one processor core, in any currency, for the cost of a thousand requests."""
    language: str = "en"
    """Of the report's page: en or zh."""
    seed: int = 0
    """Of the drawn users."""


@dataclass(frozen=True)
class Compression:
    """What `compress` returns.

    Attributes:
        recommender: The smaller one, as loaded from its bundle.
        results: The measured points, and the chosen one.
    """

    recommender: Recommender
    results: CompressionResults

    def _repr_html_(self) -> str:
        return self.results._repr_html_()


def compress(
    bundle: str | Path | Recommender, output: str | Path, config: CompressConfig | None = None, **settings: Any
) -> Compression:
    """Write a smaller bundle of a recommender: the best measured point within the budget.

    Members are fitted again without the last events of some users, each recipe is applied to them and measured on these events, and the chosen
    one is applied to the members of the bundle. Cost: one fit of all members, and one scoring of `users` for each way to keep entries.

    Args:
        bundle: A recommender, or its folder.
        output: Folder of the smaller bundle; one already there is replaced.
        config: Settings; None takes `settings` alone.
        settings: Settings by name, such as `memory_mb=50`; they replace those of `config`.

    Raises:
        ArtifactError: The bundle is missing or altered, or the output cannot be written.
        ConfigError: The bundle is compressed already, or no measured point is within the budget; the nearest is named.
        DataError: The bundle has too few users to measure anything.
    """
    given = {} if config is None else config.model_dump(exclude_unset=True)
    config = CompressConfig.read({**given, **settings}, where="compress")
    translate = Translator(config.language)
    recommender = bundle if isinstance(bundle, Recommender) else Recommender.load(bundle)
    folder = Path(output)
    _refuse_compressed(recommender, folder)
    with reserved(folder):
        halves = hold_out(_learned(recommender), config.users, config.seed)
        with step("fit again without the held-out events"):
            twin = _fitted_again(recommender, halves.train)
        with step("measure"):
            measured = _measure(twin, halves, config)
        chosen = choose([one.point for one in measured], config)
        with step("write"):
            best = measured[chosen]
            check, original = _checked(twin, best.made, halves.check)
            smaller = _apply(recommender, best.recipe, config)
            for one in (recommender, smaller):  # what is computed at the first score is held from then on
                one.score(one.histories.rows(0, 1))
            results = CompressionResults(
                name=str(recommender.facts.get("name", "")),
                points=tuple(one.point for one in measured),
                chosen=chosen,
                check=check,
                check_original=original,
                memory=(memory_of(recommender), memory_of(smaller)),
                disk=(_size(recommender.folder), None),
                memory_mb=config.memory_mb,
                latency_ms=config.latency_ms,
                cpu_hour_price=config.cpu_hour_price,
                num_users=(len(halves.choice.histories), len(halves.check.histories)),
            )
            return _written(smaller, results, best.recipe, recommender, folder, translate)


@dataclass(frozen=True)
class Measured:
    """A recipe and its point.

    Attributes:
        recipe: The way.
        made: What it makes of the members that were fitted without the held-out events.
        point: What that costs.
    """

    recipe: Recipe
    made: Recommender
    point: TradeOffPoint


def choose(points: Sequence[TradeOffPoint], config: CompressConfig) -> int:
    """Return the number of the best point: within the budget the one with the highest NDCG, and of equal ones the smallest; without a budget the
    smallest that loses at most `max_loss`, one standard error included. The first point is the bundle as it is, and is not chosen.

    Raises:
        ConfigError: No point is within the budget; the nearest is named.
    """
    best = _nearest(points, config)
    if config.memory_mb is None and config.latency_ms is None:
        if points[best].loss + points[best].error > config.max_loss:
            raise ConfigError(
                f"No measured point surely loses at most {100 * config.max_loss:g} % of {METRIC}.",
                where="compress: max_loss",
                fix=f"the nearest, {points[best].name}, loses {100 * points[best].loss:.1f} % with a standard error of {100 * points[best].error:.1f}; "
                "allow that, give more users, or set memory_mb",
            )
        return best
    near = points[best]
    if _excess(near, config) <= 1:
        return best
    wanted = [f"{config.memory_mb:g} MB"] if config.memory_mb is not None else []
    wanted += [f"{config.latency_ms:g} ms"] if config.latency_ms is not None else []
    raise ConfigError(
        f"No measured point is within {' and '.join(wanted)}.",
        where="compress: the budget",
        fix=f"the nearest is {near.name}: {near.memory_bytes / 1e6:.1f} MB, {near.milliseconds:.2f} ms, {METRIC} {-100 * near.loss:+.1f} %; "
        "give a budget that it meets",
    )


def _nearest(points: Sequence[TradeOffPoint], config: CompressConfig) -> int:
    """Return the number of the best point within the budget, and where there is none of the one nearest to it."""
    numbers = range(1, len(points))
    if config.memory_mb is None and config.latency_ms is None:
        kept = [n for n in numbers if points[n].loss + points[n].error <= config.max_loss]
        if not kept:
            return min(numbers, key=lambda n: points[n].loss + points[n].error)
        return min(kept, key=lambda n: (points[n].memory_bytes, points[n].milliseconds))
    kept = [n for n in numbers if _excess(points[n], config) <= 1]
    if kept:
        return min(kept, key=lambda n: (-points[n].ndcg, points[n].memory_bytes))
    return min(numbers, key=lambda n: (_excess(points[n], config), points[n].loss))


def _excess(point: TradeOffPoint, config: CompressConfig) -> float:
    """Return by which factor a point exceeds the budget; up to 1 it is within."""
    parts = [point.memory_bytes / 1e6 / config.memory_mb] if config.memory_mb is not None else []
    parts += [point.milliseconds / config.latency_ms] if config.latency_ms is not None else []
    return max(parts)


def _refuse_compressed(recommender: Recommender, output: Path) -> None:
    made = recommender.facts.get(FACT)
    if made is not None:
        raise ConfigError(
            "The bundle is compressed already.",
            where=str(recommender.folder or "memory"),
            fix=f"compress the bundle it was made from: {made['source']}",
        )
    if recommender.folder is not None and recommender.folder.resolve() == output.resolve():
        raise ConfigError(
            "The output is the bundle itself.",
            where=str(output),
            fix="choose another `output`; what compression loses cannot be brought back",
        )


def _learned(recommender: Recommender) -> Histories:
    return recommender.histories if recommender.fitted is None else recommender.fitted


def _fitted_again(recommender: Recommender, train: Histories) -> Recommender:
    """Return the recommender with its members fitted on other events, networks included."""
    fits, members = FitCache(), {}
    for name in recommender.ensemble.members:
        member = make_member(name, recommender.tables[name])
        members[name], seconds = fits.fit(member, train, recommender.content)
        logger.info("  fitted %s: %.1f s", name, seconds)
    again = replace(recommender, ensemble=replace(recommender.ensemble, members=members))
    return again.observed(EventLog.of(train))  # held once, as in a bundle that is loaded


def _measure(twin: Recommender, halves: Halves, config: CompressConfig) -> list[Measured]:
    """Return every recipe with its point; the first is the bundle as it is.

    Matrices and members are tried in all combinations; other ways on the bundle as it is and on what would be chosen without them.
    """
    ensemble, part = twin.ensemble, halves.choice
    pool = MemberPool(ensemble.members, fallback=popularity_of(halves.train))
    pruned = fewer_members(ensemble, pool, part, config.members)
    weights: list[tuple[int | None, EnsembleWeights]] = [(None, ensemble.weights), *pruned.items()]
    items = len(twin.catalog)
    kept = [CompactConfig(entries=one, bits=bits) for one in config.entries if one < items for bits in config.bits]
    trial = _Trial(halves, config)
    for compact in (None, *kept):
        trial.add(twin, [Recipe(compact, w, size) for size, w in weights])
    base = trial.best()
    changes: list[dict[str, Any]] = [{"codes": codes} for codes in (config.codes if twin.content.channels else [])]
    changes += [{"pruned": share} for share in (config.prune if prunable(twin) else [])]
    for change in changes:
        source = _source(twin, replace(trial.recipes[0], **change), halves.train, config)
        for one in dict.fromkeys((0, base)):
            trial.add(source, [replace(trial.recipes[one], **change)])
    if config.distill:
        recipe = Recipe(None, ALONE, is_distilled=True)
        trial.add(_source(twin, recipe, halves.train, config), [recipe])
    return trial.measured()


def _source(recommender: Recommender, recipe: Recipe, events: Histories, config: CompressConfig) -> Recommender:
    """Return a recommender changed as a recipe says before rows and members are left out; `events` are what its members learned from."""
    if recipe.is_distilled:
        return distilled(recommender, config.student, events)
    if recipe.codes is not None:
        recommender = with_codes(recommender, recipe.codes, config.code_dim, events)
    return recommender if recipe.pruned is None else with_pruned_networks(recommender, recipe.pruned, events)


class _Trial:
    """Recipes and what they make, measured on the users of the choice."""

    def __init__(self, halves: Halves, config: CompressConfig) -> None:
        self._part, self._config = halves.choice, config
        self._fallback = popularity_of(halves.train)
        self._gains: list[Float64[np.ndarray, " users"]] = []
        self._made: list[Recommender] = []
        self._memory: list[dict[str, int]] = []
        self._speeds: list[Speed] = []
        self.recipes: list[Recipe] = []

    def add(self, source: Recommender, recipes: Sequence[Recipe]) -> None:
        """Measure the lists of recipes of one way to keep rows.

        Args:
            source: What the rows are taken from; the vectors of its content are what the recipes name.
            recipes: They differ in their weights alone.
        """
        members, tables = compressed_members(source.ensemble, source.tables, recipes[0].compact)
        found = MemberPool(members, fallback=self._fallback).rank(
            {str(n): one.weights for n, one in enumerate(recipes)}, self._part.histories, CUTOFF
        )
        self.recipes += recipes
        self._gains += [_ndcg(found[str(n)], self._part) for n in range(len(recipes))]
        self._made += [
            replace(source, ensemble=over(source.ensemble, members, one.weights), tables={**source.tables, **tables})
            for one in recipes
        ]
        logger.info("  measured %s", recipes[0].name)

    def best(self) -> int:
        """Return the number of the recipe that would be chosen now, or of the one nearest to the budget; 0 where there is no other."""
        points = [one.point for one in self.measured()]
        return _nearest(points, self._config) if len(points) > 1 else 0

    def measured(self) -> list[Measured]:
        """Return every recipe with its point; those that were added since the last call are timed together, each recipe once."""
        histories = self._part.histories
        asked = histories.take(np.arange(min(self._config.requests, len(histories))))
        asked = replace(asked, requested_at=None)  # as in service: asked for after every known event
        added = self._made[len(self._speeds) :]
        self._speeds += speeds(added, [asked.rows(n, n + 1) for n in range(len(asked))])
        self._memory += [memory_of(one) for one in added]
        costs = zip(self._memory, self._speeds, strict=True)
        return [
            Measured(recipe, made, _point(recipe, own, self._gains[0], *cost))
            for recipe, made, own, cost in zip(self.recipes, self._made, self._gains, costs, strict=True)
        ]


def _point(
    recipe: Recipe,
    gains: Float64[np.ndarray, " users"],
    original: Float64[np.ndarray, " users"],
    memory: Mapping[str, int],
    speed: Speed,
) -> TradeOffPoint:
    return TradeOffPoint(
        name=recipe.name,
        ndcg=float(gains.mean()),
        loss=relative_loss(gains, original),
        error=standard_error(gains, original),
        members_bytes=memory["members"],
        memory_bytes=sum(memory.values()),
        milliseconds=speed.milliseconds,
        slow_milliseconds=speed.slow_milliseconds,
        cpu_seconds=speed.cpu_seconds,
        joules=speed.joules,
    )


def _ndcg(lists: Any, part: HoldOut) -> Float64[np.ndarray, " users"]:
    return measure(lists, part.truth, ks=(CUTOFF,), metrics=["ndcg"])[METRIC].to_numpy()


def _gains(made: Recommender, part: HoldOut) -> Float64[np.ndarray, " users"]:
    """Return NDCG@10 of each user."""
    pool = MemberPool(made.ensemble.members, fallback=popularity_of(part.train))
    return _ndcg(pool.rank({"": made.ensemble.weights}, part.histories, CUTOFF)[""], part)


def _checked(twin: Recommender, made: Recommender, part: HoldOut) -> tuple[Difference, float]:
    """Return what a smaller twin gains over the twin on users who had no part in the choice, and the NDCG@10 of the latter."""
    original = _gains(twin, part)
    return paired_difference(_gains(made, part), original), float(original.mean())


def _apply(recommender: Recommender, recipe: Recipe, config: CompressConfig) -> Recommender:
    """Return a recommender made smaller by a recipe."""
    recommender = _source(recommender, recipe, _learned(recommender), config)
    members, tables = compressed_members(recommender.ensemble, recommender.tables, recipe.compact)
    ensemble: Ensemble = over(recommender.ensemble, members, recipe.weights)
    return replace(recommender, ensemble=ensemble, tables={**recommender.tables, **tables}, folder=None)


def _written(
    smaller: Recommender,
    results: CompressionResults,
    recipe: Recipe,
    source: Recommender,
    folder: Path,
    translate: Translator,
) -> Compression:
    """Write the bundle with the report of its source, which measured the bundle as it was, and the page of the trade-off."""
    made = {
        "source": str(source.folder or ""),
        "entries": None if recipe.compact is None else recipe.compact.entries,
        "codes": recipe.codes,
        "pruned": recipe.pruned,
        "distilled": recipe.is_distilled,
        "members": list(smaller.ensemble.members),
        "loss": results.points[results.chosen].loss,
    }
    smaller = replace(smaller, facts={**smaller.facts, FACT: made})
    with tempfile.TemporaryDirectory() as scratch:
        pages = Path(scratch)
        report = None if source.folder is None else source.folder / REPORT
        for file in sorted(report.iterdir()) if report is not None and report.is_dir() else []:
            shutil.copyfile(file, pages / file.name)
        write_compression(results, pages, translate)
        saved = smaller.save(folder, report=pages)
    return Compression(saved, replace(results, disk=(results.disk[0], _size(folder))))


def _size(folder: Path | None) -> int | None:
    """Return the bytes of a bundle's files without its report."""
    if folder is None:
        return None
    return sum(f.stat().st_size for f in folder.iterdir() if f.is_file())
