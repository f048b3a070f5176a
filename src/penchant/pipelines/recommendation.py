"""THE FLOW: from files to an evaluated bundle with explanations. Read this first.

In: one TOML file. Out: a folder with the trained recommender and its report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from penchant.classifiers.reviews import classify_reviews
from penchant.core.artifacts import fingerprint
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
)
from penchant.data.clean.dataset import clean
from penchant.data.doctor.columns import RunColumns
from penchant.data.doctor.examination import examine
from penchant.data.doctor.warnings import finding_lines
from penchant.data.event_weights import unknown_kinds
from penchant.data.read.sources import from_tables, read
from penchant.data.split.interactions import split
from penchant.encoders.catalog import (
    PRECOMPUTED,
    ChannelConfig,
    check_channel,
    check_channel_files,
    encode_catalog,
    estimate_encoding,
    item_channels,
    make_encoder,
    pretrained_channels,
)
from penchant.encoders.content import columns_of
from penchant.encoders.ocr import read_items_pictures
from penchant.encoders.picture_labels import label_items
from penchant.encoders.transcript import transcribe_items
from penchant.encoders.user_content import check_user_channel
from penchant.experiment.defaults import default_members
from penchant.experiment.evaluate import Ideal, assess
from penchant.experiment.fit import FittedRecommenders, HoldOut, fit
from penchant.experiment.inside import look_inside, training_curves
from penchant.experiment.interest_changes import noticing_changes
from penchant.experiment.search import SearchResult, search
from penchant.experiment.selection import choose_fusion, each_value
from penchant.explanation.profile import item_weight
from penchant.explanation.profile_channel import CHANNEL
from penchant.explanation.topics import Topics, find_topics
from penchant.fusion.fusion import Fusion
from penchant.fusion.imputation import coverage, impute, item_graph
from penchant.language.descriptions import describe
from penchant.models import MODELS
from penchant.models.channels import FUSED
from penchant.models.member import make_member
from penchant.pipelines.frame import (
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
from penchant.pipelines.recommendation_settings import RecommendationConfig
from penchant.pipelines.recommendation_stages import all_histories, at_test, before_test, refits_of
from penchant.pipelines.recommendation_users import (
    read_user_content,
    reads_context,
    user_channels,
    with_written_profile,
)
from penchant.recommender.recommender import Recommender
from penchant.reporting.report import FlowStep, write_report

ENGLISH_ONLY = ("minilm",)
"""Encoders of texts that know no other language."""
FIT_SECONDS_EVENT, FIT_SECONDS_CUBE = 4e-5, 1.2e-9
"""CPU seconds of the default members for one event, and for one item cubed: MovieLens-1M, Steam, Amazon Beauty and the sample world, 29 November 2026."""
DENSE_ITEMS, FIT_MATRICES = 20_000, 8
"""Items that take part in dense members at most, and dense matrices held at once."""


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
        check_names(raw, config, groups)
    with clock("clean"):
        pictures = config.inspected_pictures(raw.catalog.media_columns)
        dataset = clean(raw, config.clean, config.media, cache=config.cache / "media", pictures=pictures)
        dataset = stop_on_errors(dataset)
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
        dataset = label_items(dataset, config.picture_labels, config.media, cache=config.cache / "labels")
        dataset = transcribe_items(dataset, config.transcript, config.media, cache=config.cache / "transcripts")
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
        labels, cutoff = prepared.topics.labels, config.evaluation.cutoff
        trained = noticing_changes(trained, ranked, labels, config.fit.change_probability, cutoff)
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
            refit=config.fit.refit,
            encoding=encoding_seconds(content, user_content),
            ideal=ideal,
        )
        diagnosis = examine(dataset, parts, columns_of_run(dataset, config))
        report = replace(
            report,
            concerns=diagnosis.concerns,
            flow=flow_of(prepared.read, dataset, parts, content, trained),
            training=training_curves({name: m for name, m in trained.before.members.items() if name in trained.tables}),
        )
        trained = trained.ours_alone()
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
        report = look_inside(report, recommender, prepared.test, config.evaluation, config.report, config.media)
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
    """Check the names and values in the settings, before anything is cleaned, encoded or fitted.

    Raises:
        ConfigError: A column, model, encoder or setting does not exist, or a value is outside its range.
        DataError: None of the files of a channel is there.
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
    will_grow = any((config.ocr, config.describe, config.picture_labels, config.transcript))
    for name, channel in channels.items():
        yield partial(_check_channel, dataset.catalog, name, channel, config.content is not None, will_grow)
    own = user_channels(dataset, config)
    for name, own_channel in own.items():
        yield partial(check_user_channel, dataset, name, own_channel, is_named=config.user_content is not None)
    contexts = [*config.data.context, *config.context.time]
    known = [*channels, *own, *contexts, FUSED]
    if config.written_profile is not None:
        known.append(CHANNEL)
        yield config.written_profile.checked
    for name, table in (config.members or {}).items():
        yield partial(_check_member, name, table, known)
    yield config.fusion.tables


def _check_channel(catalog: Catalog, name: str, channel: ChannelConfig, is_named: bool, will_grow: bool) -> None:
    check_channel(catalog, name, channel, will_grow=will_grow)
    check_channel_files(catalog, name, channel, is_named=is_named)


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
