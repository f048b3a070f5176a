"""A language model behind an address that speaks OpenAI's chat protocol.

In: prompts. Out: texts. Every request is counted in a ledger, and a budget of tokens ends the asking.

Source: https://platform.openai.com/docs/api-reference/chat; vLLM, Ollama and llama.cpp serve the same.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from penchant.core.errors import ConfigError, EncoderError, import_optional
from penchant.language.engine import Engine, EngineConfig, Prompt

PAUSE_SECONDS = 0.5
"""Wait before the first further attempt; doubled for each one after."""
MAX_CHARACTERS = 20_000
"""A longer answer is cut: an endpoint that never stops must not fill the memory."""
RETRIED = (408, 429, 500, 502, 503, 504)


class RemoteEngine(Engine):
    """Asks one endpoint.

    Args:
        config: Address, model, limits.

    Raises:
        ConfigError: No address, or no model.
        MissingExtraError: httpx2 is not installed.
    """

    is_remote = True

    def __init__(self, config: EngineConfig) -> None:
        if not config.base_url.startswith(("http://", "https://")) or not urlsplit(config.base_url).hostname:
            raise ConfigError(
                f"{config.base_url!r} is no address of an endpoint.",
                where="base_url",
                fix="give one such as http://127.0.0.1:11434/v1",
            )
        if not config.remote_model:
            raise ConfigError(
                "The endpoint's model has no name.", where="remote_model", fix="give the name that the endpoint lists"
            )
        http = import_optional("httpx2", "serve")
        key = os.environ.get(config.key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.config = config
        self._errors: tuple[type[Exception], ...] = (http.HTTPError,)
        # an answer is read as it comes, so that `timeout_seconds` is also the longest pause between two pieces
        self._client = http.Client(
            base_url=config.base_url.rstrip("/"),
            headers=headers,
            timeout=config.timeout_seconds,
            follow_redirects=False,
        )
        self._lock = threading.Lock()

    @property
    def provenance(self) -> dict[str, Any]:
        return {
            "model": self.config.remote_model,
            "weights": self.config.base_url,  # an endpoint does not tell which weights it has
            "prompt": "",
            "max_tokens": self.config.max_tokens,
            "decoding": "temperature 0",
            "seed": 0,
        }

    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        return ["".join(self._pieces(prompt)) for prompt in prompts]

    def stream(self, prompt: Prompt) -> Iterator[str]:
        yield from self._pieces(prompt)

    @property
    def spent_tokens(self) -> int:
        """Tokens in the ledger so far."""
        if not self.config.ledger.is_file():
            return 0
        lines = self.config.ledger.read_text("utf-8").splitlines()
        return sum(
            int(json.loads(line).get("tokens", 0)) for line in lines if line.startswith("{") and line.endswith("}")
        )

    def _pieces(self, prompt: Prompt) -> Iterator[str]:
        """Yield the text of one answer, and enter it into the ledger; a failure before the first piece is tried again."""
        self._check_budget()
        for attempt in range(self.config.retries + 1):
            began, num_characters, usage = time.perf_counter(), 0, None
            deadline = began + self.config.timeout_seconds
            try:
                for piece, counted in self._ask(prompt):
                    usage = counted or usage
                    if piece:
                        num_characters += len(piece)
                        yield piece
                    if num_characters >= MAX_CHARACTERS or time.perf_counter() > deadline:
                        break
            except self._errors as error:
                self._enter(prompt, num_characters, usage, began)
                if num_characters or attempt == self.config.retries or not _is_passing(error):
                    raise self._silent(error) from error
                time.sleep(PAUSE_SECONDS * 2**attempt)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                self._enter(prompt, num_characters, usage, began)
                raise EncoderError(
                    f"The endpoint's answer is not of the chat protocol: {type(error).__name__}.",
                    where=self.config.base_url,
                    fix="give the address of an endpoint that speaks OpenAI's protocol, up to /v1",
                ) from error
            else:
                self._enter(prompt, num_characters, usage, began)
                return

    def _ask(self, prompt: Prompt) -> Iterator[tuple[str, int | None]]:
        """Yield pieces of text, and the tokens counted where the endpoint tells them."""
        messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
        body = {
            "model": self.config.remote_model,
            "messages": [m for m in messages if m["content"]],
            "max_tokens": self.config.max_tokens,
            "temperature": 0,
            "seed": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with self._client.stream("POST", "/chat/completions", json=body) as answer:
            answer.raise_for_status()
            if "text/event-stream" not in answer.headers.get("content-type", ""):
                whole = json.loads(answer.read())  # an endpoint that does not stream
                yield str(whole["choices"][0]["message"]["content"] or ""), _counted(whole)
                return
            for line in answer.iter_lines():
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if data == "[DONE]":
                    return
                if data:
                    event = json.loads(data)
                    choices = event.get("choices") or [{}]
                    yield str((choices[0].get("delta") or {}).get("content") or ""), _counted(event)

    def _check_budget(self) -> None:
        spent = self.spent_tokens
        if spent >= self.config.max_total_tokens:
            raise EncoderError(
                f"The budget of the endpoint is spent: {spent:,} of {self.config.max_total_tokens:,} tokens.",
                where=str(self.config.ledger),
                fix="raise max_total_tokens, or move the ledger away",
            )

    def _enter(self, prompt: Prompt, num_characters: int, counted: int | None, began: float) -> None:
        """Add one request to the ledger; where the endpoint counts no tokens, four characters are taken as one."""
        estimate = (len(prompt.system) + len(prompt.user) + num_characters) // 4 + 1
        row = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "model": self.config.remote_model,
            "tokens": estimate if counted is None else counted,
            "is_estimate": counted is None,
            "seconds": round(time.perf_counter() - began, 3),
        }
        with self._lock:
            self.config.ledger.parent.mkdir(parents=True, exist_ok=True)
            with self.config.ledger.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _silent(self, error: Exception) -> EncoderError:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        return EncoderError(
            f"The endpoint does not answer: {reason}.",
            where=self.config.base_url,
            fix='start it, check address, model and key, or set engine = "template"',
        )


def _counted(answer: dict[str, Any]) -> int | None:
    total = (answer.get("usage") or {}).get("total_tokens")
    return total if isinstance(total, int) else None


def _is_passing(error: Exception) -> bool:
    """Return whether another attempt may succeed."""
    response = getattr(error, "response", None)
    return response is None or response.status_code in RETRIED
