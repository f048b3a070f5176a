"""Commands of the service: start it, manage keys, erase a user.

In: a bundle, and where the service keeps its state. Out: answers over HTTP, keys, receipts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from penchant.cli.options import (
    AsJson,
    BundlePath,
    Database,
    EngineName,
    Every,
    LearningFile,
    Promote,
    SpeechModel,
    StateFolder,
    UserId,
    language_config,
    learning_values,
    speech_config,
)
from penchant.cli.printing import out, print_answer, reported_errors
from penchant.cli.speaking import said
from penchant.core.errors import ConfigError, MissingExtraError
from penchant.core.executor import ExecutorName, RayConfig
from penchant.core.messages import message

STUDIO = "penchant.studio.pages:add_studio"
"""The pages of the service at `/`."""
keys = typer.Typer(help="API keys of a service.", no_args_is_help=True)


def serve(
    bundle: BundlePath,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine it requires API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; they share one copy of the bundle's arrays in memory.")
    ] = 1,
    database: Database = None,
    folder: StateFolder = None,
    is_open: Annotated[
        bool, typer.Option("--open/--no-open", help="Answer requests without a key until the first key is made.")
    ] = True,
    media_folder: Annotated[Path | None, typer.Option(help="Requests may name files below it.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Requests may name addresses on it; repeatable.")] = None,
    host_name: Annotated[
        list[str] | None, typer.Option(help="Answer at this host name too, not only at localhost; repeatable.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="NAME=BUNDLE: a labelled task to answer too, at /v1/predict/NAME; repeatable."),
    ] = None,
    compare: Annotated[
        list[Path] | None, typer.Option(help="A bundle that the studio shows beside this one; repeatable.")
    ] = None,
    alarms: Annotated[
        bool, typer.Option("--alarms", help="Watch the events and the quality of the lists, and tell what moves.")
    ] = False,
    alarm_webhook: Annotated[
        str | None, typer.Option(help="https address that is sent each alarm; its host needs --allow-host.")
    ] = None,
    alarm_command: Annotated[
        str | None, typer.Option(help="Program with arguments that is run for each alarm, JSON on its standard input.")
    ] = None,
    engine: EngineName = "template",
    speech: SpeechModel = None,
    trial: Annotated[
        Path | None, typer.Option(help="TOML file of a trial: exploration and variants of the lists, which are logged.")
    ] = None,
    traces: Annotated[
        str | None, typer.Option(help="Address of an OpenTelemetry collector; left out: nothing is sent anywhere.")
    ] = None,
    executor: Annotated[
        ExecutorName, typer.Option(help="Where the workers run: local, or ray for replicas on the nodes of a cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Head node of the Ray cluster, HOST:PORT; left out, Ray is started here.")
    ] = None,
    learn: Annotated[
        bool,
        typer.Option("--learn", help="Learn from the events in a process beside the service; see docs/learning.md."),
    ] = False,
    every: Every = None,
    promote: Promote = None,
    learning: LearningFile = None,
    streams: Annotated[
        Path | None,
        typer.Option(
            "--streams", help="TOML file with event streams to read, in a [streams] table; see docs/streams.md."
        ),
    ] = None,
) -> None:
    """Answer over HTTP until stopped: events in, interests out; see docs/service.md."""
    with reported_errors(False):
        service = part_of_service("server", "serve")
        config = service_config(
            bundle,
            database,
            folder,
            is_open=is_open,
            media_folder=media_folder,
            allow_hosts=allow_host or [],
            host_names=host_name or [],
            tasks=_tasks(task or []),
            compare=compare or [],
            alarms=_alarms(alarms, alarm_webhook, alarm_command),
            trial=None if trial is None else trial.absolute(),
            traces=traces,
            language=language_config(engine),
            speech=speech_config(speech),
        )
        from penchant.cli.streaming import streams_beside

        shown = f"[{host}]" if ":" in host else host
        line = said(message("{address}  (the API: /docs)", address=f"http://{shown}:{port}/"))
        with _learning(config, learn, learning_values(learning, every, promote)), streams_beside(config, streams):
            announce = lambda: out.print(line, markup=False)  # noqa: E731
            if executor == "local":
                service.serve(config, host=host, port=port, workers=workers, pages=STUDIO, announce=announce)
                return
            part_of_service("ray_serve", "ray-serve").serve_on_ray(
                config,
                host=host,
                port=port,
                replicas=workers,
                pages=STUDIO,
                cluster=RayConfig(address=address),
                announce=announce,
            )


@contextmanager
def _learning(config: Any, is_wanted: bool, values: dict[str, Any]) -> Iterator[None]:
    """Run a learner beside the service for as long as that runs."""
    if not is_wanted:
        yield
        return
    from penchant.learning.process import learner_process
    from penchant.learning.settings import LearningConfig

    chosen = LearningConfig.read(values, where="the settings of the learner")
    learner = learner_process(config.bundle, config.address, config.state_folder / "secret.key", chosen)
    learner.start()
    try:
        yield
    finally:
        learner.stop()


@keys.command("add")
def keys_add(
    bundle: BundlePath,
    name: Annotated[str, typer.Option(help="Name of the key's owner.")],
    scopes: Annotated[str, typer.Option(help="read, write, personal, admin; separated by commas.")] = "read,write",
    per_minute: Annotated[int | None, typer.Option(min=1, help="Most requests a minute; left out: no limit.")] = None,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it once; from the first key on, the service requires one."""
    with reported_errors(as_json), opened_store(bundle, database, folder) as store:
        key = part_of_service("security", "serve").make_key(store, name, scopes.split(","), per_minute)
        print_answer({"key": key} if as_json else [key], as_json)


@keys.command("list")
def keys_list(
    bundle: BundlePath, database: Database = None, folder: StateFolder = None, as_json: AsJson = False
) -> None:
    """List keys by id, name and scopes; the keys themselves are not kept."""
    with reported_errors(as_json), opened_store(bundle, database, folder) as store:
        found = store.api_keys()
        facts = [{"key_id": k.key_id, "name": k.name, "scopes": k.scopes, "per_minute": k.per_minute} for k in found]
        print_answer(facts if as_json else [f"{k.key_id}  {k.name}  {k.scopes}" for k in found], as_json)


@keys.command("remove")
def keys_remove(bundle: BundlePath, key_id: str, database: Database = None, folder: StateFolder = None) -> None:
    """Delete a key; running services follow within a second, and without any key refuse every request."""
    with reported_errors(False), opened_store(bundle, database, folder) as store:
        if not store.drop_key(key_id):
            raise ConfigError(f"There is no key {key_id!r}.", where="penchant keys", fix="see `penchant keys list`")


def erase(
    bundle: BundlePath,
    user: UserId = None,
    verify: Annotated[
        bool, typer.Option(help="Check that erased users are gone, and compare with a refit without them.")
    ] = False,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Erase a user in store, bundle and model, and print the signed receipt; or verify all erasures."""
    from penchant.recommender.recommender import Recommender

    with reported_errors(as_json), opened_store(bundle, database, folder) as store:
        erasure, security = part_of_service("erasure", "serve"), part_of_service("security", "serve")
        secret = security.Secret.of(store, service_config(bundle, database, folder).state_folder / "secret.key")
        store.seal_erasures(secret.link)
        erasure.finish_log(store, secret)  # of earlier erasures that waited for a reader
        if user is not None:
            receipt_id = erasure.erase(store, secret, Recommender.load(bundle), user)["receipt_id"]
            erasure.finish(bundle, store, secret)
            (receipt,) = [json.loads(e.receipt) for e in store.erasures() if e.receipt_id == receipt_id]
            print_answer(receipt if as_json else [json.dumps(receipt, indent=2)], as_json)
        if verify:
            check = erasure.verify(bundle, store, secret)
            print_answer({**asdict(check), "is_clean": check.is_clean} if as_json else check.lines(), as_json)
            if not check.is_clean:
                raise typer.Exit(1)


def part_of_service(module: str, extra: str, package: str = "penchant.service") -> Any:
    """Import a module of the service; an error names the packages it needs."""
    try:
        return import_module(f"{package}.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module, extra) from error


def service_config(bundle: Path, database: str | None, folder: Path | None, **more: Any) -> Any:
    """Return the settings of a bundle's service."""
    config = part_of_service("config", "serve").ServiceConfig
    return config.read({"bundle": bundle.absolute(), "database": database, "folder": folder, **more}, where="options")


def _alarms(is_on: bool, webhook: str | None, command: str | None) -> dict[str, Any] | None:
    """Return the settings of alarms; None where nothing is watched."""
    if not is_on and webhook is None and command is None:
        return None
    return {"webhook": webhook, "command": [] if command is None else shlex.split(command)}


def _tasks(options: list[str]) -> dict[str, Path]:
    found = {}
    for option in options:
        name, is_given, folder = option.partition("=")
        if not name or not is_given or not folder or name in found:
            raise ConfigError(
                f"{option!r} does not name a new task.", where="--task", fix="give NAME=BUNDLE, each name once"
            )
        found[name] = Path(folder).absolute()
    return found


@contextmanager
def opened_store(bundle: Path, database: str | None, folder: Path | None) -> Iterator[Any]:
    """Open the store of a service."""
    store = part_of_service("store", "serve").Store.open(service_config(bundle, database, folder).address)
    try:
        yield store
    finally:
        store.close()
