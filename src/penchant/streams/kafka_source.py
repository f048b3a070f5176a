"""A topic of a Kafka-compatible broker as a source.

In: brokers and a topic. Out: its messages; a position is the offset of a message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from penchant.streams.settings import KafkaConfig, password
from penchant.streams.source import BrokerError, GapError, Record

logger = logging.getLogger("penchant.streams")
TIMEOUT = 5.0
"""Longest wait for an answer, in seconds."""
SILENT_SECONDS = 10.0
"""After so long without a message the broker is asked whether it is there."""
_GONE = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT}


class KafkaSource:
    """Reads a topic without membership in a consumer group: the positions that count are those in the store."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._failure: str | None = None
        self._heard = time.monotonic()
        own = password(config.password_variable)
        self._client: Any = Consumer(
            {
                "queued.max.messages.kbytes": 16_384,  # of each partition: what is read ahead stays bounded
                **config.options,
                **({} if own is None else {"sasl.password": own}),
                "bootstrap.servers": config.address,
                "group.id": config.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "error_cb": self._on_error,
            },
            logger=logging.getLogger("penchant.streams.kafka"),
        )

    def partitions(self) -> list[str]:
        topic = self._config.topic
        try:
            found = self._client.list_topics(topic, timeout=TIMEOUT).topics[topic]
        except KafkaException as error:
            raise self._away(error.args[0]) from error
        self._heard, self._failure = time.monotonic(), None
        if found.error is not None or not found.partitions:
            raise self._away(found.error or "the topic has no partition")
        return [str(number) for number in sorted(found.partitions)]

    def assign(self, positions: Mapping[str, str]) -> None:
        wanted = [
            TopicPartition(self._config.topic, int(partition), int(position) + 1 if position else OFFSET_BEGINNING)
            for partition, position in sorted(positions.items())
        ]
        try:
            self._client.assign(wanted)
        except KafkaException as error:
            raise self._away(error.args[0]) from error

    def read(self, most: int, seconds: float) -> list[Record]:
        first = self._client.poll(seconds)
        messages = [] if first is None else [first, *self._client.consume(most - 1, 0)] if most > 1 else [first]
        wrong = next((message for message in messages if message.error() is not None), None)
        if wrong is not None:
            raise self._error_of(wrong)
        records = [_record(message) for message in messages]
        if records:
            self._heard, self._failure = time.monotonic(), None
        elif self._failure is not None or time.monotonic() - self._heard > SILENT_SECONDS:
            self.partitions()
        return records

    def positions_at(self, at: int) -> dict[str, str]:
        wanted = [TopicPartition(self._config.topic, int(p), at // 1000) for p in self.partitions()]
        try:
            found = self._client.offsets_for_times(wanted, timeout=TIMEOUT)
            return {str(one.partition): str(self._offset(one) - 1) for one in found}
        except KafkaException as error:
            raise self._away(error.args[0]) from error

    def is_at_end(self, positions: Mapping[str, str]) -> bool:
        try:
            for partition, position in positions.items():
                place = TopicPartition(self._config.topic, int(partition))
                first, end = self._client.get_watermark_offsets(place, timeout=TIMEOUT)
                if max(int(position or -1) + 1, first) < end:
                    return False
        except KafkaException as error:
            raise self._away(error.args[0]) from error
        return True

    def note(self, positions: Mapping[str, str]) -> None:
        offsets = [TopicPartition(self._config.topic, int(p), int(o) + 1) for p, o in positions.items() if o]
        try:
            self._client.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            logger.debug("the broker does not keep positions: %s", error)

    def close(self) -> None:
        self._client.close()

    def _offset(self, found: Any) -> int:
        """Return the offset from which a partition has messages of a time on; its end where it has none."""
        if found.error is not None:
            raise self._away(found.error)
        if found.offset not in (OFFSET_END, -1):
            return int(found.offset)
        return int(self._client.get_watermark_offsets(TopicPartition(found.topic, found.partition), timeout=TIMEOUT)[1])

    def _on_error(self, error: Any) -> None:
        if error.code() in _GONE or error.fatal():
            self._failure = str(error)

    def _error_of(self, message: Any) -> BrokerError:
        if message.error().code() != KafkaError._AUTO_OFFSET_RESET:
            return self._away(message.error())
        return GapError(
            f"Kafka has no message after the last one that was stored: {message.error().str()}",
            where=f"topic {self._config.topic}, partition {message.partition()}",
            fix="keep messages longer at the broker; it is read on from the oldest one",
            partition=str(message.partition()),
        )

    def _away(self, error: Any) -> BrokerError:
        said = error.str() if isinstance(error, KafkaError) else str(error)
        return BrokerError(
            f"Kafka does not answer as it should: {said}",
            where=f"{self._config.address}, topic {self._config.topic}",
            fix="check that it runs, its address, that the topic exists, and the options",
        )


def _record(message: Any) -> Record:
    kind, milliseconds = message.timestamp()
    sent = None if kind == TIMESTAMP_NOT_AVAILABLE else 1000 * milliseconds
    return Record(str(message.partition()), str(message.offset()), sent, message.value() or b"")
