"""Commands that make something from data, or say what it is like.

In: a TOML file or a folder of tables. Out: a bundle with its report, or a diagnosis.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penchant.classifiers.reviews import judge_reviews
from penchant.cli.options import AsJson, BundlePath
from penchant.cli.printing import say, told
from penchant.cli.results import tell_classifiers, tell_recommender, tell_screening
from penchant.core.config import read_toml
from penchant.data.clean.dataset import clean
from penchant.data.doctor.examination import examine
from penchant.data.read.sources import DataConfig, read
from penchant.data.split.interactions import split
from penchant.pipelines import classification, moderation
from penchant.pipelines.recommendation import RunConfig, read_config
from penchant.pipelines.recommendation import run as run_pipeline
from penchant.recommender.recommender import Recommender
from penchant.world import WorldConfig, make_world

DEMO_GROUP = "chooses_by"


def run(
    config: Annotated[Path, typer.Argument(help="TOML file; see docs/own-data.md.")], as_json: AsJson = False
) -> None:
    """Read, clean, encode, fit, evaluate, explain: one bundle and its report; `task` in the file says of what kind."""
    with told(as_json):
        task = read_toml(config).get("task")
        if task == "classification":
            tell_classifiers(classification.run(classification.read_config(config)), as_json)
        elif task == "moderation":
            tell_screening(moderation.run(moderation.read_config(config)), as_json)
        else:
            tell_recommender(run_pipeline(read_config(config)), as_json)


def demo(
    size: Annotated[str, typer.Option(help="tiny, small, medium or large.")] = "small",
    output: Annotated[Path, typer.Option(help="Where the bundle goes.")] = Path("runs/demo"),
    language: Annotated[str, typer.Option(help="Of the report: en or zh.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Make the built-in world, whose right answers are known, and do the whole flow on it."""
    with told(as_json):
        world = output.parent / f"world-{size}"
        truth = make_world(world, WorldConfig.read({"size": size}, where="--size"))
        config = {
            "name": output.name,
            "output": output,
            "data": {"path": world},
            "evaluation": {"language": language, "group": DEMO_GROUP},
        }
        # Who chooses by what is known here, and nowhere else: it names the groups of the report and is no input.
        groups = truth.users.select("user_id", truth.users["driver"].alias(DEMO_GROUP))
        tell_recommender(run_pipeline(RunConfig.read(config, where="the demo"), groups=groups), as_json)


def doctor(
    data: Annotated[Path, typer.Argument(help="TOML file of a run, or a folder of tables.")], as_json: AsJson = False
) -> None:
    """Say what the data covers, what leaks, and what would hurt most."""
    with told(as_json):
        config = RunConfig(data=DataConfig(path=data)) if data.is_dir() else read_config(data)
        dataset = clean(read(config.data), config.clean, config.media, cache=config.cache / "media")
        dataset = judge_reviews(dataset, config.reviews, config.media, cache=config.cache / "transcripts")
        diagnosis = examine(dataset, split(dataset.interactions, config.split, config.seed))
        say(diagnosis.as_dict() if as_json else diagnosis.lines(), as_json)


def evaluate(bundle: BundlePath, as_json: AsJson = False) -> None:
    """Print the report of a bundle."""
    with told(as_json):
        folder = Recommender.load(bundle).folder or bundle
        if as_json:
            typer.echo((folder / "report" / "report.json").read_text(encoding="utf-8"))
        else:
            typer.echo((folder / "report" / "report.md").read_text(encoding="utf-8"))
