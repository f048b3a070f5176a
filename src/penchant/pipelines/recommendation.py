"""THE FLOW: from files to a bundle that is evaluated and explains itself. Read this first.

In: one TOML file. Out: a folder with the trained recommender and its report.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from penchant.classifiers.reviews import ReviewsConfig, judge_reviews
from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings, read_toml
from penchant.core.errors import ConfigError
from penchant.core.logs import step
from penchant.core.messages import message
from penchant.core.schema import Catalog, Content, Dataset, Finding, Histories, Interactions, Split, Users, Vocabulary
from penchant.data.clean.dataset import Config as CleanConfig
from penchant.data.clean.dataset import clean
from penchant.data.event_weights import Config as HistoriesConfig
from penchant.data.histories import build_histories
from penchant.data.media import MediaLimits
from penchant.data.read.sources import DataConfig, read
from penchant.data.split.interactions import Config as SplitConfig
from penchant.data.split.interactions import split
from penchant.encoders.catalog import ChannelConfig, default_channels, encode_catalog
from penchant.encoders.inspected_pictures import InspectedPictures
from penchant.encoders.ocr import OcrConfig, read_items_pictures
from penchant.experiment.defaults import default_members
from penchant.experiment.evaluate import Config as EvaluationConfig
from penchant.experiment.evaluate import assess
from penchant.experiment.fit import Config as FitConfig
from penchant.experiment.fit import Stage, fit
from penchant.experiment.search import Config as SearchConfig
from penchant.experiment.search import search
from penchant.experiment.selection import Judge, choose_fusion
from penchant.explanation.topics import find_topics
from penchant.fusion.fusion import Fusion
from penchant.fusion.imputation import coverage, impute, item_graph
from penchant.language.descriptions import DescribeConfig, describe
from penchant.models.factory import MemberTables
from penchant.pipelines.frame import Clock, beside, stop_on_errors
from penchant.recommender.recommender import Recommender
from penchant.reporting.report import write_report


class FusionConfig(Settings):
    """Feature-level fusion; several values are tried on validation."""

    kind: str = "concat"
    """How the channels become one vector: concat, or a name that another package adds."""
    dim: list[int] = [64, 128]
    """Of concat: directions kept of each channel."""
    whiten: list[bool] = [False, True]
    """Of concat: whether they get the same spread."""
    options: dict[str, Any] = {}
    """Settings of another kind; of a list each value is tried on validation."""
    impute: bool = True
    """Fill missing content in from items that share users."""

    def tables(self) -> list[dict[str, Any]]:
        """Return every kind and settings to compare on validation.

        Raises:
            ConfigError: A setting of concat is given to another kind.
        """
        own = {"dim": self.dim, "whiten": self.whiten}
        if self.kind != "concat":
            if extra := sorted(self.model_fields_set & set(own)):
                raise ConfigError(
                    f"fusion.{extra[0]} is a setting of concat, not of {self.kind!r}.",
                    where=f"fusion.{extra[0]}",
                    fix="put the settings of another kind under [fusion.options]",
                )
            own = {}
        grid = {n: v if isinstance(v, list) else [v] for n, v in {**own, **self.options}.items()}
        return [{"kind": self.kind, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]


class RunConfig(Settings):
    """One run: the whole TOML file."""

    task: Literal["recommendation"] = "recommendation"
    """What kind of run this is; `classification` is read by pipelines/classification.py."""
    name: str = "run"
    """What the report is headed."""
    seed: int = 0
    """Decides ties, draws and resamples; equal seeds give equal numbers."""
    output: Path | None = None
    """Folder of the bundle; None is runs/NAME. Relative to where the command is given."""
    cache: Path = Path("runs/cache")
    """Folder of what need not be computed twice: vectors, inspected media."""
    data: DataConfig = DataConfig()
    """Where the data is."""
    media: MediaLimits = MediaLimits()
    """What a media file may be."""
    clean: CleanConfig = CleanConfig()
    """What is repaired or dropped."""
    reviews: ReviewsConfig = ReviewsConfig()
    """Who reads what users say of items; unhappy words count against the item. Without a classifier nobody does."""
    split: SplitConfig = SplitConfig()
    """Train, validation, test."""
    histories: HistoriesConfig = HistoriesConfig()
    """What an event says about interest."""
    describe: DescribeConfig | None = None
    """A column of text that a language model writes from each item's own content; None writes none."""
    ocr: OcrConfig | None = None
    """Read what stands written in items' pictures, as one more column of text; None leaves it in the picture."""
    content: dict[str, ChannelConfig] | None = None
    """Channels by name; None reads every modality there is with encoders that need no hub."""
    fusion: FusionConfig = FusionConfig()
    """Channels to one vector."""
    model: Literal["auto"] | None = None
    """"auto" chooses members and a network on validation under the budget of [search]; None takes what `members` says."""
    members: dict[str, dict[str, Any]] | None = None
    """The stack's members by name; None takes all that pay for themselves in seconds."""
    search: SearchConfig = SearchConfig()
    """What model = "auto" may spend."""
    fit: FitConfig = FitConfig()
    """How settings and weights are chosen."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What is measured."""

    @property
    def folder(self) -> Path:
        return self.output or Path("runs") / self.name


def run(config: RunConfig, *, groups: pl.DataFrame | None = None) -> Recommender:
    """Do the whole of it; what was finished before is not done again.

    Args:
        config: Every setting.
        groups: `user_id` and the column `evaluation.group`, where the report shall split by what is no attribute of users.

    Raises:
        PenchantError: With what is wrong, where, and how to mend it.
    """
    clock = Clock()
    with clock("read"):
        raw = read(config.data)
    with clock("clean"):
        pictures = InspectedPictures(
            config.content,
            raw.catalog.media_columns.get("image"),
            cache=config.cache / "vectors",
            limits=config.media,
        )
        dataset = clean(raw, config.clean, config.media, cache=config.cache / "media", pictures=pictures)
        dataset = stop_on_errors(dataset)
        dataset = judge_reviews(dataset, config.reviews, config.media, cache=config.cache / "transcripts")
    with clock("split"):
        parts = split(dataset.interactions, config.split, config.seed)
        validation, known = before_test(dataset.catalog, parts, config)
    with clock("encode"):
        dataset = read_items_pictures(dataset, config.ocr, config.media, cache=config.cache / "ocr")
        dataset = describe(dataset, config.describe, cache=config.cache / "descriptions")
        channels = default_channels(dataset.catalog) if config.content is None else config.content
        embeddings, noticed = encode_catalog(
            dataset.catalog, channels, cache=config.cache / "vectors", limits=config.media
        )
        dataset = replace(dataset, findings=(*dataset.findings, *noticed))
    with clock("fuse"):
        content, fusion = fuse(Content(embeddings), validation, config)
        missing = tuple(coverage(channel) for channel in content.channels.values())
        dataset = replace(dataset, findings=(*dataset.findings, *missing))
    with clock("fit"):
        tables, why = choose_members(parts, content, validation, config)
        dataset = replace(dataset, findings=(*dataset.findings, *why))
        trained = fit(
            tables,
            validation,
            known,
            content,
            fusion,
            config.fit,
            at=config.evaluation.at,
            cache=config.cache / "networks",
        )
    with clock("evaluate"):
        report = assess(
            trained,
            validation,
            at_test(dataset.catalog, parts, config),
            dataset if groups is None else replace(dataset, users=Users(groups)),
            parts,
            content,
            config.evaluation,
            name=config.name,
            seed=config.seed,
        )
    with clock("explain"):
        topics = find_topics(dataset.catalog, content.fused, seed=config.seed)
    with step("write"), tempfile.TemporaryDirectory() as scratch:
        write_report(replace(report, stages=tuple(clock.stages)), Path(scratch))
        facts = {
            "name": config.name,
            "seed": config.seed,
            "settings": fingerprint(config),
            "versions": dict(report.versions),
            "histories": config.histories.model_dump(mode="json"),
            "channels": {name: channel.model_dump(mode="json") for name, channel in channels.items()},
            "fusion": fusion.table(),
        }
        every, stack = everything(dataset, config), trained.stack(content)
        recommender = Recommender(
            dataset.catalog, every, stack, trained.tables, topics, facts, content=content, fitted=known
        )
        return recommender.save(config.folder, report=Path(scratch))


def read_config(path: Path) -> RunConfig:
    """Return the settings of a TOML file; data and vectors are looked for beside it.

    Raises:
        ConfigError: The file is missing, no TOML, or holds a setting that does not exist.
    """
    config: RunConfig = beside(RunConfig.read(read_toml(path), where=path.name), path.parent)
    return config.model_copy(update={"reviews": config.reviews.below(path.parent)})


def before_test(catalog: Catalog, parts: Split, config: RunConfig) -> tuple[Stage, Histories]:
    """Return the validation stage, and the events that members are fitted on at the end; the test part is not read."""
    items, users = Vocabulary(catalog.item_ids), _users(parts.train, parts.validation)
    train = _histories(items, users, config, parts.train)
    truth = _histories(items, users, config, parts.validation)
    known = _histories(items, users, config, parts.train, parts.validation) if config.fit.refit else train
    return Stage(train, truth, _among(items, parts.cold_validation_items)), known


def at_test(catalog: Catalog, parts: Split, config: RunConfig) -> Stage:
    """Return the histories before the test, and the test; users who come with the test have an empty history."""
    items, users = Vocabulary(catalog.item_ids), _users(parts.train, parts.validation, parts.test)
    before = (parts.train, parts.validation) if config.fit.refit else (parts.train,)
    return Stage(
        _histories(items, users, config, *before),
        _histories(items, users, config, parts.test),
        _among(items, parts.cold_items),
    )


def _users(*pieces: Interactions) -> list[str]:
    return sorted(set().union(*(piece.table["user_id"].unique() for piece in pieces)))


def _histories(items: Vocabulary, users: list[str], config: RunConfig, *pieces: Interactions) -> Histories:
    joined = Interactions(pl.concat([piece.table for piece in pieces]))
    return build_histories(joined, items, config.histories, users=users, seed=config.seed)


def fuse(content: Content, validation: Stage, config: RunConfig) -> tuple[Content, Fusion]:
    """Fill missing content in, and put the channels side by side as validation likes best."""
    channels = dict(content.channels)
    if config.fusion.impute and any(not e.present.all() for e in channels.values()):
        graph = item_graph(validation.histories.matrix())
        channels = {name: impute(e, graph) for name, e in channels.items()}
    judge = Judge.sample(validation.histories, validation.truth, config.evaluation.at, 1000, validation.candidates)
    filled = Content(channels)
    fusion = choose_fusion(filled, validation.histories, judge, config.fusion.tables())
    return Content(channels, fusion(channels)), fusion


def choose_members(
    parts: Split, content: Content, validation: Stage, config: RunConfig
) -> tuple[MemberTables, tuple[Finding, ...]]:
    """Return the members the settings name, the defaults, or what a search under a budget finds, with its reasons.

    Raises:
        ConfigError: Both a search and members are asked for.
    """
    has_time = any(part.table["at"].null_count() < len(part) for part in (parts.train, parts.validation))
    if config.model is None:
        return config.members or default_members(content, has_time=has_time), ()
    if config.members is not None:
        raise ConfigError(
            'model = "auto" chooses the members, and [members] names them.',
            where="the settings: model, members",
            fix="leave one of them out",
        )
    choice = config.fit.choice
    judge = Judge.sample(
        validation.histories, validation.truth, config.evaluation.at, choice.max_users, validation.candidates
    )
    found = search(validation.histories, content, judge, config.search, has_time=has_time)
    count = len(found.reasons)
    return found.tables, (
        Finding("model.auto", count, count, "kept", tuple(found.reasons), message("how the model was chosen")),
    )


def everything(dataset: Dataset, config: RunConfig) -> Histories:
    """Return all that is known of every user: what is served must not suggest what they already have."""
    return build_histories(
        dataset.interactions, Vocabulary(dataset.catalog.item_ids), config.histories, seed=config.seed
    )


def _among(items: Vocabulary, chosen: tuple[str, ...]) -> np.ndarray | None:
    """Return the mask of some items, None where there is no restriction."""
    if not chosen:
        return None
    mask = np.zeros(len(items), bool)
    mask[[items.index(item) for item in chosen if item in items]] = True
    return mask
