"""The profile in words as a channel of the person: what is written of a history, as the vector of a text encoder.

In: histories. Out: one vector for each user, of nothing but the events in them. Members read it like an avatar or a bio; what is new about it is
that it is computed: from the events of training while members are fitted, from all events when a list is asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int32

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ConfigError
from penchant.core.logs import progress_bar
from penchant.core.schema import Catalog, Histories, UserChannel, UserEmbeddings
from penchant.data.media import MediaLimits
from penchant.encoders.cache import VectorCache
from penchant.encoders.catalog import ChannelConfig, cache_key, make_encoder
from penchant.encoders.encoder import Encoder
from penchant.explanation.profile import Profile, ProfileBuilder
from penchant.explanation.topics import Topics
from penchant.explanation.written_profile import ProfileWriter, WrittenProfile
from penchant.language.engine import REMOTE, TEMPLATE, EngineConfig, make_engine
from penchant.language.evidence import CatalogNames
from penchant.language.local import Precision

CHANNEL = "written_profile"
"""Name of the channel, and of its table in the settings."""
MAX_KEPT = 50_000
"""Vectors kept in memory, the most recently used ones: some 80 MB of MiniLM's."""
BATCH = 64
"""Profiles written and encoded at once, and the most that an interrupted run writes again."""


class WrittenProfileConfig(EngineConfig):
    """The profile in words as an input of ranking: the `[written_profile]` table."""

    precision: Precision = "auto"
    """Numbers that a local engine computes in: many profiles are written at once, for which bfloat16 is fastest where the processor has it."""
    encoder: str = "minilm"
    """Encoder of the written profile; one that reads single texts (minilm, e5, sentence_transformers, ...)."""
    options: dict[str, Any] = {}
    """Settings of the encoder."""
    language: Literal["en", "zh"] = "en"
    """Language that profiles are written in; the encoder must know it, and so must a language model."""
    reads: Literal["paragraph", "statements"] | None = None
    """What is encoded: the paragraph, which a language model may word, or the statements with their numbers behind it; None: the statements without
    a language model, the paragraph with one."""

    def channel(self) -> ChannelConfig:
        """Return the text channel that encodes profiles."""
        return ChannelConfig(encoder=self.encoder, columns=["text"], options=self.options)

    @property
    def reads_paragraph(self) -> bool:
        """Whether the paragraph is encoded."""
        return self.engine != TEMPLATE if self.reads is None else self.reads == "paragraph"

    def checked(self) -> None:
        """Check the encoder and the engine; no model is loaded.

        Raises:
            ConfigError: The encoder reads no single texts, or the engine may not read what users did.
        """
        encoder = make_encoder(CHANNEL, self.channel())
        if encoder.modality != "text" or encoder.whole_catalog:
            raise ConfigError(
                f"{self.encoder!r} gives no vector to a text that is written later.",
                where=f"{CHANNEL}.encoder",
                fix="name an encoder of single texts: minilm, e5",
            )
        if self.engine == REMOTE and not self.send_personal:
            raise ConfigError(
                "A remote engine would read what users did.",
                where=f"{CHANNEL}.send_personal",
                fix="set send_personal = true, or engine to template or local",
            )


class ProfileChannel:
    """Writes and encodes the profiles of histories, and keeps the vectors; the texts are not kept.

    A profile follows from its history alone: the share of events that is usual (`weight`) stays that of the training events. While members
    are fitted an engine is waited for. Once the channel is read from a bundle it is not (`waits`): a history that the run has not seen is
    read from the fixed sentences, so that no list waits for a language model.

    Args:
        catalog: Items.
        topics: Content groups.
        weight: (items,) how much all users chose each item before validation.
        config: Settings.
        load: Name and settings of a channel to its encoder, loaded.
        cache: Folder of vectors kept between runs, without texts and ids; None keeps none.
        waits: Whether an engine is waited for.
    """

    def __init__(
        self,
        catalog: Catalog,
        topics: Topics,
        weight: Float64[np.ndarray, " items"],
        config: WrittenProfileConfig,
        load: Callable[[str, ChannelConfig], Encoder],
        *,
        cache: Path | None = None,
        waits: bool = True,
    ) -> None:
        self.config, self.weight = config, weight
        self._catalog, self._topics, self._load, self._cache, self._waits = catalog, topics, load, cache, waits
        self._vectors: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._given: dict[bytes, np.ndarray] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a node of a cluster makes anew."""
        kept = ("config", "weight", "_catalog", "_topics", "_load", "_cache", "_waits", "_vectors", "_given")
        return {name: value for name, value in vars(self).items() if name in kept}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def of(self, catalog: Catalog, topics: Topics) -> ProfileChannel:
        """Return the channel over a catalog that has grown; nobody chose the new items yet."""
        weight = np.concatenate([self.weight, np.zeros(len(catalog) - len(self.weight))])
        grown = ProfileChannel(catalog, topics, weight, self.config, self._load, cache=self._cache, waits=self._waits)
        grown._vectors.update(self._vectors)
        return grown.knowing(self._given)

    def knowing(self, vectors: Mapping[bytes, Float32[np.ndarray, " dim"]]) -> ProfileChannel:
        """Keep the vectors of a bundle's histories, as `known` returned them, for as long as the bundle is served; return the channel."""
        self._given |= vectors
        return self

    def known(self, *histories: Histories) -> dict[bytes, Float32[np.ndarray, " dim"]]:
        """Return the vectors in memory of these histories."""
        keys = [_key(one, row) for one in histories for row in range(len(one))]
        with self._lock:
            return {key: vector for key in keys if (vector := self._held(key)) is not None}

    def _held(self, key: bytes) -> np.ndarray | None:
        return self._given.get(key, self._vectors.get(key))

    @cached_property
    def encoder(self) -> str:
        """Equal to that of items whose texts have vectors of the same encoder."""
        return cache_key(make_encoder(CHANNEL, self.config.channel()), MediaLimits())

    def __call__(self, histories: Histories) -> UserChannel:
        keys = [_key(histories, row) for row in range(len(histories))]
        with self._lock:
            found = {key: vector for key in keys if (vector := self._held(key)) is not None}
            first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in found}
            new = self._written(histories, list(first.values()))
            found |= dict(zip(first, new, strict=True))
            for key in dict.fromkeys(key for key in keys if key not in self._given):
                self._vectors[key] = found[key]
                self._vectors.move_to_end(key)
            while len(self._vectors) > MAX_KEPT:
                self._vectors.popitem(last=False)
        says = [key for key in dict.fromkeys(keys) if len(found[key])]
        place = {key: row for row, key in enumerate(says)}
        values = np.stack([found[key] for key in says]) if says else np.zeros((0, self._dim), np.float32)
        rows: Int32[np.ndarray, " users"] = np.array([place.get(key, -1) for key in keys], np.int32)
        return UserChannel(UserEmbeddings(CHANNEL, "text", "users", values, self.encoder), rows)

    def forget(self) -> None:
        """Drop every vector that was computed, and the texts that an engine keeps; those of a bundle go with the bundle."""
        with self._lock:
            self._vectors.clear()
            if "_writer" in vars(self) and self._engine is not None:
                self._engine.forget()

    def profile(self, history: Histories) -> Profile:
        """Return the profile of one history that is written about."""
        return self._builder.profile(history)

    def written(self, profiles: Sequence[Profile]) -> list[str]:
        """Return what is encoded of each profile; "" of one that says nothing."""
        return [self._text(one) for one in self._writer.write(profiles)]

    def _text(self, written: WrittenProfile) -> str:
        if not written.statements:
            return ""
        joint = "" if self.config.language == "zh" else " "
        return written.text if self.config.reads_paragraph else joint.join(s.text for s in written.statements)

    def _written(self, histories: Histories, rows: Sequence[int]) -> list[np.ndarray]:
        """Return the vector of each chosen history, empty where nothing is said of it."""
        if not rows:
            return []
        found: list[np.ndarray] = []
        with progress_bar("write profiles", len(rows)) as bar:
            for start in range(0, len(rows), BATCH):
                part = [self._builder.profile(histories.rows(row, row + 1)) for row in rows[start : start + BATCH]]
                found += self._encoded(part)
                bar.advance(len(part))
        return found

    def _encoded(self, profiles: Sequence[Profile]) -> list[np.ndarray]:
        """Return the vector of each profile; those that the cache has are neither written nor encoded."""
        keys = [fingerprint(statements, self._mark) for statements in map(self._statements, profiles)]
        new = {key: profile for key, profile in zip(keys, profiles, strict=True) if key not in self._cached}
        texts = dict(zip(new, self.written(list(new.values())) if new else (), strict=True))
        made = {key: np.zeros(0, np.float32) for key, text in texts.items() if not text}
        said = [key for key, text in texts.items() if text]
        if said:
            encoder = self._encoder
            vectors = np.asarray(encoder.encode([encoder.prepare(texts[key]) for key in said]), np.float32)
            made |= dict(zip(said, vectors, strict=True))
            if self._store is not None:
                self._store.append(said, vectors)
                self._cached.update(zip(said, vectors, strict=True))
        return [self._cached[key] if key in self._cached else made[key] for key in keys]

    def _statements(self, profile: Profile) -> list[str]:
        return [s.text for s in self._writer.statements(profile)]

    @cached_property
    def _builder(self) -> ProfileBuilder:
        return ProfileBuilder(self._catalog, self.weight, self._topics)

    @cached_property
    def _engine(self) -> Any:
        return make_engine(self.config) if self._waits and self.config.reads_paragraph else None

    @cached_property
    def _writer(self) -> ProfileWriter:
        values = [str(value) for table in self._catalog.categories().values() for value in table["value"].unique()]
        names = CatalogNames(self._catalog.titles(), [*values, *self._topics.names])
        return ProfileWriter(self._topics, names, language=self.config.language, engine=self._engine)

    @cached_property
    def _encoder(self) -> Encoder:
        return self._load(CHANNEL, self.config.channel())

    @cached_property
    def _dim(self) -> int:
        return self._encoder.dim or len(self._encoder.encode([self._encoder.prepare("it")])[0])

    @cached_property
    def _mark(self) -> str:
        """What changes when the same statements would get another vector."""
        engine = None if self._engine is None else self._engine.provenance
        return fingerprint(self.encoder, self.config.reads_paragraph, self.config.language, engine)

    @cached_property
    def _store(self) -> VectorCache | None:
        return None if self._cache is None else VectorCache(self._cache, f"profiles-{self._mark}")

    @cached_property
    def _cached(self) -> dict[str, np.ndarray]:
        """The vectors that an earlier run made."""
        batches = () if self._store is None else self._store.read()
        return {key: vector for keys, values in batches for key, vector in zip(keys, values, strict=True)}


def _key(histories: Histories, row: int) -> bytes:
    """Return what changes with the events of one history."""
    events = slice(histories.offsets[row], histories.offsets[row + 1])
    parts = (histories.item_index[events], histories.weight[events])
    return blake2b(b"".join(part.tobytes() for part in parts), digest_size=16).digest()
