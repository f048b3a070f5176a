"""THE FLOW: from files to an evaluated bundle with explanations. Read this first.

In: one TOML file. Out: a folder with the trained recommender and its report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import model_validator

from penchant.classifiers.reviews import ReviewsConfig, classify_reviews
from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.errors import ConfigError
from penchant.core.logs import duration
from penchant.core.messages import message
from penchant.core.notebook import table_html
from penchant.core.schema import (
    CONTEXT,
    Catalog,
    Content,
    Dataset,
    Embeddings,
    Finding,
    Histories,
    Interactions,
    Split,
    UserContent,
    UserEmbeddings,
    Users,
    Vocabulary,
)
from penchant.data.clean.dataset import clean
from penchant.data.context import ContextConfig, read_context
from penchant.data.doctor.columns import RunColumns
from penchant.data.doctor.examination import examine
from penchant.data.doctor.warnings import finding_lines
from penchant.data.event_weights import HistoriesConfig, unknown_kinds
from penchant.data.histories import build_histories
from penchant.data.read.sources import DataConfig, from_tables, read
from penchant.data.requests import rolling_requests
from penchant.data.split.interactions import BY_TIME, SplitConfig, split
from penchant.data.tie_breaking import item_tie_order
from penchant.encoders.catalog import (
    PRECOMPUTED,
    ChannelConfig,
    check_channel,
    default_channels,
    encode_catalog,
    estimate_encoding,
    item_channels,
    make_encoder,
    pretrained_channels,
)
from penchant.encoders.content import columns_of
from penchant.encoders.ocr import read_items_pictures
from penchant.encoders.user_content import (
    UserChannelConfig,
    default_user_channels,
    encode_user_content,
    unused_protected,
)
from penchant.experiment.defaults import default_members
from penchant.experiment.evaluate import EvaluationConfig, Ideal, assess
from penchant.experiment.fit import FitConfig, FittedRecommenders, HoldOut, Refit, fit
from penchant.experiment.inside import look_inside
from penchant.experiment.search import SearchConfig, SearchResult, search
from penchant.experiment.selection import choose_fusion, each_value
from penchant.explanation.profile import item_weight
from penchant.explanation.profile_channel import CHANNEL, ProfileChannel, WrittenProfileConfig
from penchant.explanation.topics import Topics, find_topics
from penchant.fusion.fusion import Fusion
from penchant.fusion.imputation import coverage, impute, item_graph
from penchant.language.descriptions import DescribeConfig, describe
from penchant.models import MODELS
from penchant.models.channels import FUSED
from penchant.models.event_log import EventLog
from penchant.models.member import make_member
from penchant.pipelines.frame import (
    LearningSettings,
    RunCheck,
    StepTimer,
    Task,
    check_channels,
    check_known,
    encoding_lines,
    facts_of,
    gather,
    persist,
    stop_on_errors,
)
from penchant.recommender.new_items import ChannelEncoders
from penchant.recommender.recommender import Recommender
from penchant.reporting.inside import ReportConfig
from penchant.reporting.report import FlowStep, write_report

ENGLISH_ONLY = ("minilm",)
"""Encoders of texts that know no other language."""
CONTEXT_MODEL = "context_popularity"
"""The model that reads the circumstances of a request."""
FIT_SECONDS_EVENT, FIT_SECONDS_CUBE = 4e-5, 1.2e-9
"""CPU seconds of the default members for one event, and for one item cubed: MovieLens-1M, Steam, Amazon Beauty and the sample world, 29 November 2026."""
DENSE_ITEMS, FIT_MATRICES = 20_000, 8
"""Items that take part in dense members at most, and dense matrices held at once."""


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
    """Impute missing content from items that share users."""

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


class RecommendationConfig(LearningSettings):
    """Settings of a recommendation run: the whole TOML file."""

    task: Literal["recommendation"] = "recommendation"
    """Kind of run."""
    data: DataConfig = DataConfig()
    """Where the data is."""
    reviews: ReviewsConfig = ReviewsConfig()
    """Classifiers of users' reviews; unhappy ones count against the item. Without a classifier, reviews are not read."""
    split: SplitConfig = SplitConfig()
    """Train, validation, test."""
    histories: HistoriesConfig = HistoriesConfig()
    """Weights of events."""
    user_content: dict[str, UserChannelConfig] | None = None
    """Channels of what users wrote, showed and said, and of what they are. None takes one for each kind there is, without protected
    attributes, where the members are the default ones, and none where they are named; an empty table reads none."""
    context: ContextConfig = ContextConfig()
    """Circumstances of the request that are read, besides the columns of [data] context."""
    written_profile: WrittenProfileConfig | None = None
    """The profile in words of each history as a channel of the person; None reads none."""
    describe: DescribeConfig | None = None
    """A column of text that a language model writes from each item's own content; None writes none."""
    fusion: FusionConfig = FusionConfig()
    """Channels to one vector."""
    model: Literal["auto"] | None = None
    """"auto" chooses members and a network on validation under the budget of [search]; None takes `members`."""
    members: dict[str, dict[str, Any]] | None = None
    """Members of the ensemble by name; None takes the default members, which fit in seconds."""
    search: SearchConfig = SearchConfig()
    """Budget of model = "auto"."""
    fit: FitConfig = FitConfig()
    """Selection of settings and ensemble weights."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Settings of the evaluation."""
    report: ReportConfig = ReportConfig()
    """What the report shows of the inside of the models."""

    @model_validator(mode="after")
    def _evaluated_length_is_measured(self) -> Self:
        if self.evaluation.cutoff not in self.evaluation.ks:
            raise ConfigError(
                f"evaluation.cutoff = {self.evaluation.cutoff} is not among evaluation.ks = {self.evaluation.ks}.",
                where="evaluation.cutoff",
                fix="add it to evaluation.ks, or set evaluation.cutoff to one of them",
            )
        return self

    def below(self, home: Path) -> Self:
        return super().below(home).model_copy(update={"reviews": self.reviews.below(home)})


@dataclass(frozen=True, repr=False)
class Prepared:
    """Data that is clean, divided and encoded: what members are fitted on and measured with.

    Attributes:
        config: The settings of the run.
        dataset: Clean tables, with everything that was found on the way.
        parts: Train, validation and test.
        validation: Histories and truth of validation; models are chosen on it.
        known: What members are fitted on once they are chosen: all that is known before the test.
        content: The channels, their fusion, and the names of the channels of user content.
        channels: Settings of the items' channels.
        fusion: Channels to one vector.
        user_content: What users wrote, showed and said, and what they are.
        topics: Content groups.
        read: Interactions, users and items before cleaning.
    """

    config: RecommendationConfig
    dataset: Dataset
    parts: Split
    validation: HoldOut
    known: Histories
    content: Content
    channels: Mapping[str, ChannelConfig]
    fusion: Fusion
    user_content: UserContent
    topics: Topics
    read: Mapping[str, int]

    @property
    def ranked(self) -> HoldOut:
        """The rows of validation that lists are made for; in a rolling split those with a true item."""
        return self.validation.liked() if self.parts.kind == "rolling_time" else self.validation

    @cached_property
    def test(self) -> HoldOut:
        """Histories and truth of the test; nothing reads them before this is asked for."""
        return at_test(self.dataset.catalog, self.parts, self.config, self.user_content)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {value}" for name, value in self._summary())
        return f"Prepared({sizes})"

    def _repr_html_(self) -> str:
        return table_html(f"Prepared data of {self.config.name}", ("", ""), self._summary())

    def _summary(self) -> list[tuple[str, str]]:
        """Return what there is, by name."""
        parts = {"train": self.parts.train, "validation": self.parts.validation, "test": self.parts.test}
        channels = [f"{name} ({e.present.sum():,})" for name, e in self.content.channels.items()]
        return [
            ("users", f"{self.dataset.interactions.table['user_id'].n_unique():,}"),
            ("items", f"{len(self.dataset.catalog):,}"),
            ("split", self.parts.kind),
            *((f"{name} events", f"{len(part):,}") for name, part in parts.items()),
            ("channels", ", ".join(channels) or "none"),
        ]


def prepare(
    config: RecommendationConfig,
    data: Dataset | None = None,
    *,
    groups: pl.DataFrame | None = None,
    clock: StepTimer | None = None,
) -> Prepared:
    """Read, clean, divide, encode and fuse: the first half of a run; arguments as in `run`.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it.
    """
    clock = clock or StepTimer()
    with clock("read"):
        raw = read(config.data) if data is None else data
        as_read = sizes_of(raw)
    with clock("clean"):
        pictures = config.inspected_pictures(raw.catalog.media_columns)
        dataset = clean(raw, config.clean, config.media, cache=config.cache / "media", pictures=pictures)
        dataset = stop_on_errors(dataset)
        check_names(dataset, config, groups)
        unknown = unknown_kinds(dataset.interactions.table, config.histories)
        dataset = replace(dataset, findings=(*dataset.findings, *unknown))
        dataset = classify_reviews(dataset, config.reviews, config.media, cache=config.cache / "transcripts")
    with clock("encode users"):
        dataset, user_content = read_user_content(dataset, config)
    with clock("split"):
        parts = split(dataset.interactions, config.split, config.seed)
        validation, known = before_test(dataset.catalog, parts, config, user_content)
        ranked = validation.liked() if parts.kind == "rolling_time" else validation
    with clock("encode"):
        dataset = read_items_pictures(dataset, config.ocr, config.media, cache=config.cache / "ocr")
        dataset = describe(dataset, config.describe, cache=config.cache / "descriptions")
        channels = item_channels(dataset.catalog, config.content)
        names = [*channels, *user_content.embeddings, *([CHANNEL] if config.written_profile else []), FUSED]
        check_channels(config.members or {}, names, where="members")
        embeddings, noticed = encode_catalog(
            dataset.catalog, channels, cache=config.cache / "vectors", limits=config.media
        )
        dataset = replace(dataset, findings=(*dataset.findings, *noticed))
    with clock("fuse"):
        content, fusion = fuse(Content(embeddings, user_channels=user_content.encoders()), ranked, config)
        missing = tuple(coverage(channel) for channel in content.channels.values())
        dataset = replace(dataset, findings=(*dataset.findings, *missing))
    with clock("explain"):
        topics = find_topics(dataset.catalog, content, texts=pretrained_channels(channels), seed=config.seed)
    if config.written_profile is not None:
        weight = item_weight(validation.train)
        user_content = with_written_profile(user_content, dataset.catalog, topics, weight, config)
        validation, known = validation.deriving(user_content.derived), replace(known, derived=user_content.derived)
        content = replace(content, user_channels=user_content.encoders())
    return Prepared(config, dataset, parts, validation, known, content, channels, fusion, user_content, topics, as_read)


def run(
    config: RecommendationConfig,
    data: Dataset | None = None,
    *,
    groups: pl.DataFrame | None = None,
    ideal: Ideal | None = None,
) -> Recommender:
    """Run every step; finished steps are taken from the cache.

    Args:
        config: Every setting.
        data: Tables already in memory, not cleaned; None reads the files that `config.data` names.
        groups: `user_id` and the column `evaluation.group`, where the report groups by a column that is no attribute of users.
        ideal: True probabilities of the choices, for the ceiling in the report; known for generated data only.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it.
    """
    clock = StepTimer()
    prepared = prepare(config, data, groups=groups, clock=clock)
    dataset, parts, known, user_content = prepared.dataset, prepared.parts, prepared.known, prepared.user_content
    validation, ranked = prepared.validation, prepared.ranked
    content, channels, fusion = prepared.content, prepared.channels, prepared.fusion
    with clock("fit"):
        found = choose_members(parts, content, ranked, config)
        trained = fit(
            found.tables,
            ranked,
            known,
            content,
            fusion,
            config.fit,
            cutoff=config.evaluation.cutoff,
            cache=config.cache / "networks",
            tried=found.tried,
            floor=found.floor,
        )
        dataset = replace(dataset, findings=(*dataset.findings, *how_chosen((*found.reasons, *trained.notes))))
    with clock("evaluate"):
        test = prepared.test
        if test.log is not None:
            refits = refits_of(dataset.catalog, parts, known, config, user_content)
            trained = trained.rolled(refits, test.log, content, fusion, config.cache / "networks")
            known = refits[-1].train
        report = assess(
            trained,
            validation,
            test,
            dataset if groups is None else replace(dataset, users=Users(groups)),
            parts,
            content,
            config.evaluation,
            name=config.name,
            seed=config.seed,
            times_ranked=times_ranked(config.cache / "ranked", parts.test),
            encoding=encoding_seconds(content, user_content),
            ideal=ideal,
        )
        diagnosis = examine(dataset, parts)
        report = replace(
            report, concerns=diagnosis.concerns, flow=flow_of(prepared.read, dataset, parts, content, trained)
        )
    facts = {
        **facts_of(config, report.versions),
        "seed": config.seed,
        "histories": config.histories.model_dump(mode="json"),
        "channels": {name: channel.model_dump(mode="json") for name, channel in channels.items()},
        "fusion": fusion.table(),
        "user_channels": {name: c.model_dump(mode="json") for name, c in user_channels(dataset, config).items()},
        "user_media": config.clean.media.model_dump(mode="json"),
        **({} if config.written_profile is None else {CHANNEL: config.written_profile.model_dump(mode="json")}),
    }
    histories, ensemble = all_histories(dataset, config, user_content), trained.ensemble(content)
    if config.fit.ship == "everything":
        with clock("ship"):
            known, ensemble = histories, trained.refitted(histories, content, fusion, config.cache / "networks")
    recommender = Recommender(
        dataset.catalog, histories, ensemble, trained.tables, prepared.topics, facts, content=content, fitted=known
    )
    with clock("look inside"):
        report = look_inside(
            report, trained, recommender, prepared.test, config.evaluation, config.report, config.media
        )
    timed = replace(report, stages=tuple(clock.stages), protocol=(*report.protocol, shipped(parts, config)))
    return persist(recommender, config.folder, lambda folder: write_report(timed, folder))


def encoding_seconds(content: Content, user_content: UserContent) -> dict[str, float]:
    """Return the seconds of each channel that was encoded, NaN where nobody measured them; vectors of a cache count what they took."""
    every: list[Embeddings | UserEmbeddings] = [*content.channels.values(), *user_content.embeddings.values()]
    return {e.name: float("nan") if e.seconds is None else e.seconds for e in every if e.encoder != CONTEXT}


def sizes_of(data: Dataset) -> dict[str, int]:
    """Return the numbers of interactions, users and items."""
    events = data.interactions.table
    return {"interactions": len(events), "users": events["user_id"].n_unique(), "items": len(data.catalog)}


def flow_of(
    read_sizes: Mapping[str, int], dataset: Dataset, parts: Split, content: Content, trained: FittedRecommenders
) -> tuple[FlowStep, ...]:
    """Return what went from step to step."""
    return (
        FlowStep("read", read_sizes),
        FlowStep("clean", sizes_of(dataset)),
        FlowStep("encode", {name: int(e.present.sum()) for name, e in content.channels.items()}),
        FlowStep("split", {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}),
        FlowStep("fit", {"members": len(trained.tables)}),
        FlowStep("ensemble", {"members": len(trained.ours.weights.nonzero())}),
    )


def times_ranked(folder: Path, test: Interactions) -> int:
    """Count one more ranking of a test part in the file that its events name, and return the count."""
    columns = ["user_id", "item_id", "at", "kind"]
    events = test.table.select(columns).sort(columns).write_csv().encode()
    file = folder / f"{fingerprint(events)}.json"
    count = (json.loads(file.read_text()) if file.is_file() else 0) + 1
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(count))
    unfinished.replace(file)
    return count


def shipped(parts: Split, config: RecommendationConfig) -> str:
    """Return the sentence of the protocol about the members in the bundle."""
    if config.fit.ship == "as_measured":
        return message("The bundle holds the members as they were measured; they have not learned from the test.")
    if parts.kind == "cold_items":
        return message(
            "The bundle's members were fitted again on every event after the measurement. Their weights were chosen for new items alone: to "
            "serve, run with another split."
        )
    if parts.kind == "cold_users":
        return message(
            "The bundle's members were fitted again on every event after the measurement. Their weights were chosen for users without events "
            "alone: to serve, run with another split."
        )
    return message(
        "After the measurement the bundle's members were fitted again on every event, with the settings and weights found."
    )


def check_names(dataset: Dataset, config: RecommendationConfig, groups: pl.DataFrame | None = None) -> None:
    """Check the names and values in the settings, before anything is encoded or fitted.

    Raises:
        ConfigError: A column, model, encoder or setting does not exist, or a value is outside its range.
        MissingExtraError: A package is not installed.
    """
    for check in checks_of(dataset, config, groups):
        check()


def checks_of(
    dataset: Dataset, config: RecommendationConfig, groups: pl.DataFrame | None = None
) -> Iterator[Callable[[], object]]:
    """Yield each check of the settings against the data."""
    users = groups if groups is not None else dataset.users.table if dataset.users is not None else pl.DataFrame()
    group = () if config.evaluation.group is None else (config.evaluation.group,)
    columns = [c for c in users.columns if c != "user_id"]
    yield partial(check_known, "column of users", group, columns, where="evaluation.group")
    channels = item_channels(dataset.catalog, config.content)
    will_grow = config.ocr is not None or config.describe is not None
    for name, channel in channels.items():
        yield partial(check_channel, dataset.catalog, name, channel, will_grow=will_grow)
    contexts = [*config.data.context, *config.context.time]
    known = [*channels, *user_channels(dataset, config), *contexts, FUSED]
    if config.written_profile is not None:
        known.append(CHANNEL)
        yield config.written_profile.checked
    for name, table in (config.members or {}).items():
        yield partial(_check_member, name, table, known)
    yield config.fusion.tables


def _check_member(name: str, table: dict[str, Any], channels: list[str]) -> None:
    """Check every value that a member tries, and the channels it names."""
    check_known("model", [table["model"]] if "model" in table else [], MODELS.names(), where=f"members.{name}.model")
    for values in each_value(table):
        make_member(name, values)
    check_channels({name: table}, channels, where="members")


def check(config: RecommendationConfig) -> RunCheck:
    """Return what is wrong with a run and what it will cost; nothing is cleaned, fitted or kept, and a few items are encoded.

    Raises:
        PenchantError: The data cannot be read.
    """
    raw = read(config.data)
    problems = gather([*checks_of(raw, config), partial(split, raw.interactions, config.split, config.seed)])
    events, items = len(raw.interactions), len(raw.catalog)
    users = raw.interactions.table["user_id"].n_unique()
    sizes = {"events": f"{events:,}", "users": f"{users:,}", "items": f"{items:,}"}
    lines: list[str] = [message("{events} events of {users} users and {items} items, before cleaning", **sizes)]
    lines += finding_lines(unknown_kinds(raw.interactions.table, config.histories))
    if not problems:
        channels = item_channels(raw.catalog, config.content)
        encodings = estimate_encoding(raw.catalog, channels, cache=config.cache / "vectors", limits=config.media)
        lines += encoding_lines(encodings)
        if config.model is None and config.members is None:
            seconds = 10 + FIT_SECONDS_EVENT * events + FIT_SECONDS_CUBE * min(items, DENSE_ITEMS) ** 3
            memory = 1.5e9 + FIT_MATRICES * 4 * min(items, DENSE_ITEMS) ** 2
            lines.append(
                message(
                    "fit and evaluate the default members: about {time} and {memory} GB, within a factor of three",
                    time=duration(seconds),
                    memory=f"{memory / 1e9:.1f}",
                )
            )
        elif config.model == "auto":
            minutes = f"{config.search.budget_minutes:g}"
            lines.append(message("search members: {minutes} minutes, as set in [search]", minutes=minutes))
        else:
            lines.append(message("fit {count} members of [members]: not estimated", count=len(config.members or {})))
    return RunCheck(problems, lines)


TASK = Task(
    RecommendationConfig,
    run,
    ("interactions", "items", "users"),
    lambda config, interactions, items=None, users=None: from_tables(interactions, items, users, config.data),
    check,
)


def user_channels(dataset: Dataset, config: RecommendationConfig) -> dict[str, UserChannelConfig]:
    """Return the channels of user content that a run reads."""
    if config.user_content is not None:
        return config.user_content
    return default_user_channels(dataset.interactions, dataset.users) if config.members is None else {}


def columns_of_run(dataset: Dataset, config: RecommendationConfig) -> RunColumns:
    """Return the columns that a run on a clean data set reads."""
    channels = item_channels(dataset.catalog, config.content)
    own = user_channels(dataset, config)
    reads = [c for c in (config.reviews.sentiment and "text", config.reviews.transcript and "audio") if c]
    return RunColumns(
        items={
            name: c.columns or columns_of(dataset.catalog, make_encoder(name, c).modality)
            for name, c in channels.items()
            if c.encoder != PRECOMPUTED
        },
        events={name: c.columns for name, c in own.items() if c.of == "events"},
        users={name: c.columns for name, c in own.items() if c.of == "users"},
        context=[*config.data.context, *config.context.time] if reads_context(config) else [],
        values=config.histories.values is not False,
        reviews=reads,
        split=config.split.kind in ("auto", "published"),
        english_only=any(c.encoder in ENGLISH_ONLY for c in channels.values()),
    )


def reads_context(config: RecommendationConfig) -> bool:
    """Return whether a member reads the circumstances of a request."""
    return config.members is None or any(t.get("model") == CONTEXT_MODEL for t in config.members.values())


def read_user_content(dataset: Dataset, config: RecommendationConfig) -> tuple[Dataset, UserContent]:
    """Return the vectors of what users wrote, showed and said, and of what they are, and interactions that name the vector of each event.

    Raises:
        ConfigError: A column or an encoder does not exist, or a channel has the name of one of the items'.
    """
    channels = user_channels(dataset, config)
    taken_names = {*(config.content or default_channels(dataset.catalog)), FUSED}
    if taken := sorted(set(channels) & taken_names):
        raise ConfigError(
            f"{taken[0]!r} is a channel of the items.", where=f"user_content.{taken[0]}", fix="choose another name"
        )
    dataset, content = encode_user_content(dataset, channels, cache=config.cache / "vectors", limits=config.media)
    named = config.data.context if reads_context(config) else []
    settings = config.context if reads_context(config) else ContextConfig(time=[])
    interactions, context, notes = read_context(dataset.interactions, named, settings)
    findings = (*dataset.findings, *unused_protected(dataset.users, channels), *notes)
    if taken := sorted(set(context) & {*content.embeddings, *taken_names}):
        raise ConfigError(
            f"{taken[0]!r} is a circumstance of the request and a channel.",
            where=f"user_content.{taken[0]}",
            fix="choose another name for the channel, or leave the circumstance out of [context]",
        )
    return (
        replace(dataset, interactions=interactions, findings=findings),
        replace(content, embeddings={**content.embeddings, **context}),
    )


def with_written_profile(
    user_content: UserContent,
    catalog: Catalog,
    topics: Topics,
    weight: np.ndarray,
    config: RecommendationConfig,
) -> UserContent:
    """Return the user content with the profile in words of each history as one more channel.

    Args:
        user_content: The channels there are.
        catalog: Items.
        topics: Content groups.
        weight: (items,) how much all users chose each item before validation.
        config: The settings of the run.

    Raises:
        ConfigError: There is a channel of this name, or the settings of the channel are wrong.
    """
    if config.written_profile is None:
        return user_content
    if CHANNEL in user_content.embeddings:
        raise ConfigError(
            f"{CHANNEL!r} is a channel of user content.",
            where=f"user_content.{CHANNEL}",
            fix="choose another name, or leave [written_profile] out",
        )
    config.written_profile.checked()
    made = ProfileChannel(
        catalog, topics, weight, config.written_profile, ChannelEncoders().load, cache=config.cache / "vectors"
    )
    return replace(user_content, derived={CHANNEL: made})


def before_test(
    catalog: Catalog, parts: Split, config: RecommendationConfig, content: UserContent | None = None
) -> tuple[HoldOut, Histories]:
    """Return the validation stage, and the events that members are fitted on at the end; the test part is not read."""
    items, users = Vocabulary(catalog.item_ids), _users(*parts.before_test)
    train = _histories(items, users, config, parts.train, content=content)
    final = _histories(items, users, config, *parts.before_test, content=content) if config.fit.refit else None
    if parts.kind == "rolling_time":
        return _rolling(
            items, config, train, parts.before_test, parts.validation, content
        ), train if final is None else final
    truth = _histories(items, users, config, parts.validation, content=content)
    train = _requested(train, truth, parts, config)
    order = item_tie_order(catalog.item_ids, config.seed)
    stage = HoldOut(train, truth, _among(items, parts.cold_validation_items), tie_order=order)
    return stage, train if final is None else final


def at_test(
    catalog: Catalog, parts: Split, config: RecommendationConfig, content: UserContent | None = None
) -> HoldOut:
    """Return the histories before the test, and the test; users without earlier events have an empty history."""
    items, users = Vocabulary(catalog.item_ids), _users(*parts.before_test, parts.test)
    before = parts.before_test if config.fit.refit else (parts.train,)
    if parts.kind == "rolling_time":
        return _rolling(items, config, None, (*parts.before_test, parts.test), parts.test, content)
    truth = _histories(items, users, config, parts.test, content=content)
    known = _requested(_histories(items, users, config, *before, content=content), truth, parts, config)
    order = item_tie_order(catalog.item_ids, config.seed)
    return HoldOut(known, truth, _among(items, parts.cold_items), tie_order=order)


def _rolling(
    items: Vocabulary,
    config: RecommendationConfig,
    learned: Histories | None,
    pieces: tuple[Interactions, ...],
    asked: Interactions,
    content: UserContent | None = None,
) -> HoldOut:
    """Return every request of one piece, each with all its user did before; members observe what all users did before it."""
    whole = config.histories.model_copy(update={"max_events": None})
    joined = Interactions(pl.concat([piece.table for piece in pieces]))
    events = build_histories(joined, items, whole, seed=config.seed, content=content)
    start, stop = _span(asked)
    histories, truth = rolling_requests(
        events, start, stop, limit=config.split.max_requests, max_events=config.histories.max_events
    )
    order = item_tie_order(items.ids, config.seed)
    return HoldOut(histories, truth, learned=learned, log=EventLog.of(events), tie_order=order)


def refits_of(
    catalog: Catalog, parts: Split, known: Histories, config: RecommendationConfig, content: UserContent | None = None
) -> list[Refit]:
    """Return the moments of the rolling test at which members are fitted: its start, where they learn from `known`, and equal steps after it.

    Without `fit.refit` they are those that learned from train alone.
    """
    items, users = Vocabulary(catalog.item_ids), _users(*parts.before_test, parts.test)
    start, stop = _span(parts.test)
    refits = [Refit(start, known)]
    for number in range(1, config.split.refits if config.fit.refit else 1):
        moment = start + number * (stop - start) // config.split.refits
        before = parts.test.where(pl.col("at").dt.epoch("us") < moment)
        refits.append(Refit(moment, _histories(items, users, config, *parts.before_test, before, content=content)))
    return refits


def _span(part: Interactions) -> tuple[int, int]:
    """Return the first moment of a part and the one after its last."""
    first, last = part.table.select(
        first=pl.col("at").dt.epoch("us").min(), last=pl.col("at").dt.epoch("us").max()
    ).row(0)
    return first, last + 1


def _requested(known: Histories, truth: Histories, parts: Split, config: RecommendationConfig) -> Histories:
    """Return the histories read for a request at the time of each user's first held-out event; at an unknown time where that is hidden."""
    if config.split.request_time == "hidden" or (config.split.request_time == "auto" and parts.kind not in BY_TIME):
        return known.requested(0)
    times = np.zeros(len(truth), np.int64)
    chose = truth.lengths() > 0
    times[chose] = truth.at[truth.offsets[:-1][chose]]
    return known.requested(times).under_circumstances_of(truth)


def _users(*pieces: Interactions) -> list[str]:
    return sorted(set().union(*(piece.table["user_id"].unique() for piece in pieces)))


def _histories(
    items: Vocabulary,
    users: list[str],
    config: RecommendationConfig,
    *pieces: Interactions,
    content: UserContent | None = None,
) -> Histories:
    joined = Interactions(pl.concat([piece.table for piece in pieces]))
    return build_histories(joined, items, config.histories, users=users, seed=config.seed, content=content)


def fuse(content: Content, validation: HoldOut, config: RecommendationConfig) -> tuple[Content, Fusion]:
    """Impute missing content, and fuse the channels with the best settings on validation."""
    channels = dict(content.channels)
    if config.fusion.impute and any(not e.present.all() for e in channels.values()):
        graph = item_graph(validation.train.matrix())
        channels = {name: impute(e, graph) for name, e in channels.items()}
    scorer = validation.scorer(config.evaluation.cutoff, 1000)
    filled = replace(content, channels=channels)
    fusion = choose_fusion(filled, validation.train, scorer, config.fusion.tables())
    return replace(filled, fused=fusion(channels)), fusion


def choose_members(parts: Split, content: Content, validation: HoldOut, config: RecommendationConfig) -> SearchResult:
    """Return the members of the settings, the defaults, or the result of a search under a budget, with its reasons.

    Raises:
        ConfigError: The settings ask for a search and name members.
    """
    has_time = any(part.table["at"].null_count() < len(part) for part in (parts.train, parts.validation))
    if config.model is None:
        count = validation.train.num_events
        defaults = default_members(content, has_time=has_time, num_events=count)
        return SearchResult({name: dict(table) for name, table in (config.members or defaults).items()})
    if config.members is not None:
        raise ConfigError(
            'model = "auto" chooses the members, and [members] names them.',
            where="the settings: model, members",
            fix="leave one of them out",
        )
    scorer = validation.scorer(config.evaluation.cutoff, config.fit.selection.max_users)
    return search(validation.train, content, scorer, config.search, config.fit, has_time=has_time)


def how_chosen(reasons: tuple[str, ...]) -> list[Finding]:
    """Return a finding with the reasons for a model, none where nothing was searched."""
    if not reasons:
        return []
    return [Finding("model.auto", len(reasons), len(reasons), "kept", reasons, message("how the model was chosen"))]


def all_histories(dataset: Dataset, config: RecommendationConfig, content: UserContent | None = None) -> Histories:
    """Return all events as histories, so that served lists leave out what a user already has.

    A user with content of their own and no event has an empty history.
    """
    items, users = Vocabulary(dataset.catalog.item_ids), set(dataset.interactions.table["user_id"].unique())
    if content is not None:
        names = [name for name, e in content.embeddings.items() if e.of == "users"]
        known = content.users.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in names)) if names else None
        users |= set() if known is None else set(known["user_id"])
    return build_histories(
        dataset.interactions, items, config.histories, users=sorted(users), seed=config.seed, content=content
    )


def _among(items: Vocabulary, chosen: tuple[str, ...]) -> np.ndarray | None:
    """Return the mask of some items, None where there is no restriction."""
    if not chosen:
        return None
    mask = np.zeros(len(items), bool)
    mask[[items.index(item) for item in chosen if item in items]] = True
    return mask
