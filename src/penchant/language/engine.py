"""Engines that write text: a language model on this machine, one behind an address, or none.

In: prompts. Out: texts, one for each prompt, or one text piece by piece. What an engine writes is never trusted: see `grounding.py`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from penchant.language.local import LocalConfig, Precision

TEMPLATE, LOCAL, REMOTE = "template", "local", "remote"
MAX_TEXTS = 2000
"""Texts that an engine keeps in memory."""


class EngineConfig(LocalConfig):
    """Which engine writes, and its limits."""

    engine: Literal["template", "local", "remote"] = "template"
    """template (sentences of Penchant's own, no language model), local (`model` on this machine) or remote (`base_url`)."""
    base_url: str = ""
    """Of an endpoint that speaks OpenAI's protocol, without /chat/completions: http://127.0.0.1:11434/v1. vLLM, Ollama, llama.cpp and hosted ones do."""
    remote_model: str = ""
    """Name of the model at the endpoint."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the endpoint's key; an unset one sends none."""
    timeout_seconds: float = Field(60, gt=0)
    """Longest wait for an answer of the endpoint."""
    retries: int = Field(2, ge=0, le=10)
    """Further attempts after a time-out, a lost connection, or an answer 429 or of 500 and above."""
    max_total_tokens: int = Field(1_000_000, ge=1)
    """Budget: tokens read and written by the endpoint over the life of the ledger; then it is not asked any more."""
    ledger: Path = Path("runs/cache/language-costs.jsonl")
    """File with the tokens and seconds of each request to the endpoint, and nothing of its text."""
    send_personal: bool = False
    """Let the endpoint read what users did and asked, without their ids. A model on this machine may always."""
    precision: Precision = "int8"
    """Numbers that a local engine computes in: a conversation is one text at a time, for which int8 is fastest."""
    max_tokens: int = Field(160, ge=1, le=4096)
    """Maximum length of one text."""


@dataclass(frozen=True)
class Prompt:
    """What a language model is asked.

    Attributes:
        system: Instructions.
        user: Request and evidence.
    """

    system: str
    user: str


class Engine(ABC):
    """Writes texts by greedy decoding: the same prompt gives the same text on the same machine."""

    languages: frozenset[str] = frozenset({"en", "zh"})
    """Languages it is asked to write."""
    is_remote = False
    """Whether prompts leave this machine."""

    @property
    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Model, weights and limits, with the names of `written.SCHEMA`; what two equal texts share."""

    @abstractmethod
    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return one text for each prompt, "" where nothing was written.

        Raises:
            EncoderError: The engine does not answer.
        """

    @abstractmethod
    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Return the text of one prompt piece by piece; a consumer that stops reading stops the writing.

        Raises:
            EncoderError: The engine does not answer.
        """

    def close(self) -> None:  # noqa: B027 - most engines hold nothing of the system
        """Give back what it holds of the system."""


class CachedEngine(Engine):
    """An engine that writes the text of a prompt once; the texts stay in memory, the most recently used ones.

    They are not kept on disk: they tell what users do, and an erasure must reach them (`forget`).

    Args:
        engine: Writes what is missing.
        max_texts: Texts that are kept.
    """

    def __init__(self, engine: Engine, max_texts: int = MAX_TEXTS) -> None:
        self.engine = engine
        self.languages, self.is_remote = engine.languages, engine.is_remote
        self._max_texts = max_texts
        self._texts: OrderedDict[Prompt, str] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def provenance(self) -> dict[str, Any]:
        return self.engine.provenance

    def forget(self) -> None:
        """Drop every text."""
        with self._lock:
            self._texts.clear()

    def close(self) -> None:
        self.engine.close()

    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        held = {prompt: self._held(prompt) for prompt in prompts}
        missing = [prompt for prompt, text in held.items() if text is None]
        for prompt, text in zip(missing, self.engine.write(missing) if missing else (), strict=True):
            held[prompt] = text
            self._keep(prompt, text)
        return [held[prompt] or "" for prompt in prompts]

    def stream(self, prompt: Prompt) -> Iterator[str]:
        text = self._held(prompt)
        if text is not None:
            yield text
            return
        pieces = []
        for piece in self.engine.stream(prompt):
            pieces.append(piece)
            yield piece
        self._keep(prompt, "".join(pieces))  # one that was not read to its end is not kept

    def _held(self, prompt: Prompt) -> str | None:
        with self._lock:
            if prompt in self._texts:
                self._texts.move_to_end(prompt)
            return self._texts.get(prompt)

    def _keep(self, prompt: Prompt, text: str) -> None:
        with self._lock:
            self._texts[prompt] = text
            while len(self._texts) > self._max_texts:
                self._texts.popitem(last=False)


def make_engine(config: EngineConfig, *, threads: int | None = None) -> CachedEngine | None:
    """Return the engine of some settings; None for "template": the callers' own sentences stand for themselves.

    Args:
        config: Which engine.
        threads: Cores of a local engine in a process of its own, beside a service; None writes in this process, on all cores.

    Raises:
        MissingExtraError: transformers or httpx2 is not installed.
        EncoderError: There is no such model.
        ConfigError: A remote engine without an address or a model.
    """
    if config.engine == LOCAL:
        from penchant.language.engine_process import ProcessEngine
        from penchant.language.local_engine import LocalEngine

        return CachedEngine(LocalEngine(config) if threads is None else ProcessEngine(config, threads))
    if config.engine == REMOTE:
        from penchant.language.remote_engine import RemoteEngine

        return CachedEngine(RemoteEngine(config))
    return None
