"""The consumers of streams as a process of its own, beside a service or alone.

In: the service's settings and those of the streams. Out: a process with a thread for each source.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from penchant.core.errors import ConfigError, nearest
from penchant.service.config import ServiceConfig
from penchant.service.fetching import Fetcher
from penchant.service.kept_process import KeptProcess, end_with, log_to_stderr
from penchant.service.scratch import ScratchFolder
from penchant.service.security import Secret
from penchant.service.store import Store
from penchant.service.stream_log import StreamLog
from penchant.service.uploads import UploadStore
from penchant.streams.consumer import StreamConsumer, WatchedBundle, follow
from penchant.streams.reading import RecordReader
from penchant.streams.settings import StreamsConfig
from penchant.streams.source import open_source

logger = logging.getLogger("penchant.streams")


def streams_process(service: ServiceConfig, streams: StreamsConfig) -> KeptProcess:
    """Return consumers that can be kept running beside a service."""
    arguments = (service.model_dump_json(), streams.model_dump_json())
    return KeptProcess("consumer of streams", consume, arguments, logger)


def consume(service: str, streams: str, starter: int) -> None:
    """Read until the starter ends or SIGTERM comes: the main function of the process."""
    log_to_stderr()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(starter)
    with opened_consumers(
        ServiceConfig.model_validate_json(service), StreamsConfig.model_validate_json(streams)
    ) as found:
        read_all(found)


@contextmanager
def opened_consumers(service: ServiceConfig, streams: StreamsConfig) -> Iterator[list[StreamConsumer]]:
    """Yield a consumer for each source.

    Raises:
        ConfigError: The store cannot be opened, or its secret is another's.
        MissingExtraError: The client of a broker is not installed.
        ArtifactError: The bundle cannot be read.
    """
    with opened_reader(service) as (store, log, reader, bundle):
        yield [
            StreamConsumer(name, partial(open_source, source), log, store, reader, bundle, streams)
            for name, source in streams.sources.items()
        ]


@contextmanager
def opened_reader(service: ServiceConfig) -> Iterator[tuple[Store, StreamLog, RecordReader, WatchedBundle]]:
    """Yield what makes events of records, and where they are kept; errors as those of `opened_consumers`."""
    store = Store.open(service.address)
    scratch = ScratchFolder(service.state_folder / "scratch")
    try:
        secret = Secret.of(store, service.state_folder / "secret.key")
        fetcher = Fetcher(service.allow_hosts, max_bytes=service.media.max_audio_bytes)
        limit = max(service.media.max_bytes, service.media.max_audio_bytes)
        uploads = UploadStore(service.state_folder / "media", service.media_folder, fetcher, limit, parts=scratch.path)
        reader = RecordReader(store, uploads, service.max_skew_seconds, service.max_body_bytes)
        yield store, StreamLog(store, secret.subject), reader, WatchedBundle(service.bundle)
    finally:
        scratch.close()
        store.close()


def read_all(consumers: Sequence[StreamConsumer], *, until_end: bool = False) -> None:
    """Read all sources, each in a thread of its own, until SIGTERM or SIGINT comes, or until there is nothing more to read."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    threads = [
        threading.Thread(target=follow, args=(one, stop), kwargs={"until_end": until_end}, name=one.name)
        for one in consumers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # a join without a limit would hold up signals
            thread.join(0.2)


def moved_to(consumers: Sequence[StreamConsumer], at: int) -> None:
    """Let all sources be read again from a time on; what is stored already stays as it is.

    Raises:
        BrokerError: A broker does not answer.
    """
    for consumer in consumers:
        consumer.move_to(at)


def chosen(streams: StreamsConfig, names: Sequence[str]) -> StreamsConfig:
    """Return the settings with these sources alone; all where none is named.

    Raises:
        ConfigError: There is no such source.
    """
    for name in names:
        if name not in streams.sources:
            raise ConfigError(
                f"There is no stream {name!r}.", where="--source", fix=nearest(name, list(streams.sources))
            )
    kept = {name: source for name, source in streams.sources.items() if not names or name in names}
    return streams.model_copy(update={"sources": kept})
