"""A causal language model on this machine that writes.

In: prompts. Out: texts by greedy decoding, in batches, or piece by piece.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from penchant.core.artifacts import fingerprint
from penchant.core.errors import EncoderError
from penchant.language.engine import Engine, EngineConfig, Prompt
from penchant.language.local import SMOLLM2, LocalConfig, LocalModel, Precision

BATCH = 8
"""Prompts written at once: on two cores more is not faster."""


class LocalEngine(Engine):
    """A causal language model of transformers, loaded with its first text.

    Args:
        config: Which model.
        max_tokens: Maximum length of a text; None takes that of the settings.
        batch_size: Prompts written at once.
    """

    def __init__(self, config: LocalConfig, *, max_tokens: int | None = None, batch_size: int = BATCH) -> None:
        self.config = config
        self.model = LocalModel(config)
        self.batch_size = batch_size
        given = config.max_tokens if isinstance(config, EngineConfig) else EngineConfig().max_tokens
        self.max_tokens = max_tokens or given
        self._loading = threading.Lock()
        if config.model == SMOLLM2:
            self.languages = frozenset({"en"})  # it was trained on English

    @property
    def provenance(self) -> dict[str, Any]:
        return {
            "model": self.config.model,
            "weights": fingerprint(self.model.fingerprint, self.config.precision),
            "prompt": "",
            "max_tokens": self.max_tokens,
            "decoding": "greedy",
            "seed": None,  # greedy decoding needs none
        }

    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return one text for each prompt; prompts of similar length share a batch, so that little is padded."""
        order = sorted(range(len(prompts)), key=lambda n: len(prompts[n].system) + len(prompts[n].user))
        texts = [""] * len(prompts)
        size = self.batch_size if self.config.precision != "int8" else 1  # its steps depend on all texts of a batch
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            for row, text in zip(rows, self._write([prompts[row] for row in rows]), strict=True):
                texts[row] = text
        return texts

    def _write(self, prompts: Sequence[Prompt]) -> list[str]:
        import torch

        tokenizer, model, _ = self.parts
        tokens = self._tokens(prompts)
        with torch.inference_mode():
            out = model.generate(**tokens, **self._options(tokens))
        return list(tokenizer.batch_decode(out[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True))

    def stream(self, prompt: Prompt) -> Iterator[str]:
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

        tokenizer, model, _ = self.parts
        is_stopped = threading.Event()

        class Stopped(StoppingCriteria):
            """Ends the writing when nobody reads it any more."""

            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                return torch.full((input_ids.shape[0],), is_stopped.is_set(), dtype=torch.bool)

        streamer: Any = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        tokens = self._tokens([prompt])
        options = {
            **self._options(tokens),
            "streamer": streamer,
            "stopping_criteria": StoppingCriteriaList([Stopped()]),
        }
        failures: list[Exception] = []

        def generate() -> None:
            try:
                with torch.inference_mode():
                    model.generate(**tokens, **options)
            except Exception as error:  # it reaches the reader of the stream below
                failures.append(error)
                streamer.end()

        writing = threading.Thread(target=generate, daemon=True)
        writing.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            is_stopped.set()
            writing.join()
        if failures:
            raise EncoderError(
                f"The language model stopped: {type(failures[0]).__name__}: {failures[0]}".splitlines()[0] + ".",
                where=f"model = {self.config.model!r}",
                fix="shorten the request, or choose another model",
            ) from failures[0]

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tokenizer = self.model.tokenizer()
        tokenizer.padding_side = "left"  # generated tokens follow the last one
        precision = _precision(self.config.precision, device.type)
        model = self.model.writer(torch.bfloat16 if precision == "bfloat16" else torch.float32).to(device)
        return tokenizer, _with_small_weights(model) if precision == "int8" else model, device

    @property
    def parts(self) -> tuple[Any, Any, Any]:
        """Tokenizer, network and device; loaded once, whichever thread comes first."""
        with self._loading:
            return self._parts

    @property
    def positions(self) -> int | None:
        """Tokens that prompt and text may have together; None for a model that names no limit."""
        found = getattr(self.parts[1].config, "max_position_embeddings", None)
        return found if isinstance(found, int) else None

    def num_tokens(self, prompt: Prompt) -> int:
        """Return the length of a prompt as the model reads it."""
        tokenizer = self.parts[0]
        return len(tokenizer(self._text(prompt), add_special_tokens=tokenizer.chat_template is None)["input_ids"])

    def _tokens(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        tokenizer, _, device = self.parts
        found = tokenizer(
            [self._text(prompt) for prompt in prompts],
            padding=True,
            return_tensors="pt",
            add_special_tokens=tokenizer.chat_template is None,  # a chat template has its own
        ).to(device)
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}

    def _options(self, tokens: dict[str, Any]) -> dict[str, Any]:
        length, positions = tokens["input_ids"].shape[1], self.positions
        if positions is not None and length >= positions:
            raise EncoderError(
                f"{self.config.model!r} reads {positions} tokens; the prompt has {length}.",
                where="prompt of the language model",
                fix="shorten the request, or name a model that reads more",
            )
        room = self.max_tokens if positions is None else min(self.max_tokens, positions - length)
        return {"max_new_tokens": room, "do_sample": False, "pad_token_id": self.parts[0].pad_token_id}

    def _text(self, prompt: Prompt) -> str:
        """Return a prompt in the form the model was trained on."""
        tokenizer = self.parts[0]
        if tokenizer.chat_template is None:
            return "\n\n".join(part for part in (prompt.system, prompt.user) if part) + "\n\n"
        messages = [{"role": "user", "content": prompt.user}]
        if prompt.system:
            messages.insert(0, {"role": "system", "content": prompt.system})
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def _precision(wanted: Precision, device: str) -> Precision:
    """Return the numbers that a model computes in: what is wanted, as far as the device computes in it."""
    import torch

    if device != "cpu":
        return "bfloat16"
    has_int8 = set(torch.backends.quantized.supported_engines) & {"x86", "fbgemm", "onednn", "qnnpack"}
    if wanted == "int8" and has_int8:
        return "int8"
    if wanted == "float32":
        return "float32"
    multiplies_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    # without such instructions bfloat16 is emulated, and slower than float32
    return "bfloat16" if wanted == "bfloat16" or multiplies_bfloat16 else "float32"


def _with_small_weights(model: Any) -> Any:
    """Return a network whose linear layers hold weights of 8 bits; what goes through them is quantised anew for each text."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its successor is a package of its own
        warnings.simplefilter("ignore", UserWarning)
        return torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            model, {torch.nn.Linear}, dtype=torch.qint8
        )
