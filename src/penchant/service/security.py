"""API keys, scopes, rate limits and the service secret.

In: `Authorization: Bearer KEY`. Out: the request passes, or is refused. Secrets are kept as hashes alone and compared in constant time.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from penchant.core.errors import ConfigError, nearest
from penchant.language.screen import LimitsConfig
from penchant.service.http_errors import RefusedError
from penchant.service.store import Store, StoredKey

SCOPES = ("read", "write", "personal", "admin")
"""read: lists and search; write: events and items; personal: profile, explanation, export, erasure; admin: everything."""
PREFIX = "pk"
_NO_DIGEST = hashlib.sha256(b"").hexdigest()


def make_key(store: Store, name: str, scopes: list[str], per_minute: int | None = None) -> str:
    """Store a new key's hash and return the key, which cannot be shown again.

    Raises:
        ConfigError: A scope is unknown.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise ConfigError(f"There is no scope {scope!r}.", where="--scopes", fix=nearest(scope, SCOPES))
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    store.put_key(StoredKey(key_id, name, _digest(secret), ",".join(scopes), per_minute))
    return f"{PREFIX}_{key_id}_{secret}"


def _digest(secret: str) -> str:
    """A secret of 256 random bits needs no slow hash: there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class ApiKeys:
    """The API keys of a store, read again when the store changes.

    Args:
        store: Holds the keys.
        is_open: Answer requests without a key until the first key is made.

    Attributes:
        is_open: Whether requests without a key are answered now. Once false it stays false: neither removing the last key nor a
            restart nor an older copy of the store opens the service again.
    """

    def __init__(self, store: Store, *, is_open: bool) -> None:
        self._store = store
        self._may_open = is_open
        self.is_open = False
        self._version: int | None = None
        self._keys: dict[str, StoredKey] = {}
        self._limiter = RateLimiter()

    def refresh(self, version: int) -> None:
        """Read the keys again unless this version of the store was read already."""
        if version != self._version:
            self._keys = {key.key_id: key for key in self._store.api_keys()}
            self._may_open = self._may_open and not self._store.has_had_keys()
            self.is_open = self._may_open
            self._version = version

    def check(self, authorization: str | None, scope: str) -> StoredKey | None:
        """Let a request pass and return its key, None where the service is open; or refuse it.

        Raises:
            RefusedError: No key, a wrong key, a key without this scope, or too many requests.
        """
        if self.is_open:
            return None
        key = self._find(authorization)
        if key is None:
            raise RefusedError(
                "The API key is missing or wrong.",
                where="Authorization",
                fix="send `Authorization: Bearer pk_...`; `penchant keys add` makes one",
                status=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
        held = key.scopes.split(",")
        if scope not in held and "admin" not in held:
            raise RefusedError(
                f"The key {key.name!r} lacks the scope {scope!r}; it has {', '.join(held)}.",
                where="Authorization",
                fix=f"use a key made with --scopes {scope}",
                status=403,
            )
        if key.per_minute is not None:
            self._limiter.check(key.key_id, key.per_minute, f"the key {key.name!r}")
        return key

    def _find(self, authorization: str | None) -> StoredKey | None:
        kind, _, token = (authorization or "").partition(" ")
        prefix, _, rest = token.strip().partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id)
        matches = hmac.compare_digest(
            _digest(secret), key.digest if key else _NO_DIGEST
        )  # also where there is no such key
        return key if key and matches and kind.lower() == "bearer" and prefix == PREFIX else None


class RateLimiter:
    """A token bucket for each name; each process has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, name: str, per_minute: int, where: str) -> None:
        """Take one token out of a bucket.

        Args:
            name: Of the bucket.
            per_minute: Tokens that come in, and at most are in it.
            where: Whose it is, for the message.

        Raises:
            RefusedError: The bucket is empty.
        """
        with self._lock:
            now = time.monotonic()
            left, since = self._buckets.get(name, (float(per_minute), now))
            left = min(per_minute, left + (now - since) * per_minute / 60)
            if left >= 1:
                self._buckets[name] = (left - 1, now)
                return
        wait = int((1 - left) * 60 / per_minute) + 1
        raise RefusedError(
            f"More than {per_minute} requests a minute.",
            where=where,
            fix=f"wait {wait} s",
            status=429,
            headers={"Retry-After": str(wait)},
        )


class TalkLimits:
    """The limits of the routes that talk, by key, beside the limit a key has for all routes.

    Args:
        config: The limits.

    Attributes:
        count: Is told "rate" or "length" of each request that was refused.
    """

    def __init__(self, config: LimitsConfig) -> None:
        self._config, self._limiter = config, RateLimiter()
        self.count: Callable[[str], object] = lambda _why: None

    def check_rate(self, key: StoredKey | None) -> None:
        """Let one request of a key pass; None is a request without a key.

        Raises:
            RefusedError: The key asks too often.
        """
        name = "" if key is None else key.key_id
        allowed = self._config.per_minute if key is None else self._config.keys.get(key.name, self._config.per_minute)
        if allowed is None:
            return
        where = "requests without a key that talk" if key is None else f"requests of the key {key.name!r} that talk"
        try:
            self._limiter.check(name, allowed, where)
        except RefusedError:
            self.count("rate")
            raise

    def check_length(self, words: str) -> None:
        """Let a message pass.

        Raises:
            RefusedError: It is too long.
        """
        if len(words) <= self._config.max_characters:
            return
        self.count("length")
        raise RefusedError(
            f"The message has {len(words):,} characters; {self._config.max_characters:,} are read at most.",
            where="message",
            fix="shorten it",
            status=413,
        )


@dataclass(frozen=True)
class Secret:
    """The service's own secret: it makes keyed hashes of user ids and signs receipts.

    Attributes:
        value: 32 random bytes, kept in a file beside the store.
    """

    value: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Secret:
        """Return the secret of a file; the first process makes it, readable by its owner alone."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=path.parent) as file:  # readable by its owner alone
                file.write(secrets.token_bytes(32))
                file.flush()
                with contextlib.suppress(FileExistsError):  # another process was first
                    os.link(file.name, path)
        value = path.read_bytes()
        if len(value) != 32:
            raise ConfigError(
                f"The secret has {len(value)} bytes, not 32.", where=str(path), fix="put the right file back; see docs"
            )
        return cls(value)

    @classmethod
    def of(cls, store: Store, path: Path) -> Secret:
        """Return the secret of a store; the first process makes it.

        Raises:
            ConfigError: The file holds the secret of another store, or it is missing and the store was made with one.
        """
        has_one = store.has_secret()  # before the file: a process that starts beside this one writes the file first
        secret = None if has_one and not path.exists() else cls.read(path)
        if secret is None or not store.check_secret(secret.check()):
            raise ConfigError(
                "The secret is not the one this store was made with.",
                where=str(path),
                fix="give every process that shares a database the same folder",
            )
        return secret

    def subject(self, user_id: str) -> str:
        """Return the keyed hash that stands for a user after their erasure."""
        return self._mac(b"subject\x00" + user_id.encode())

    def sign(self, message: str) -> str:
        """Return the signature of a receipt."""
        return self._mac(b"receipt\x00" + message.encode())

    def link(self, message: str) -> str:
        """Return the link of an erasure in the chain of all."""
        return self._mac(b"link\x00" + message.encode())

    def share(self, trial: str, user_id: str) -> float:
        """Return a number from 0 to below 1 that decides a user's variant: always the same, and independent of other trials."""
        return int(self._mac(f"trial\x00{trial}\x00{user_id}".encode())[:13], 16) / 16**13

    def check(self) -> str:
        """Return a hash by which two secrets are compared without revealing either."""
        return self._mac(b"check")

    def _mac(self, message: bytes) -> str:
        return hmac.new(self.value, message, hashlib.sha256).hexdigest()
