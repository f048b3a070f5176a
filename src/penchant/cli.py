"""The command line.

In: words a person types. Out: readable answers on stdout, or JSON with `--json`; progress and errors on stderr.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

from penchant import classify, moderate
from penchant.core.config import Settings, read_toml
from penchant.core.errors import ConfigError, MissingExtraError, PenchantError
from penchant.core.logs import console, show_logs
from penchant.core.schema import Histories
from penchant.data import SOURCES
from penchant.data.cleaning import clean
from penchant.data.converters.files import read_table
from penchant.data.doctor import examine
from penchant.data.media import load_picture
from penchant.data.sources import DataConfig, read
from penchant.data.splits import split
from penchant.data.world import Config as WorldConfig
from penchant.data.world import make_world
from penchant.encoders import ENCODERS
from penchant.evaluation import METRICS
from penchant.evaluation.screening import blurred
from penchant.fusion import FUSIONS
from penchant.models import MODELS
from penchant.models.classifiers import CLASSIFIERS
from penchant.models.classifiers.reviews import judge_reviews
from penchant.models.classifiers.trained import (
    MEDIA,
    Prediction,
    TrainedClassifier,
    classes_line,
    load_classifier,
    predict_file,
    region_line,
)
from penchant.pipeline import RunConfig, read_config, run
from penchant.serving.batch import recommend_all
from penchant.serving.bundle import Bundle, load

app = typer.Typer(
    help="Learns what each user cares about from everything they touch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by `penchant run`.")]
UserId = Annotated[str | None, typer.Option("--user", help="Whom to answer for.")]
Items = Annotated[
    str | None, typer.Option("--history", help="Item ids, oldest first, separated by commas: a new user.")
]
Database = Annotated[
    str | None, typer.Option(help="postgresql://USER@HOST/DATABASE; left out: an SQLite file in the service's folder.")
]
StateFolder = Annotated[
    Path | None, typer.Option(help="The service's own folder: store, secret, uploads. Left out: BUNDLE-service.")
]
DEMO_GROUP = "chooses_by"


def main() -> None:
    """Run the command line; the entry point of `penchant`."""
    app()


@app.command("run")
def run_command(
    config: Annotated[Path, typer.Argument(help="TOML file; see docs/own-data.md.")], as_json: AsJson = False
) -> None:
    """Read, clean, encode, fit, evaluate, explain: one bundle and its report; `task` in the file says of what kind."""
    with told(as_json):
        task = read_toml(config).get("task")
        if task == "classification":
            _finish_classifiers(classify.run(classify.read_config(config)), as_json)
        elif task == "moderation":
            _finish_screening(moderate.run(moderate.read_config(config)), as_json)
        else:
            _finish(run(read_config(config)), as_json)


@app.command()
def predict(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder written by `penchant run` of a labelled task.")
    ],
    text: Annotated[str | None, typer.Option(help="Words.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A sound.")] = None,
    video: Annotated[Path | None, typer.Option(help="A video.")] = None,
    mesh: Annotated[Path | None, typer.Option(help="A 3-D shape.")] = None,
    signal: Annotated[Path | None, typer.Option(help="Sensor readings.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Many at once: CSV, Parquet or JSON lines; media below its folder.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where the table's answers go: .parquet or .csv.")] = None,
    preview: Annotated[
        Path | None, typer.Option(help="Write the picture, blurred beyond recognition, to this .jpg or .png.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="OURS=YOURS: a column the table calls by another name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which class content belongs to, why, and whether a person should be asked."""
    with told(as_json):
        trained = load_classifier(bundle)
        if table is not None:
            written = output or table.with_name(f"{table.stem}-predicted.parquet")
            names = dict(pair.split("=", 1) for pair in column or [] if "=" in pair)
            predict_file(trained, read_table(table).table, written, root=table.parent, columns=names)
            _say({"output": str(written)} if as_json else [f"written {written}"], as_json)
            return
        given = dict(zip(MEDIA, (image, audio, video, mesh, signal), strict=True))
        content: dict[str, Any] = {name: path for name, path in given.items() if path is not None}
        found = trained.predict(text=text, **content)
        if preview is not None and image is not None:
            blurred(load_picture(image, trained.limits, max_side=512)).save(preview)
        _say(asdict(found) if as_json else _prediction_lines(found), as_json)


@app.command()
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
        _finish(run(RunConfig.read(config, where="the demo"), groups=groups), as_json)


@app.command()
def doctor(
    data: Annotated[Path, typer.Argument(help="TOML file of a run, or a folder of tables.")], as_json: AsJson = False
) -> None:
    """Say what the data covers, what leaks, and what would hurt most."""
    with told(as_json):
        config = RunConfig(data=DataConfig(path=data)) if data.is_dir() else read_config(data)
        dataset = clean(read(config.data), config.clean, config.media, cache=config.cache / "media")
        dataset = judge_reviews(dataset, config.reviews, config.media, cache=config.cache / "transcripts")
        diagnosis = examine(dataset, split(dataset.interactions, config.split, config.seed))
        _say(diagnosis.as_dict() if as_json else diagnosis.lines(), as_json)


@app.command()
def evaluate(bundle: BundlePath, as_json: AsJson = False) -> None:
    """Print the report of a bundle."""
    with told(as_json):
        folder = load(bundle).folder or bundle
        if as_json:
            typer.echo((folder / "report" / "report.json").read_text(encoding="utf-8"))
        else:
            typer.echo((folder / "report" / "report.md").read_text(encoding="utf-8"))


@app.command()
def recommend(
    bundle: BundlePath,
    user: UserId = None,
    history: Items = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    all_users: Annotated[
        Path | None, typer.Option(help="Write everybody's lists to this Parquet file instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name the items one user will like, with reasons."""
    with told(as_json):
        trained = load(bundle)
        if all_users is not None:
            rows = recommend_all(trained, all_users, k)
            _say({"file": str(all_users), "rows": rows} if as_json else [f"{rows:,} rows in {all_users}"], as_json)
            return
        found = trained.recommend(_who(trained, user, history), k)
        if as_json:
            _say([asdict(s) for s in found], as_json)
            return
        table = _table("", "item", "title", "score", "why")
        for s in found:
            table.add_row(str(s.rank), s.item_id, s.title, f"{s.score:.3f}", "; ".join(s.reasons))
        out.print(table)


@app.command()
def profile(bundle: BundlePath, user: UserId = None, history: Items = None, as_json: AsJson = False) -> None:
    """Say what one user cares about, with the events behind it."""
    with told(as_json):
        trained = load(bundle)
        found = trained.profile(_who(trained, user, history))
        if as_json:
            _say(found.as_dict(), as_json)
            return
        table = _table("interest", "value", "share", "others", "strength", "because of")
        for i in found.interests:
            shares = (
                (f"{i.share:.0%}", f"{i.expected:.0%}")
                if i.kind != "number"
                else (f"{i.share:.4g}", f"{i.expected:.4g}")
            )
            table.add_row(i.name, i.value, *shares, f"{i.strength:+.2f}", "; ".join(i.evidence))
        out.print(f"{found.user_id}: {found.num_events} events", markup=False)
        out.print(table)
        out.print(
            "Reasons rest on " + ", ".join(f"{name} {share:.0%}" for name, share in found.modalities.items()),
            markup=False,
        )


@app.command("explain")
def explain_command(
    bundle: BundlePath,
    item: Annotated[str, typer.Option("--item", help="Which item.")],
    user: UserId = None,
    history: Items = None,
    as_json: AsJson = False,
) -> None:
    """Split one score into what past events, modalities and members contribute; the parts sum to it."""
    with told(as_json):
        trained = load(bundle)
        found = trained.explain(_who(trained, user, history), item)
        if as_json:
            _say(found.as_dict(), as_json)
            return
        table = _table("part", "contribution")
        for title, groups in (("channel", found.by_channel), ("member", found.by_member)):
            for name, value in groups.items():
                table.add_row(f"{title}: {name}", f"{value:+.4f}")
        for _, title, value in found.by_event[:10]:
            table.add_row(f"event: {title}", f"{value:+.4f}")
        out.print(f"{found.title}: {found.score:.4f}, of which {found.prior:+.4f} for anyone", markup=False)
        out.print(table)


@app.command()
def serve(
    bundle: BundlePath,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine it asks for API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each holds the bundle in memory.")] = 1,
    database: Database = None,
    folder: StateFolder = None,
    is_open: Annotated[bool, typer.Option("--open/--no-open", help="Answer everybody while there are no keys.")] = True,
    media_folder: Annotated[Path | None, typer.Option(help="Requests may name files below it.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Requests may name addresses on it; repeatable.")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="NAME=BUNDLE: a labelled task to answer too, at /v1/predict/NAME; repeatable."),
    ] = None,
    traces: Annotated[
        str | None, typer.Option(help="Address of an OpenTelemetry collector; left out: nothing is sent anywhere.")
    ] = None,
) -> None:
    """Answer over HTTP until stopped: events in, interest out; see docs/service.md."""
    with told(False):
        service = _part("server", "serve")
        config = _service_config(
            bundle,
            database,
            folder,
            is_open=is_open,
            media_folder=media_folder,
            allow_hosts=allow_host or [],
            tasks=_tasks(task or []),
            traces=traces,
        )
        out.print(f"http://{host}:{port}/  (the API: /docs)", markup=False)
        service.serve(config, host=host, port=port, workers=workers)


keys = typer.Typer(help="API keys of a service.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command("add")
def keys_add(
    bundle: BundlePath,
    name: Annotated[str, typer.Option(help="Whose.")],
    scopes: Annotated[str, typer.Option(help="read, write, personal, admin; separated by commas.")] = "read,write",
    per_minute: Annotated[int | None, typer.Option(min=1, help="Most requests a minute; left out: no limit.")] = None,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it once; from the first key on, the service answers nobody without one."""
    with told(as_json), _store(bundle, database, folder) as store:
        key = _part("security", "serve").make_key(store, name, scopes.split(","), per_minute)
        _say({"key": key} if as_json else [key], as_json)


@keys.command("list")
def keys_list(
    bundle: BundlePath, database: Database = None, folder: StateFolder = None, as_json: AsJson = False
) -> None:
    """List keys by id, name and scopes; the keys themselves are not kept."""
    with told(as_json), _store(bundle, database, folder) as store:
        found = store.api_keys()
        facts = [{"key_id": k.key_id, "name": k.name, "scopes": k.scopes, "per_minute": k.per_minute} for k in found]
        _say(facts if as_json else [f"{k.key_id}  {k.name}  {k.scopes}" for k in found], as_json)


@keys.command("remove")
def keys_remove(bundle: BundlePath, key_id: str, database: Database = None, folder: StateFolder = None) -> None:
    """Take a key back; running services follow within a second."""
    with told(False), _store(bundle, database, folder) as store:
        if not store.drop_key(key_id):
            raise ConfigError(f"There is no key {key_id!r}.", where="penchant keys", fix="see `penchant keys list`")


@app.command()
def erase(
    bundle: BundlePath,
    user: UserId = None,
    verify: Annotated[bool, typer.Option(help="Look for the erased, and compare with a refit without them.")] = False,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Forget a person in store, bundle and model, and print the signed receipt; or prove that it was done."""
    with told(as_json), _store(bundle, database, folder) as store:
        erasure, security = _part("erasure", "serve"), _part("security", "serve")
        secret = security.Secret.read(_service_config(bundle, database, folder).state_folder / "secret.key")
        store.check_secret(secret.check())
        if user is not None:
            receipt_id = erasure.erase(store, secret, load(bundle), user)["receipt_id"]
            erasure.finish(bundle, store, secret)
            (receipt,) = [json.loads(e.receipt) for e in store.erasures() if e.receipt_id == receipt_id]
            _say(receipt if as_json else [json.dumps(receipt, indent=2)], as_json)
        if verify:
            verdict = erasure.verify(bundle, store, secret)
            _say({**asdict(verdict), "is_clean": verdict.is_clean} if as_json else verdict.lines(), as_json)
            if not verdict.is_clean:
                raise typer.Exit(1)


@app.command("list")
def list_command(
    kind: Annotated[str, typer.Argument(help="encoders, models, classifiers, fusions, metrics, sources or settings.")],
    markdown: Annotated[bool, typer.Option(help="Settings as a Markdown page.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what there is by name, or every setting with its help text."""
    with told(as_json):
        tables = {
            "encoders": ENCODERS,
            "models": MODELS,
            "classifiers": CLASSIFIERS,
            "fusions": FUSIONS,
            "metrics": METRICS,
            "sources": SOURCES,
        }
        if kind == "settings":
            lines = list(_settings("", RunConfig))
            lines += [(f"task classification: {name}", about) for name, about in _settings("", classify.ClassifyConfig)]
            lines += [(f"task moderation: {name}", about) for name, about in _settings("", moderate.ModerateConfig)]
            for what in ("models", "classifiers", "encoders"):
                for name in tables[what].names():
                    lines += list(_settings(f"{what[:-1]} {name}: ", tables[what].load(name).Config))
            _say(dict(lines) if as_json else [_settings_line(*line, markdown) for line in lines], as_json)
        elif kind in tables:
            _say(tables[kind].names(), as_json)
        else:
            raise ConfigError(
                f"There is no list {kind!r}.", where="penchant list", fix=f"one of {', '.join([*tables, 'settings'])}"
            )


@contextmanager
def told(as_json: bool) -> Iterator[None]:
    """Show progress, and turn errors into three lines (or JSON) and exit code 1."""
    show_logs()
    try:
        yield
    except PenchantError as error:
        if as_json:
            typer.echo(json.dumps(error.as_dict(), ensure_ascii=False))
        else:
            console.print(f"[bold red]{type(error).__name__}[/]", end=" ")
            console.print(str(error), markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped. What was encoded is kept; run the same command to go on.")
        raise typer.Exit(130) from None


def _part(module: str, extra: str) -> Any:
    """Import a part of the service, or say how to install what it needs."""
    try:
        return import_module(f"penchant.serving.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module, extra) from error


def _service_config(bundle: Path, database: str | None, folder: Path | None, **more: Any) -> Any:
    config = _part("service", "serve").Config
    return config.read({"bundle": bundle.absolute(), "database": database, "folder": folder, **more}, where="options")


def _tasks(options: list[str]) -> dict[str, Path]:
    found = {}
    for option in options:
        name, is_given, folder = option.partition("=")
        if not name or not is_given or not folder or name in found:
            raise ConfigError(
                f"{option!r} names no task of its own.", where="--task", fix="give NAME=BUNDLE, each name once"
            )
        found[name] = Path(folder).absolute()
    return found


@contextmanager
def _store(bundle: Path, database: str | None, folder: Path | None) -> Iterator[Any]:
    store = _part("store", "serve").Store.open(_service_config(bundle, database, folder).address)
    try:
        yield store
    finally:
        store.close()


def _who(bundle: Bundle, user: str | None, history: str | None) -> str | Histories:
    if history is not None:
        return bundle.history_of([item.strip() for item in history.split(",") if item.strip()])
    if user is None:
        example = bundle.histories.user_ids[0]
        raise ConfigError(
            "Nobody was named.", where="--user", fix=f"give --user {example}, or --history ITEM,ITEM for a new user"
        )
    return user


def _finish(bundle: Bundle, as_json: bool) -> None:
    """Say where everything is and what it is worth."""
    folder = bundle.folder or Path()
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    if as_json:
        _say({"bundle": str(folder), "report": str(folder / "report" / "report.html"), "results": report}, as_json)
        return
    table = _table("recommender", "recall", "NDCG", "against the best baseline")
    at = report["league"]["metric"].partition("@")[2]
    for row in report["league"]["rows"]:
        if row["role"] in ("ours", "baseline"):
            scores = [row["scores"][f"{metric}@{at}"] for metric in ("recall", "ndcg")]
            change = row["differences"].get(f"ndcg@{at}")
            said = (
                f"{change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] {change['verdict']}"
                if change
                else "is it"
            )
            table.add_row(row["name"], *[f"{s['mean']:.4f} [{s['low']:.4f}, {s['high']:.4f}]" for s in scores], said)
    out.print(f"At {at} items, {report['league']['num_users']:,} test users:", markup=False)
    out.print(table)
    out.print(f"bundle  {folder}\nreport  {folder / 'report' / 'report.html'}", markup=False)
    out.print(f"try     penchant recommend {folder} --user {bundle.histories.user_ids[0]}", markup=False)


def _finish_classifiers(trained: list[TrainedClassifier], as_json: bool) -> None:
    """Say where each classifier is and what it is worth beside each modality alone."""
    found = []
    for one in trained:
        folder = one.folder or Path()
        report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))["labelled"]
        found.append({"bundle": str(folder), "report": str(folder / "report" / "report.html"), "results": report})
        if as_json:
            continue
        table = _table("classifier", "accuracy", "macro F1", "AUC", f"ours minus it, {report['metric']}")
        for row in report["rows"]:
            scores = [row["scores"][metric] for metric in ("accuracy", "macro_f1", "auc")]
            gap = row["difference"]
            said = f"{gap['mean']:+.4f} {gap['verdict']}" if gap else "is it"
            table.add_row(f"{row['name']} ({' + '.join(row['uses']) or row['role']})", *map(_cell, scores), said)
        out.print(f"{report['num_samples']:,} test samples:", markup=False)
        out.print(table)
        for note in report["notes"]:
            out.print(note, markup=False)
        out.print(f"bundle  {folder}\nreport  {folder / 'report' / 'report.html'}", markup=False)
        out.print(f"try     penchant predict {folder} --{one.modalities[0]} ...", markup=False)
    if as_json:
        _say(found, as_json)


def _finish_screening(trained: TrainedClassifier, as_json: bool) -> None:
    """Say where the classifier is and what was held back."""
    folder = trained.folder or Path()
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))["screening"]
    page = folder / "report" / "report.html"
    if as_json:
        _say({"bundle": str(folder), "report": str(page), "results": report}, as_json)
        return
    if report["num_pictures"]:
        out.print(
            f"{report['num_pictures']:,} pictures: {report['num_held']:,} held back, {report['num_doubtful']:,} for a person",
            markup=False,
        )
    out.print(f"bundle  {folder}\nreport  {page}\ntry     penchant predict {folder} --image ...", markup=False)


def _cell(score: dict[str, Any]) -> str:
    ends = "" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
    return f"{score['mean']:.3f}{ends}"


def _prediction_lines(found: Prediction) -> list[str]:
    unsure = "  UNSURE: ask a person" if found.is_unsure else ""
    lines = [f"{found.label}  {found.score:.1%} (threshold {found.threshold:.1%}){unsure}", classes_line(found)]
    if found.heard:
        lines.append(f'heard: "{found.heard}"')
    if found.evidence:
        lines.append("because of " + ", ".join(f"{word} {value:+.2f}" for word, value in found.evidence))
    lines += [region_line(region) for region in found.regions]
    if found.written:
        lines.append(f'written: "{" / ".join(found.written.splitlines())}"')
    return [*lines, *found.notes]


def _say(answer: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2, default=str))
    else:
        typer.echo(os.linesep.join(str(line) for line in answer))


def _table(*columns: str) -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def _settings(prefix: str, cls: type[Settings]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield every setting of a class and of the classes in it: name, then default and help text."""
    for name, field in cls.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, Settings):
            yield from _settings(f"{prefix}{name}.", nested)
        else:
            factory: Callable[[], Any] | None = field.default_factory  # type: ignore[assignment]
            default = "required" if field.is_required() else factory() if factory else field.default
            yield f"{prefix}{name}", (str(default), " ".join((field.description or "").split()))


def _settings_line(name: str, about: tuple[str, str], markdown: bool) -> str:
    default, text = about
    return f"- `{name}` = `{default}`: {text}" if markdown else f"{name} = {default}\n    {text}"


if __name__ == "__main__":
    main()
