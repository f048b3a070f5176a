"""Tables of the store.

In: nothing. Out: SQLAlchemy tables that SQLite and PostgreSQL both hold; `migrations/` makes them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

from penchant.core.schema import MAX_ID

metadata = MetaData()
counter = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts by itself in an INTEGER only

event = Table(
    "event",
    metadata,
    Column("sequence", counter, primary_key=True, autoincrement=True),
    Column("user_id", String(MAX_ID), nullable=False),
    Column("event_key", String(2 * MAX_ID)),
    Column("item_id", String(MAX_ID), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("value", Float(53)),
    Column("at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("content", Text),
    Column("vectors", LargeBinary),
    Column("encoder", String(64)),
    Index("event_once", "user_id", "event_key", unique=True),
    Index("event_of_user", "user_id", "at"),
)
"""Events of users. Times are microseconds since 1970; a null `event_key` is never a duplicate. `content` is JSON: words, names of files and what of
them cannot be read. `vectors` is a safetensors file, and `encoder` what made it: "" until then, null in an event without content."""
Index(
    "event_content",
    event.c.encoder,
    sqlite_where=event.c.encoder.is_not(None),
    postgresql_where=event.c.encoder.is_not(None),
)

user_content = Table(
    "user_content",
    metadata,
    Column("user_id", String(MAX_ID), primary_key=True),
    Column("content", Text, nullable=False),
    Column("vectors", LargeBinary),
    Column("encoder", String(64), nullable=False),
    Column("received_at", BigInteger, nullable=False),
)
"""What users told of themselves: attributes, a bio, an avatar; columns as those of an event's content."""

conversation = Table(
    "conversation",
    metadata,
    Column("user_id", String(MAX_ID), primary_key=True),
    Column("conversation_id", String(64), primary_key=True),
    Column("turns", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)
"""Conversations of users with the assistant: `turns` is JSON, what was said, and `state` what stands of it; `version` is random with each change."""

request = Table(
    "request",
    metadata,
    Column("user_id", String(MAX_ID), primary_key=True),
    Column("key", String(MAX_ID), primary_key=True, index=True),
    Column("digest", String(64), nullable=False),
    Column("received_at", BigInteger, nullable=False),
)
"""Idempotency keys of requests with events: a row for each user of the request, which goes with that user; `digest` is of the user's events
in it."""

edit = Table(
    "edit",
    metadata,
    Column("user_id", String(MAX_ID), primary_key=True),
    Column("name", String(MAX_ID), primary_key=True),
    Column("value", String(MAX_ID), primary_key=True),
    Column("action", String(16), nullable=False),
    Column("strength", Float(53), nullable=False),
    Column("edited_at", BigInteger, nullable=False),
)
"""Edits of users; `name` is "item" or a facet."""

served_list = Table(
    "served_list",
    metadata,
    Column("sequence", counter, primary_key=True, autoincrement=True),
    Column("user_id", String(MAX_ID), nullable=False),
    Column("list_id", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("variant", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Index("served_list_once", "user_id", "list_id", unique=True),
)
"""Lists that were served during a trial, the newest ones; `body` is JSON: candidates with scores, what was shown at which place, and with which
probability."""

exposure = Table(
    "exposure",
    metadata,
    Column("user_id", String(MAX_ID), primary_key=True),
    Column("trial", String(64), primary_key=True),
    Column("variant", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("exposure_of_trial", "trial", "at"),
)
"""When each user was first served a list of a trial, and of which variant."""

ended_variant = Table(
    "ended_variant",
    metadata,
    Column("trial", String(64), primary_key=True),
    Column("variant", String(64), primary_key=True),
    Column("ended_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)
"""Variants that a guardrail ended; `reason` is a message as JSON."""

alarm = Table(
    "alarm",
    metadata,
    Column("number", counter, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)
"""What moved in the stream of events, the newest; `body` is JSON: messages and numbers, no id of a user."""

stream_position = Table(
    "stream_position",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("partition", String(256), primary_key=True),
    Column("position", String(64), nullable=False),
    Column("owner", String(64)),
    Column("owned_until", BigInteger, nullable=False),
    Column("last_at", BigInteger),
    Column("stored", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("erased", BigInteger, nullable=False),
)
"""How far each partition of a stream of events is in the store: `position` is that of its last record, "" before the first, and changes in the
transaction that stores the events. `owner` reads it until `owned_until`. `last_at` is when the last record was sent; the counts are of records."""

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("number", counter, primary_key=True, autoincrement=True),
    Column("source", String(64), nullable=False),
    Column("partition", String(256), nullable=False),
    Column("position", String(64), nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("user_id", String(MAX_ID), nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("dead_letter_once", "source", "partition", "position", "sent_at", unique=True),
    Index("dead_letter_of_user", "user_id"),
)
"""Records of streams that could not be stored. `user_id` is "" where the record does not tell; `reason` is an error as JSON; `body` the record as
text."""

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("name", String(192), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)
"""What processes beside the service last said of themselves; `body` is JSON without an id of a user."""

user_version = Table(
    "person",
    metadata,
    Column("user_id", String(MAX_ID), primary_key=True),
    Column("version", BigInteger, nullable=False),
)
"""A number that is new after every change of a user's events or edits: what a cache compares."""

item = Table(
    "item",
    metadata,
    Column("item_id", String(MAX_ID), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Column("vectors", LargeBinary),
    Column("changed_at", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="0"),
    Index("item_version", "version"),
)
"""Items that came, changed or went since the bundle was made; `vectors` is a safetensors file. `version` is the value of
`world.item_changes` at the item's last change."""

erasure = Table(
    "erasure",
    metadata,
    Column("receipt_id", String(64), primary_key=True),
    Column("subject", String(64), nullable=False, index=True),
    Column("erased_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("receipt", Text, nullable=False),
    Column("number", BigInteger),
    Column("link", String(64)),
)
"""Users who must not be read from an old bundle: a keyed hash, never an id. `number` counts erasures from 1; `link` is a keyed hash of
the row and of the link before."""

api_key = Table(
    "api_key",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("name", String(MAX_ID), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scopes", String(128), nullable=False),
    Column("per_minute", Integer),
    Column("created_at", BigInteger, nullable=False),
)
"""API keys; the secret itself is not kept."""

world = Table(
    "world",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("secret_check", String(64)),
    Column("first_key_at", BigInteger),
    Column("item_changes", BigInteger, nullable=False, server_default="0"),
    Column("num_erasures", BigInteger),
    Column("last_link", String(64)),
)
"""One row: a number that is new after every change of items, erasures or keys; when the first key was made, which outlives all keys; the
number of changes of items; and the end of the chain of erasures."""
