"""A network classifier with one branch per modality, a fusion layer and a linear head.

In: a `ContentBatch`. Out: log-probabilities. Fusion is at feature level (concat, gated) or model level (attention), with a mask of present modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from penchant.classifiers.branches import BranchAugmentationConfig, BranchConfig, Prepared, make_branch
from penchant.classifiers.classifier import Classifier, ContentBatch, LogProbability, ScoreFunction, TrainingSet
from penchant.core.config import Settings
from penchant.core.errors import ConfigError
from penchant.core.seeds import generator
from penchant.data.media.augmentation import draw_mixup
from penchant.fusion import LAYERS
from penchant.fusion.layers import CrossAttentionLayer, FusionLayer, drop_modalities
from penchant.networks.image_nets import VisionNet
from penchant.networks.losses import alignment
from penchant.networks.trainer import TrainerConfig, TrainingHistory, pick_device
from penchant.networks.trainer import train as train_network
from penchant.networks.tuned_encoders import TunedNet


class NetworkConfig(Settings):
    """Settings of a network classifier."""

    branches: dict[str, BranchConfig] = {}
    """Branches by name, one for each input."""
    fusion: str = "concat"
    """Fusion layer that joins several branches; no effect with one."""
    dim: int = Field(64, ge=4)
    """Width of each branch and of the fused vector."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the fused vector dropped in training."""
    modality_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of modalities hidden in training, so that any can be missing later."""
    align: float = Field(0.0, ge=0)
    """Weight of InfoNCE between the branches of one sample, which brings its text and picture to near vectors; 0 leaves it out."""
    mixup: float = Field(0.0, ge=0)
    """Above 0, fused vectors of two samples are mixed in training, shares drawn from Beta(mixup, mixup)."""
    augment: BranchAugmentationConfig | None = None
    """Augmentation of raw content in training; None for none."""
    batch_size: int = Field(64, ge=2)
    """Samples of one step."""
    trainer: TrainerConfig = TrainerConfig(epochs=20, patience=5)
    """Settings of the training loop."""
    head_epochs: int = Field(5, ge=1)
    """Where a branch fine-tunes a pretrained model: epochs in which only the other layers are trained; then all are."""
    fine_tune_rate: float = Field(0.1, gt=0, le=1)
    """Share of the learning rate for training all layers."""


class NetworkClassifier(Classifier[NetworkConfig]):
    """Branches, a fusion layer, and a linear map to classes."""

    config_class = NetworkConfig

    def __init__(self, config: NetworkConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        if not self.config.branches:
            raise ConfigError(
                "The network has no branches.",
                where=f"classifiers.{name}.branches",
                fix='add [classifiers.NAME.branches.text] with modality = "text" (or channel = "...")',
            )
        self.branches = {key: make_branch(key, branch) for key, branch in self.config.branches.items()}
        self.net: _Net | None = None
        self.training_history = TrainingHistory()
        self.device = torch.device("cpu")

    def modalities(self, batch: ContentBatch) -> tuple[str, ...]:
        return tuple(dict.fromkeys(branch.modality(batch) for branch in self.branches.values()))

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return np.any([branch.present(batch) for branch in self.branches.values()], axis=0)

    def fit(
        self, batch: ContentBatch, train: TrainingSet, validation: TrainingSet, score: ScoreFunction, *, seed: int
    ) -> Self:
        has = self.present(batch)
        train, held = train.where(has[train.rows]), validation.where(has[validation.rows])
        self.device = pick_device(self.config.trainer.device)
        for branch in self.branches.values():
            branch.learn(batch, train.rows)
            branch.vary(batch.take(train.rows), self.config.augment)
        torch.manual_seed(seed)
        self.net = self._build(train.num_classes)
        train_content = {key: branch.prepare(batch.take(train.rows)) for key, branch in self.branches.items()}
        held_content = {key: branch.prepare(batch.take(held.rows)) for key, branch in self.branches.items()}
        batches = _Batches(train, train_content, self.config.batch_size)
        rng = generator(seed, "classifier.augment")

        def loss(net: nn.Module, rows: Int64[np.ndarray, " batch"]) -> Tensor:
            return self._loss(net, train, train_content, rows, rng)

        def held_out_score() -> float:
            return score(held.labels, self._run(held_content, len(held.rows)))

        self._train(batches, loss, held_out_score if len(held.rows) else None, seed)
        return self

    def log_probability(self, batch: ContentBatch) -> LogProbability:
        prepared = {key: branch.prepare(batch) for key, branch in self.branches.items()}
        return self._run(prepared, len(batch))

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: tensor.detach().cpu().numpy() for name, tensor in self._fitted().state_dict().items()}

    def facts(self) -> dict[str, Any]:
        return {
            "branches": {key: branch.facts for key, branch in self.branches.items()},
            "num_classes": self._fitted().out.out_features,
        }

    def restore(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        self.branches = {
            key: make_branch(key, branch, facts["branches"][key]) for key, branch in self.config.branches.items()
        }
        for key, branch in self.branches.items():
            prefix = f"nets.{key}."
            branch.widen({k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)})
        self.net = self._build(facts["num_classes"])
        self.net.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items()})
        self.net.eval()
        return self

    def _train(
        self,
        batches: _Batches,
        loss: Callable[[nn.Module, Int64[np.ndarray, " batch"]], Tensor],
        score: Callable[[], float] | None,
        seed: int,
    ) -> None:
        """Train the network; pretrained parts stay frozen until the new layers are trained, since a random head would distort their weights.

        Source: Kumar et al., Fine-tuning can distort pretrained features, ICLR 2022 (LP-FT).
        """
        net, trainer = self._fitted(), self.config.trainer
        pretrained = _pretrained(net)
        tuned = [part for key, part in pretrained.items() if self.config.branches[key].fine_tune]
        for part in pretrained.values():
            part.hold(True)
        if not tuned:
            self.training_history = train_network(net, batches, loss, score, trainer, seed=seed, name=self.name)
            return
        first = trainer.model_copy(update={"epochs": self.config.head_epochs})
        head_history = train_network(net, batches, loss, score, first, seed=seed, name=f"{self.name} head")
        before = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
        for part in tuned:
            part.hold(False)
        fine_tuning = trainer.model_copy(update={"learning_rate": trainer.learning_rate * self.config.fine_tune_rate})
        whole_history = train_network(net, batches, loss, score, fine_tuning, seed=seed + 1, name=f"{self.name} whole")
        self.training_history = whole_history
        if score is not None and whole_history.scores[whole_history.best] < head_history.scores[head_history.best]:
            net.load_state_dict(before)
            self.training_history = head_history

    def _build(self, num_classes: int) -> _Net:
        nets = {key: branch.network(self.config.dim) for key, branch in self.branches.items()}
        fusion = LAYERS.load(self.config.fusion)(len(nets), self.config.dim) if len(nets) > 1 else None
        return _Net(nets, fusion, self.config.dim, num_classes, self.config.dropout).to(self.device)

    def _fitted(self) -> _Net:
        if self.net is None:
            raise RuntimeError(f"{self.name} is not fitted")
        return self.net

    def _inputs(
        self,
        prepared: Mapping[str, list[Prepared]],
        rows: Int64[np.ndarray, " batch"],
        change: BranchAugmentationConfig | None,
        rng: np.random.Generator,
    ) -> _Inputs:
        chosen = {key: [values[row] for row in rows] for key, values in prepared.items()}
        present = np.stack([[value is not None for value in values] for values in chosen.values()], axis=1)
        parts = {key: self.branches[key].batch(values, self.device, change, rng) for key, values in chosen.items()}
        return _Inputs(parts, torch.as_tensor(present, device=self.device))

    def _loss(
        self,
        net: Any,
        train: TrainingSet,
        prepared: Mapping[str, list[Prepared]],
        rows: Int64[np.ndarray, " batch"],
        rng: np.random.Generator,
    ) -> Tensor:
        inputs = self._inputs(prepared, rows, self.config.augment, rng)
        present = drop_modalities(inputs.present, self.config.modality_dropout)
        fused, values = net.fuse(inputs.parts, present)
        target = functional.one_hot(torch.as_tensor(train.labels[rows]), train.num_classes).float().to(self.device)
        weight = torch.as_tensor(train.weight[rows], dtype=torch.float32, device=self.device)
        if self.config.mixup > 0:
            partner, share = (
                torch.as_tensor(a, device=self.device) for a in draw_mixup(len(rows), self.config.mixup, rng)
            )
            fused = share[:, None] * fused + (1 - share[:, None]) * fused[partner]
            target = share[:, None] * target + (1 - share[:, None]) * target[partner]
        loss = (weight * focal(net.classify(fused), target, train.focus)).mean()
        if self.config.align:
            loss = loss + self.config.align * alignment(values, inputs.present)
        return loss

    @torch.inference_mode()
    def _run(self, prepared: Mapping[str, list[Prepared]], count: int) -> LogProbability:
        net = self._fitted().eval()
        rng = np.random.default_rng(0)
        parts = []
        for start in range(0, count, self.config.batch_size):
            rows = np.arange(start, min(start + self.config.batch_size, count))
            inputs = self._inputs(prepared, rows, None, rng)
            logits = net.classify(net.fuse(inputs.parts, inputs.present)[0])
            parts.append(torch.log_softmax(logits.double(), dim=1).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, net.out.out_features))


def focal(logits: Float[Tensor, "B C"], target: Float[Tensor, "B C"], gamma: float) -> Float[Tensor, "B"]:
    """Return cross-entropy of each sample; with gamma above 0, samples with a high probability of the true class count less.

    Source: Lin et al., Focal loss for dense object detection, ICCV 2017, without alpha, which sample weights are.
    """
    found = torch.log_softmax(logits, dim=1)
    return -(target * (1 - found.exp()) ** gamma * found).sum(1)


@dataclass
class _Inputs:
    """One batch: values and lengths of each branch, and which modalities are present."""

    parts: dict[str, tuple[Tensor, Tensor]]
    present: Bool[Tensor, "B M"]


class _Net(nn.Module):
    def __init__(
        self, nets: Mapping[str, nn.Module], fusion: FusionLayer | None, dim: int, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(nets)
        self.fusion = fusion
        self.norm, self.drop = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.out = nn.Linear(dim, num_classes)

    def fuse(
        self, parts: Mapping[str, tuple[Tensor, Tensor]], present: Bool[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B M D"]]:
        """Return the fused vectors, and one vector for each branch."""
        if isinstance(self.fusion, CrossAttentionLayer):
            found = [_tokens(net, *parts[key]) for key, net in self.nets.items()]
            tokens, real = [one for one, _ in found], [mask for _, mask in found]
            means = [(t * m[..., None]).sum(1) / m.sum(1, keepdim=True).clamp(min=1) for t, m in found]
            return self.fusion.fuse_tokens(tokens, real, present), torch.stack(means, dim=1)
        values = torch.stack([net(*parts[key]) for key, net in self.nets.items()], dim=1)
        shown = values * present[..., None]
        return (shown[:, 0] if self.fusion is None else self.fusion(shown, present)), values

    def classify(self, fused: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        logits: Tensor = self.out(self.drop(self.norm(fused)))
        return logits


def _tokens(net: nn.Module, values: Tensor, lengths: Tensor) -> tuple[Float[Tensor, "B T D"], Bool[Tensor, "B T"]]:
    """Return the tokens of a branch; one that gives a vector has one."""
    if isinstance(net, TunedNet):
        return net.tokens(values, lengths)
    vector = net(values, lengths)[:, None]
    return vector, torch.ones_like(vector[..., 0], dtype=torch.bool)


def _pretrained(net: _Net) -> dict[str, TunedNet | VisionNet]:
    """Return the branches with pretrained weights that can be trained, which a random head would distort."""
    found: dict[str, TunedNet | VisionNet] = {}
    for key, part in net.nets.items():
        if (isinstance(part, TunedNet) and part.is_trainable) or (
            isinstance(part, VisionNet) and part.vision.is_pretrained
        ):
            found[key] = part
    return found


class _Batches:
    """Batches of training rows of about equal length, drawn by their sampling weights."""

    def __init__(self, train: TrainingSet, prepared: Mapping[str, list[Prepared]], size: int) -> None:
        self.train, self.size = train, size
        lengths = [[0 if value is None else len(value) for value in values] for values in prepared.values()]
        self._length = np.max(lengths, axis=0)

    def epoch(self, rng: np.random.Generator) -> Iterator[Int64[np.ndarray, " batch"]]:
        """Yield as many samples as there are: each once, or drawn by sampling weight where weights differ."""
        count = len(self.train.rows)
        sampling_weight = self.train.sampling_weight
        even = np.allclose(sampling_weight, 1.0)
        rows = rng.permutation(count) if even else rng.choice(count, count, p=sampling_weight / sampling_weight.sum())
        pools = [rows[start : start + 20 * self.size] for start in range(0, count, 20 * self.size)]
        for pool in pools:
            ordered = pool[np.argsort(self._length[pool], kind="stable")]
            groups = [ordered[start : start + self.size] for start in range(0, len(pool), self.size)]
            for place in rng.permutation(len(groups)):
                if len(groups[place]) > 1:  # batch normalisation needs two
                    yield groups[place]

    def num_batches(self) -> int:
        """Return the approximate number of batches of an epoch."""
        return max(1, -(-len(self.train.rows) // self.size))
