"""Commands that train on data or examine it.

In: a TOML file or a folder of tables. Out: a bundle with its report, or a diagnosis.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from penchant import load
from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.reviews import classify_reviews
from penchant.cli.options import AsJson, BundlePath, ColumnNames, column_names
from penchant.cli.printing import print_answer, print_error, reported_errors
from penchant.cli.results import print_results, results_lines
from penchant.core.errors import ConfigError
from penchant.data.clean.dataset import clean
from penchant.data.clean.samples import clean_samples
from penchant.data.doctor.examination import examine
from penchant.data.doctor.samples import examine_samples
from penchant.data.read.samples import SamplesConfig, read_samples
from penchant.data.read.sources import EVENT_FILES, ITEM_FILES, DataConfig, read
from penchant.data.read.tables import find_file, read_table
from penchant.data.split.interactions import split
from penchant.experiment.evaluate_classifiers import evaluate_table
from penchant.pipelines import recommendation, tasks
from penchant.pipelines.classification import ClassificationConfig
from penchant.pipelines.frame import RunSettings
from penchant.pipelines.recommendation import RecommendationConfig
from penchant.world import WorldConfig, make_world
from penchant.world.ceiling import choice_probabilities

DEMO_GROUP = "chooses_by"


def run(
    config: Annotated[Path, typer.Argument(help="TOML file; see docs/own-data.md.")], as_json: AsJson = False
) -> None:
    """Read, clean, encode, fit, evaluate, explain: one bundle and its report; `task` in the file gives its kind."""
    with reported_errors(as_json):
        print_results(tasks.run(config), as_json)


def check(config: Annotated[Path, typer.Argument(help="TOML file of a run.")], as_json: AsJson = False) -> None:
    """Check every name, value, column, package and folder of a run, and estimate its time, without running it."""
    with reported_errors(as_json):
        found = tasks.check(config)
        if as_json:
            print_answer({"problems": [error.as_dict() for error in found.problems], "lines": found.lines}, as_json)
        else:
            for line in found.lines:
                typer.echo(line)
            for error in found.problems:
                print_error(error)
            typer.echo(
                f"{len(found.problems)} problems" if found.problems else f"nothing is wrong: penchant run {config}"
            )
    if found.problems:
        raise typer.Exit(1)


def demo(
    size: Annotated[str, typer.Option(help="tiny, small, medium or large.")] = "small",
    output: Annotated[Path, typer.Option(help="Where the bundle goes.")] = Path("runs/demo"),
    language: Annotated[str, typer.Option(help="Of the report: en or zh.")] = "en",
    user_content: Annotated[
        bool, typer.Option("--user-content", help="Users write, show photos and avatars, and leave voice notes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Generate the sample data, whose true interests are known, and run the whole flow on it."""
    with reported_errors(as_json):
        world = output.parent / (f"world-{size}-users" if user_content else f"world-{size}")
        wanted = {"size": size, "user_content": user_content}
        truth = make_world(world, WorldConfig.read(wanted, where="--size"))
        config = {
            "name": output.name,
            "output": output,
            "data": {"path": world},
            "evaluation": {"language": language, "group": DEMO_GROUP},
        }
        # The true driver of each user's choices names the groups of the report and is not an input.
        groups = truth.users.select("user_id", truth.users["driver"].alias(DEMO_GROUP))
        settings = RecommendationConfig.read(config, where="the demo")
        ideal = partial(choice_probabilities, truth)
        print_results(tasks.run_task(settings, groups=groups, ideal=ideal), as_json)


def doctor(
    data: Annotated[Path, typer.Argument(help="TOML file of a run, or a folder of tables.")], as_json: AsJson = False
) -> None:
    """Print what the data covers, what each column is used for, its leaks, and what would hurt a model most."""
    with reported_errors(as_json):
        config = _settings_of_folder(data) if data.is_dir() else tasks.read_settings(data)
        if isinstance(config, ClassificationConfig):
            samples = clean_samples(read_samples(config.data), config.clean, config.media, cache=config.cache / "media")
            found = examine_samples(samples, config.split, config.seed)
            print_answer(found.as_dict() if as_json else found.lines(), as_json)
            return
        if not isinstance(config, RecommendationConfig):
            raise ConfigError(
                "The doctor examines interactions or labelled samples, and this run has neither.",
                where=f"{data.name}: task",
                fix="run `penchant run`: its report lists what was repaired, dropped or noticed",
            )
        dataset = clean(read(config.data), config.clean, config.media, cache=config.cache / "media")
        dataset = classify_reviews(dataset, config.reviews, config.media, cache=config.cache / "transcripts")
        parts = split(dataset.interactions, config.split, config.seed)
        diagnosis = examine(dataset, parts, recommendation.columns_of_run(dataset, config))
        print_answer(diagnosis.as_dict() if as_json else diagnosis.lines(), as_json)


def _settings_of_folder(folder: Path) -> RunSettings:
    """Return settings for a folder of tables: of recommendation where it holds events, else of labelled samples."""
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
    as_json: AsJson = False,
) -> None:
    """Print the report of a bundle, or what a classifier scores on new labelled content."""
    with reported_errors(as_json):
        if table is not None:
            names = column_names(column)
            found = evaluate_table(TrainedClassifier.load(bundle), read_table(table).table, table.parent, names)
            print_answer(asdict(found) if as_json else results_lines(found), as_json)
            return
        report = load(bundle).report
        typer.echo((report.json if as_json else report.markdown).read_text(encoding="utf-8"))
