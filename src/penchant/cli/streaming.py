"""Commands of event streams: read them, list what could not be stored, try it again.

In: a bundle, its service's store, and settings of streams. Out: events in the store, each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from penchant.cli.options import AsJson, BundlePath, Database, StateFolder, StreamsFile, streams_values
from penchant.cli.printing import columns_table, out, print_answer, reported_errors
from penchant.cli.service import opened_store, part_of_service, service_config
from penchant.cli.speaking import said
from penchant.core.errors import ConfigError
from penchant.core.messages import message

if TYPE_CHECKING:
    from penchant.service.config import ServiceConfig
    from penchant.streams.settings import StreamsConfig

Sources = Annotated[list[str] | None, typer.Option("--source", help="Only this stream of the settings; repeatable.")]
Numbers = Annotated[list[int] | None, typer.Option("--number", help="Only the letter with this number; repeatable.")]
MediaFolder = Annotated[Path | None, typer.Option(help="Events may name files below it.")]
AllowHost = Annotated[list[str] | None, typer.Option(help="Events may name addresses on it; repeatable.")]
SHOWN = 60
"""Characters of a record in a table."""
dead_letters = typer.Typer(help="Records of streams that could not be stored.", no_args_is_help=True)


def consume(
    bundle: BundlePath,
    streams: StreamsFile,
    since: Annotated[
        str | None, typer.Option("--from", help="Read again from this time on, such as 2026-11-30T08:00.")
    ] = None,
    source: Sources = None,
    once: Annotated[bool, typer.Option("--once", help="End when everything is read.")] = False,
    media_folder: MediaFolder = None,
    allow_host: AllowHost = None,
    database: Database = None,
    folder: StateFolder = None,
) -> None:
    """Read events from Redis Streams and Kafka into a service's store, each once; several may run; see docs/streams.md."""
    with reported_errors(False):
        service = service_config(bundle, database, folder, media_folder=media_folder, allow_hosts=allow_host or [])
        process = streams_part("process")
        config = process.chosen(_config(streams), source or [])
        with process.opened_consumers(service, config) as consumers:
            if since is not None:
                process.moved_to(consumers, _time(since))
            process.read_all(consumers, until_end=once)
        with opened_store(bundle, database, folder) as store:
            found = [one for one in _log(store).summary() if one["source"] in config.sources]
        for one in found:
            counts = {name: f"{one[name]:,}" for name in ("stored", "duplicates", "refused", "erased")}
            line = message(
                "{source}: {stored} stored, {duplicates} duplicates, {refused} refused, {erased} of erased users",
                source=one["source"],
                **counts,
            )
            out.print(said(line), markup=False)


@dead_letters.command("list")
def letters_list(
    bundle: BundlePath,
    source: Annotated[str | None, typer.Option(help="Only those of this stream.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the oldest first.")] = 100,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """List what could not be stored, with the reason."""
    with reported_errors(as_json), opened_store(bundle, database, folder) as store:
        found = _log(store).letters(source, limit=limit)
        if as_json:
            print_answer([asdict(letter) for letter in found], as_json)
            return
        iso_time = part_of_service("times", "serve").iso_time
        table = columns_table("number", "stream", "sent", "why", "record")
        for letter in found:
            reason = f"{letter.reason['message']} ({letter.reason['where']})"
            record = letter.body if len(letter.body) <= SHOWN else letter.body[:SHOWN] + "…"
            sent = iso_time(letter.sent_at or letter.received_at)[:19]
            table.add_row(str(letter.number), letter.source, sent, escape(reason), escape(record))
        out.print(table)


@dead_letters.command("replay")
def letters_replay(
    bundle: BundlePath,
    source: Annotated[str | None, typer.Option(help="Only those of this stream.")] = None,
    number: Numbers = None,
    media_folder: MediaFolder = None,
    allow_host: AllowHost = None,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Try again to store what could not be stored; what is still wrong stays."""
    with reported_errors(as_json):
        service = service_config(bundle, database, folder, media_folder=media_folder, allow_hosts=allow_host or [])
        with _reader(service) as (log, reader, reads):
            done = streams_part("reading").replayed(log, reader, reads, source, number or [])
        counts = {name: f"{count:,}" for name, count in done.items()}
        line = said(message("{stored} stored, {known} known or of erased users, {left} left", **counts))
        print_answer(done if as_json else [line], as_json)


@dead_letters.command("drop")
def letters_drop(
    bundle: BundlePath,
    source: Annotated[str | None, typer.Option(help="Only those of this stream.")] = None,
    number: Numbers = None,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Delete what could not be stored: of a stream, or by number."""
    with reported_errors(as_json), opened_store(bundle, database, folder) as store:
        if source is None and not number:
            raise ConfigError(
                "Nothing names a dead letter.", where="dead-letters drop", fix="give --source or --number"
            )
        dropped = _log(store).drop(source, number or [])
        print_answer(
            {"dropped": dropped} if as_json else [said(message("{count} deleted", count=f"{dropped:,}"))], as_json
        )


@contextmanager
def streams_beside(config: ServiceConfig, file: Path | None) -> Iterator[None]:
    """Read streams in a process beside the service for as long as that runs."""
    if file is None:
        yield
        return
    streams = _config(file)
    for source in streams.sources.values():  # a missing client is told here, not by the process
        streams_part("source").check_client(source)
    process = streams_part("process").streams_process(config, streams)
    process.start()
    try:
        yield
    finally:
        process.stop()


def streams_part(module: str) -> Any:
    """Import a module of the streams; an error names the packages it needs."""
    return part_of_service(module, "streams", package="penchant.streams")


def _config(file: Path) -> StreamsConfig:
    config: StreamsConfig = streams_part("settings").StreamsConfig.read(streams_values(file), where=f"{file}: streams")
    return config


def _log(store: Any) -> Any:
    return part_of_service("stream_log", "serve").StreamLog(store, lambda _: "")


@contextmanager
def _reader(service: ServiceConfig) -> Iterator[tuple[Any, Any, Any]]:
    with streams_part("process").opened_reader(service) as (_, log, reader, bundle):
        yield log, reader, bundle.reads


def _time(given: str) -> int:
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise ConfigError(
            f"{given!r} is not a time.",
            where="--from",
            fix="give one such as 2026-11-30T08:00; without an offset it is UTC",
        ) from None
    return int(part_of_service("times", "serve").micros_of(found))
