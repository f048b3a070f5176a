"""Commands that list names and settings.

In: the name of a list. Out: names; or settings as lines, or as the page docs/configuration.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from penchant.cli.options import AsJson
from penchant.cli.printing import print_answer, reported_errors
from penchant.core.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from penchant.core.config import Settings


def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            help="encoders, models, classifiers, fusions, metrics, sources, labelled, branches, backbones, layers, settings or bundles."
        ),
    ],
    folder: Annotated[Path, typer.Option(help="Where bundles are looked for.")] = Path("runs"),
    markdown: Annotated[bool, typer.Option(help="Settings as a Markdown page.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what there is by name, or every setting with its help text."""
    from penchant.classifiers import BRANCHES, CLASSIFIERS
    from penchant.classifiers.course import CourseConfig
    from penchant.compression.compress import CompressConfig
    from penchant.data import LABELLED, SOURCES
    from penchant.data.align.streams import AlignConfig, StreamConfig
    from penchant.encoders import ENCODERS
    from penchant.fusion import FUSIONS, LAYERS
    from penchant.language.screen import LanguageConfig
    from penchant.learning.settings import LearningConfig
    from penchant.metrics import METRICS
    from penchant.models import MODELS
    from penchant.networks import BACKBONES
    from penchant.pipelines import classification, moderation
    from penchant.pipelines.recommendation_settings import RecommendationConfig
    from penchant.service.trial import TrialConfig
    from penchant.streams.settings import KafkaConfig, RedisConfig, StreamsConfig

    with reported_errors(as_json):
        tables = {
            "encoders": ENCODERS,
            "models": MODELS,
            "classifiers": CLASSIFIERS,
            "fusions": FUSIONS,
            "metrics": METRICS,
            "sources": SOURCES,
            "labelled": LABELLED,
            "branches": BRANCHES,
            "backbones": BACKBONES,
            "layers": LAYERS,
        }
        if kind == "settings":
            lines = list(settings("", RecommendationConfig))
            lines += [
                (f"task classification: {name}", about)
                for name, about in settings("", classification.ClassificationConfig)
            ]
            lines += settings("task classification: data.align.", AlignConfig)
            lines += settings("task classification: data.align.streams.NAME.", StreamConfig)
            lines += settings("task classification: course.", CourseConfig)
            lines += [(f"task moderation: {name}", about) for name, about in settings("", moderation.ModerationConfig)]
            lines += settings("learner: ", LearningConfig)
            lines += settings("streams.", StreamsConfig)
            lines += settings("streams.sources.NAME (redis): ", RedisConfig)
            lines += settings("streams.sources.NAME (kafka): ", KafkaConfig)
            lines += settings("language.", LanguageConfig)
            lines += settings("trial: ", TrialConfig)
            lines += settings("compress: ", CompressConfig)
            for what in ("models", "classifiers", "encoders"):
                for name in sorted(tables[what].names()):
                    lines += list(settings(f"{what[:-1]} {name}: ", tables[what].load(name).config_class))
            print_answer(dict(lines) if as_json else [_settings_line(*line, markdown) for line in lines], as_json)
        elif kind == "bundles":
            found = list(bundles(folder))
            print_answer(
                found if as_json else [bundle_line(one) for one in found] or [f"no bundle below {folder}"], as_json
            )
        elif kind in tables:
            print_answer(sorted(tables[kind].names()), as_json)
        else:
            raise ConfigError(
                f"There is no list {kind!r}.",
                where="penchant list",
                fix=f"one of {', '.join([*tables, 'settings', 'bundles'])}",
            )


def bundles(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield folder, kind, task, name and classes of every bundle below a folder, recommenders and classifiers."""
    from penchant.core.artifacts import MANIFEST, read_manifest

    for manifest in sorted(folder.rglob(MANIFEST)):
        if manifest.parent.parent.name.endswith(".versions"):  # `penchant versions` lists them
            continue
        try:
            found = read_manifest(manifest.parent, kind="bundle")
        except ArtifactError:
            continue
        if found.get("kind") not in ("bundle", "classifier"):
            continue
        facts = found.get("facts", {})
        classes: list[str] = []
        if found["kind"] == "classifier":
            classes = json.loads((manifest.parent / "classifier.json").read_text(encoding="utf-8"))["classes"]
        yield {
            "folder": str(manifest.parent),
            "kind": "recommender" if found["kind"] == "bundle" else "classifier",
            "name": facts.get("name", ""),
            "task": facts.get("task", "recommendation"),
            "classes": classes,
        }


def bundle_line(bundle: dict[str, Any]) -> str:
    """Return one bundle as a line of text."""
    classes = f": {', '.join(bundle['classes'])}" if bundle["classes"] else ""
    return f"{bundle['folder']}  {bundle['kind']}, {bundle['task']}{classes}"


def settings(prefix: str, cls: type[Settings]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield every setting of a class and of the classes in it: name, then default and help text."""
    from penchant.core.config import Settings

    for name, field in cls.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, Settings):
            yield from settings(f"{prefix}{name}.", nested)
        else:
            factory: Callable[[], Any] | None = field.default_factory  # type: ignore[assignment]
            default = "required" if field.is_required() else factory() if factory else field.default
            yield f"{prefix}{name}", (str(default).replace("\n", "\\n"), " ".join((field.description or "").split()))
            for part in get_args(nested):  # a table that may be left out
                if isinstance(part, type) and issubclass(part, Settings):
                    yield from settings(f"{prefix}{name}.", part)


def _settings_line(name: str, about: tuple[str, str], markdown: bool) -> str:
    default, text = about
    return f"- `{name}` = `{default}`: {text}" if markdown else f"{name} = {default}\n    {text}"
