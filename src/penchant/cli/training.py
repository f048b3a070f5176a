"""Commands that train on data or examine it.

In: a TOML file or a folder of tables. Out: a bundle with its report, or a diagnosis.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penchant import load
from penchant.classifiers.reviews import classify_reviews
from penchant.cli.options import AsJson, BundlePath
from penchant.cli.printing import print_answer, reported_errors
from penchant.cli.results import print_results
from penchant.core.errors import ConfigError
from penchant.data.clean.dataset import clean
from penchant.data.doctor.examination import examine
from penchant.data.read.sources import DataConfig, read
from penchant.data.split.interactions import split
from penchant.pipelines import recommendation, tasks
from penchant.pipelines.recommendation import RecommendationConfig
from penchant.world import WorldConfig, make_world

DEMO_GROUP = "chooses_by"


def run(
    config: Annotated[Path, typer.Argument(help="TOML file; see docs/own-data.md.")], as_json: AsJson = False
) -> None:
    """Read, clean, encode, fit, evaluate, explain: one bundle and its report; `task` in the file gives its kind."""
    with reported_errors(as_json):
        print_results(tasks.run(config), as_json)


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
        settings = {"size": size, "user_content": user_content}
        truth = make_world(world, WorldConfig.read(settings, where="--size"))
        config = {
            "name": output.name,
            "output": output,
            "data": {"path": world},
            "evaluation": {"language": language, "group": DEMO_GROUP},
        }
        # The true driver of each user's choices names the groups of the report and is not an input.
        groups = truth.users.select("user_id", truth.users["driver"].alias(DEMO_GROUP))
        print_results(recommendation.run(RecommendationConfig.read(config, where="the demo"), groups=groups), as_json)


def doctor(
    data: Annotated[Path, typer.Argument(help="TOML file of a run, or a folder of tables.")], as_json: AsJson = False
) -> None:
    """Print what the data covers, its leaks, and what would hurt a model most."""
    with reported_errors(as_json):
        config = RecommendationConfig(data=DataConfig(path=data)) if data.is_dir() else tasks.read_settings(data)
        if not isinstance(config, RecommendationConfig):
            raise ConfigError(
                "The doctor examines interactions, and this run has none.",
                where=f"{data.name}: task",
                fix="run `penchant run`: its report lists what was repaired, dropped or noticed",
            )
        dataset = clean(read(config.data), config.clean, config.media, cache=config.cache / "media")
        dataset = classify_reviews(dataset, config.reviews, config.media, cache=config.cache / "transcripts")
        diagnosis = examine(dataset, split(dataset.interactions, config.split, config.seed))
        print_answer(diagnosis.as_dict() if as_json else diagnosis.lines(), as_json)


def evaluate(bundle: BundlePath, as_json: AsJson = False) -> None:
    """Print the report of a bundle."""
    with reported_errors(as_json):
        report = load(bundle).report
        typer.echo((report.json if as_json else report.markdown).read_text(encoding="utf-8"))
