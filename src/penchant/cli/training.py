"""Commands that train on data or examine it.

In: a TOML file or a folder of tables. Out: a bundle with its report, or a diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penchant.cli.options import AsJson, BundlePath, ColumnNames, column_names
from penchant.cli.printing import (
    out,
    plain_text,
    print_answer,
    print_error,
    reported_errors,
    shell_word,
    show,
    toml_text,
)
from penchant.cli.results import print_results, results_lines
from penchant.cli.speaking import said, spoken_language
from penchant.core.errors import ConfigError, MissingExtraError, import_optional
from penchant.core.messages import message

if TYPE_CHECKING:
    from penchant.encoders.catalog import ChannelConfig
    from penchant.pipelines.frame import RunSettings
    from penchant.pipelines.recommendation_settings import RecommendationConfig

DEMO_GROUP = "chooses_by"
SLIM_TEXT, SLIM_INSTEAD = "tfidf", ("minilm", "e5")
"""Encoder of texts that every installation has, and those it stands in for in the demo."""
DEMO_SETTINGS = """\
# Settings of `penchant demo`, to copy and change: penchant run {file}
# Every setting: `penchant list settings`. The demo's report also groups users by the true driver of their choices, which is no part of the data.
name = {name}
output = {output}

[data]
path = {data}

[evaluation]
language = {language}
"""


def run(
    config: Annotated[Path, typer.Argument(help="TOML file; `penchant init` writes one.")], as_json: AsJson = False
) -> None:
    """Read, clean, encode, fit, evaluate, explain: one bundle and its report; `task` in the file gives its kind."""
    from penchant.pipelines import tasks

    with reported_errors(as_json):
        print_results(tasks.run(config), as_json)


def day_zero(
    config: Annotated[Path, typer.Argument(help="TOML file of a run; its data needs items only.")],
    as_json: AsJson = False,
) -> None:
    """Make a recommender from content alone, before there is any event: for the first day of a service."""
    from penchant.pipelines import day_zero as first
    from penchant.pipelines import tasks
    from penchant.pipelines.recommendation_settings import RecommendationConfig

    with reported_errors(as_json):
        settings = tasks.read_settings(config)
        if not isinstance(settings, RecommendationConfig):
            raise ConfigError(
                "Only a recommender can do without events.",
                where=str(config),
                fix="leave `task` out of the file, or run `penchant run` on labelled samples",
            )
        made = first.day_zero(settings)
        facts = {"bundle": str(made.folder), "items": len(made.catalog), "members": list(made.ensemble.members)}
        lines = [
            message(
                "{count} items, ranked by {members}",
                count=f"{len(made.catalog):,}",
                members=", ".join(made.ensemble.members),
            ),
            f"penchant serve {shell_word(made.folder)}",
        ]
        print_answer(facts if as_json else lines, as_json)


def check(config: Annotated[Path, typer.Argument(help="TOML file of a run.")], as_json: AsJson = False) -> None:
    """Check every name, value, column, package and folder of a run, and estimate its time, without running it."""
    from penchant.pipelines import tasks

    with reported_errors(as_json):
        found = tasks.check(config)
        if as_json:
            print_answer({"problems": [error.as_dict() for error in found.problems], "lines": found.lines}, as_json)
        else:
            for line in found.lines:
                typer.echo(said(line))
            for error in found.problems:
                print_error(error)
            typer.echo(
                said(
                    message("{count} problems", count=len(found.problems))
                    if found.problems
                    else message("nothing is wrong: penchant run {file}", file=shell_word(config))
                )
            )
    if found.problems:
        raise typer.Exit(1)


def demo(
    size: Annotated[str, typer.Option(help="tiny, small, medium or large.")] = "small",
    output: Annotated[Path, typer.Option(help="Where the bundle goes.")] = Path("runs/demo"),
    user_content: Annotated[
        bool, typer.Option("--user-content", help="Users write, show photos and avatars, and leave voice notes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Generate the sample data, whose true interests are known, and run the whole flow on it; its settings are written beside it."""
    from penchant.pipelines import tasks
    from penchant.pipelines.recommendation_settings import RecommendationConfig
    from penchant.world import WorldConfig, make_world
    from penchant.world.ceiling import choice_probabilities

    with reported_errors(as_json):
        world = output.parent / (f"world-{size}-users" if user_content else f"world-{size}")
        wanted: dict[str, str | bool] = {"size": size, "user_content": user_content}
        try:
            import_optional("soundfile", "audio")
        except MissingExtraError:
            wanted["media"] = False
            show("without penchant[audio] the sample data has no pictures and sounds")
        truth = make_world(world, WorldConfig.read(wanted, where="--size"))
        file = output.with_name(f"{output.name}.toml")
        written = DEMO_SETTINGS.format(
            file=shell_word(file),
            name=toml_text(output.name),
            output=toml_text(str(output)),
            data=toml_text(world.name),
            language=toml_text(spoken_language()),
        )
        written += "\n".join(_installed_channels(world))
        # The true driver of each user's choices names the groups of the report and is not an input.
        groups = truth.users.select("user_id", truth.users["driver"].alias(DEMO_GROUP))
        file.write_text(written, encoding="utf-8")
        settings = RecommendationConfig.from_toml(file)
        grouped = settings.evaluation.model_copy(update={"group": DEMO_GROUP})
        settings = settings.model_copy(update={"output": output, "evaluation": grouped})
        print_results(tasks.run_task(settings, groups=groups, ideal=partial(choice_probabilities, truth)), as_json)
        if not as_json:
            out.print(said(message("settings {file}", file=str(file))), markup=False)


def _installed_channels(world: Path) -> Iterator[str]:
    """Yield the default channels as TOML where an encoder of them is not installed: texts are read by TF-IDF, other content is left out."""
    from penchant.data.read.sources import DataConfig, read
    from penchant.encoders.catalog import default_channels, make_encoder
    from penchant.encoders.user_content import UserChannelConfig, default_user_channels

    data, lines, is_slim = read(DataConfig(path=world)), [], False
    tables: dict[str, Mapping[str, ChannelConfig]] = {
        "content": default_channels(data.catalog),
        "user_content": default_user_channels(data.interactions, data.users),
    }
    for table, channels in tables.items():
        lines += ["", f"[{table}]"]
        for name, channel in channels.items():
            encoder = channel.encoder
            try:
                make_encoder(name, channel).weights()
            except MissingExtraError as error:
                is_slim, encoder = True, SLIM_TEXT if encoder in SLIM_INSTEAD else ""
                instead = f"read by {encoder!r}" if encoder else "left out"
                show(f"{table}.{name} is {instead} without the encoder {channel.encoder!r}: {error.fix}")
            if encoder:
                columns = ", ".join(map(toml_text, channel.columns or ()))
                of = [f'of = "{channel.of}"'] if isinstance(channel, UserChannelConfig) else []
                lines += ["", f"[{table}.{name}]", f"encoder = {toml_text(encoder)}", f"columns = [{columns}]", *of]
    return iter([*lines, ""] if is_slim else [])


def doctor(
    data: Annotated[Path, typer.Argument(help="TOML file of a run, or a folder of tables.")],
    transcribe: Annotated[
        bool, typer.Option("--transcribe", help="Transcribe voice notes that the settings read; takes long.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the data covers, what each column is used for, its leaks, and what would hurt a model most."""
    from penchant.data.clean.samples import clean_samples
    from penchant.data.doctor.samples import examine_samples
    from penchant.data.read.samples import read_samples
    from penchant.pipelines import tasks
    from penchant.pipelines.classification import ClassificationConfig
    from penchant.pipelines.recommendation_settings import RecommendationConfig

    with reported_errors(as_json):
        config = _settings_of_folder(data) if data.is_dir() else tasks.read_settings(data)
        if isinstance(config, ClassificationConfig):
            samples = clean_samples(read_samples(config.data), config.clean, config.media, cache=config.cache / "media")
            found = examine_samples(samples, config.split, config.seed)
            print_answer(found.as_dict() if as_json else found.lines(), as_json)
        elif isinstance(config, RecommendationConfig):
            _examine(config, transcribe, as_json)
        else:
            raise ConfigError(
                "The doctor examines interactions or labelled samples, and this run has neither.",
                where=f"{data.name}: task",
                fix="run `penchant run`: its report lists what was repaired, dropped or noticed",
            )


def _examine(config: RecommendationConfig, transcribe: bool, as_json: bool) -> None:
    from penchant.classifiers.reviews import classify_reviews
    from penchant.data.clean.dataset import clean
    from penchant.data.doctor.examination import examine
    from penchant.data.read.sources import read
    from penchant.data.split.interactions import split
    from penchant.pipelines import recommendation

    dataset = clean(read(config.data), config.clean, config.media, cache=config.cache / "media")
    events, reviews, notes = dataset.interactions.table, config.reviews, []
    spoken = events["audio"].count() if "audio" in events.columns and reviews.transcript is not None else 0
    if spoken and not transcribe:
        notes = [
            message(
                "{count} voice notes were not transcribed; `penchant run` does, and so does the doctor with --transcribe",
                count=f"{spoken:,}",
            )
        ]
        reviews = reviews.model_copy(update={"transcript": None})
    if not notes or ("text" in events.columns and events["text"].count()):
        dataset = classify_reviews(dataset, reviews, config.media, cache=config.cache / "transcripts")
    parts = split(dataset.interactions, config.split, config.seed)
    columns = recommendation.columns_of_run(dataset, config)
    diagnosis = examine(dataset, parts, columns, config.histories)
    print_answer(diagnosis.as_dict() if as_json else [*diagnosis.lines(), *notes], as_json)


def _settings_of_folder(folder: Path) -> RunSettings:
    """Return settings for a folder of tables: of recommendation where it holds events, else of labelled samples."""
    from penchant.data.read.samples import SamplesConfig
    from penchant.data.read.sources import EVENT_FILES, ITEM_FILES, DataConfig
    from penchant.data.read.tables import find_file
    from penchant.pipelines.classification import ClassificationConfig
    from penchant.pipelines.recommendation_settings import RecommendationConfig

    if find_file(folder, EVENT_FILES) is None and find_file(folder, ITEM_FILES) is None:
        return ClassificationConfig(data=SamplesConfig(path=folder))
    return RecommendationConfig(data=DataConfig(path=folder))


def evaluate(
    bundle: BundlePath,
    table: Annotated[
        Path | None,
        typer.Option(help="New labelled content for a classifier: CSV, Parquet or JSON lines, with a column label."),
    ] = None,
    column: ColumnNames = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The whole report as Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print conclusions and scores of a bundle's report, or what a classifier scores on new labelled content."""
    from penchant import load
    from penchant.classifiers.bundle import TrainedClassifier
    from penchant.data.read.tables import read_table
    from penchant.experiment.evaluate_classifiers import evaluate_table

    with reported_errors(as_json):
        if table is not None:
            names = column_names(column)
            found = evaluate_table(TrainedClassifier.load(bundle), read_table(table).table, table.parent, names)
            print_answer(asdict(found) if as_json else results_lines(found), as_json)
            return
        trained = load(bundle)
        if as_json or markdown:
            page = trained.report.json if as_json else trained.report.markdown
            typer.echo(page.read_text(encoding="utf-8"))
            return
        # the conclusions; the report's own tables are too wide for a terminal
        first = trained.report.markdown.read_text(encoding="utf-8").split("\n## ")[:2]
        typer.echo(plain_text("\n".join(first)))
        print_results(trained, as_json)
