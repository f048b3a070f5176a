"""A network classifier with one branch per modality, a fusion layer and a linear head.

In: a `ContentBatch`. Out: logarithms of probability. Fusion is at feature level (concat, gated) or model level (attention), with a mask of what is there.
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
from penchant.classifiers.classifier import Classifier, ContentBatch, Judge, LogProbability, TrainingSet
from penchant.core.config import Settings
from penchant.core.errors import ConfigError
from penchant.core.seeds import generator
from penchant.data.media.augmentation import draw_mixup
from penchant.fusion import LAYERS
from penchant.fusion.layers import FusionLayer, drop_modalities
from penchant.networks.image_nets import VisionNet
from penchant.networks.trainer import TrainerConfig, pick_device
from penchant.networks.trainer import train as teach


class NetworkConfig(Settings):
    """Its branches and how it learns."""

    branches: dict[str, BranchConfig] = {}
    """What it reads, by name."""
    fusion: str = "concat"
    """How several branches become one vector; of no effect with one."""
    dim: int = Field(64, ge=4)
    """Width of each branch and of what they become."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the fused vector dropped in training."""
    modality_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of modalities hidden in training, so that any can be missing later."""
    mixup: float = Field(0.0, ge=0)
    """Above 0, fused vectors of two samples are mixed in training, shares drawn from Beta(mixup, mixup)."""
    augment: BranchAugmentationConfig | None = None
    """How raw content changes in training; None leaves it as it is."""
    batch_size: int = Field(64, ge=2)
    """Samples of one step."""
    trainer: TrainerConfig = TrainerConfig(epochs=20, patience=5)
    """Epochs and rates."""
    head_epochs: int = Field(5, ge=1)
    """Where a branch fine-tunes what was trained before: epochs in which only the rest learns; then all of it does."""
    fine_tune_rate: float = Field(0.1, gt=0, le=1)
    """Share of the learning rate at which all of it then learns."""


class NetworkClassifier(Classifier[NetworkConfig]):
    """Branches, a fusion layer, and a linear map to classes."""

    config_class = NetworkConfig

    def __init__(self, config: NetworkConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        if not self.config.branches:
            raise ConfigError(
                "The network reads nothing.",
                where=f"classifiers.{name}.branches",
                fix='add [classifiers.NAME.branches.text] with modality = "text" (or channel = "...")',
            )
        self.branches = {key: make_branch(key, branch) for key, branch in self.config.branches.items()}
        self.net: _Net | None = None
        self.device = torch.device("cpu")

    def modalities(self, view: ContentBatch) -> tuple[str, ...]:
        return tuple(dict.fromkeys(branch.modality(view) for branch in self.branches.values()))

    def present(self, view: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return np.any([branch.present(view) for branch in self.branches.values()], axis=0)

    def fit(self, view: ContentBatch, train: TrainingSet, validation: TrainingSet, judge: Judge, *, seed: int) -> Self:
        has = self.present(view)
        lesson, held = train.where(has[train.rows]), validation.where(has[validation.rows])
        self.device = pick_device(self.config.trainer.device)
        for branch in self.branches.values():
            branch.learn(view, lesson.rows)
            branch.vary(view.take(lesson.rows), self.config.augment)
        torch.manual_seed(seed)
        self.net = self._build(lesson.num_classes)
        learnt = {key: branch.prepare(view.take(lesson.rows)) for key, branch in self.branches.items()}
        seen = {key: branch.prepare(view.take(held.rows)) for key, branch in self.branches.items()}
        batches = _Batches(lesson, learnt, self.config.batch_size)
        rng = generator(seed, "classifier.augment")

        def loss(net: nn.Module, batch: Int64[np.ndarray, " batch"]) -> Tensor:
            return self._loss(net, lesson, learnt, batch, rng)

        def score() -> float:
            return judge(held.labels, self._run(seen, len(held.rows)))

        self._teach(batches, loss, score if len(held.rows) else None, seed)
        return self

    def log_probability(self, view: ContentBatch) -> LogProbability:
        prepared = {key: branch.prepare(view) for key, branch in self.branches.items()}
        return self._run(prepared, len(view))

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

    def _teach(
        self,
        batches: _Batches,
        loss: Callable[[nn.Module, Int64[np.ndarray, " batch"]], Tensor],
        score: Callable[[], float] | None,
        seed: int,
    ) -> None:
        """Teach the network; what was trained before joins in once the rest has learned, lest its weights be torn about by a new head.

        Source: Kumar et al., Fine-tuning can distort pretrained features, ICLR 2022 (LP-FT).
        """
        net, trainer = self._fitted(), self.config.trainer
        sights = {
            key: part for key, part in net.nets.items() if isinstance(part, VisionNet) and part.vision.is_pretrained
        }
        tuned = [part for key, part in sights.items() if self.config.branches[key].fine_tune]
        for part in sights.values():
            part.hold(True)
        if not tuned:
            teach(net, batches, loss, score, trainer, seed=seed, name=self.name)
            return
        first = trainer.model_copy(update={"epochs": self.config.head_epochs})
        course = teach(net, batches, loss, score, first, seed=seed, name=f"{self.name} head")
        before = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
        for part in tuned:
            part.hold(False)
        gently = trainer.model_copy(update={"learning_rate": trainer.learning_rate * self.config.fine_tune_rate})
        then = teach(net, batches, loss, score, gently, seed=seed + 1, name=f"{self.name} whole")
        if score is not None and then.scores[then.best] < course.scores[course.best]:
            net.load_state_dict(before)

    def _build(self, num_classes: int) -> _Net:
        nets = {key: branch.network(self.config.dim) for key, branch in self.branches.items()}
        fusion = LAYERS.load(self.config.fusion)(len(nets), self.config.dim) if len(nets) > 1 else None
        return _Net(nets, fusion, self.config.dim, num_classes, self.config.dropout).to(self.device)

    def _fitted(self) -> _Net:
        if self.net is None:
            raise RuntimeError(f"{self.name} has not learned anything yet")
        return self.net

    def _inputs(
        self,
        prepared: Mapping[str, list[Prepared]],
        rows: Int64[np.ndarray, " batch"],
        change: BranchAugmentationConfig | None,
        rng: np.random.Generator,
    ) -> _Inputs:
        batch = {key: [values[row] for row in rows] for key, values in prepared.items()}
        present = np.stack([[value is not None for value in values] for values in batch.values()], axis=1)
        parts = {key: self.branches[key].batch(values, self.device, change, rng) for key, values in batch.items()}
        return _Inputs(parts, torch.as_tensor(present, device=self.device))

    def _loss(
        self,
        net: Any,
        lesson: TrainingSet,
        prepared: Mapping[str, list[Prepared]],
        rows: Int64[np.ndarray, " batch"],
        rng: np.random.Generator,
    ) -> Tensor:
        inputs = self._inputs(prepared, rows, self.config.augment, rng)
        present = drop_modalities(inputs.present, self.config.modality_dropout)
        fused = net.fuse(inputs.parts, present)
        target = functional.one_hot(torch.as_tensor(lesson.labels[rows]), lesson.num_classes).float().to(self.device)
        weight = torch.as_tensor(lesson.weight[rows], dtype=torch.float32, device=self.device)
        if self.config.mixup > 0:
            partner, share = (
                torch.as_tensor(a, device=self.device) for a in draw_mixup(len(rows), self.config.mixup, rng)
            )
            fused = share[:, None] * fused + (1 - share[:, None]) * fused[partner]
            target = share[:, None] * target + (1 - share[:, None]) * target[partner]
        return (weight * focal(net.classify(fused), target, lesson.focus)).mean()

    @torch.inference_mode()
    def _run(self, prepared: Mapping[str, list[Prepared]], count: int) -> LogProbability:
        net = self._fitted().eval()
        rng = np.random.default_rng(0)
        parts = []
        for start in range(0, count, self.config.batch_size):
            rows = np.arange(start, min(start + self.config.batch_size, count))
            inputs = self._inputs(prepared, rows, None, rng)
            logits = net.classify(net.fuse(inputs.parts, inputs.present))
            parts.append(torch.log_softmax(logits.double(), dim=1).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, net.out.out_features))


def focal(logits: Float[Tensor, "B C"], target: Float[Tensor, "B C"], gamma: float) -> Float[Tensor, "B"]:
    """Return cross-entropy of each sample; with gamma above 0, less of it for samples that are already known.

    Source: Lin et al., Focal loss for dense object detection, ICCV 2017, without alpha, which sample weights are.
    """
    found = torch.log_softmax(logits, dim=1)
    return -(target * (1 - found.exp()) ** gamma * found).sum(1)


@dataclass
class _Inputs:
    """One batch: each branch's values and lengths, and what is there."""

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

    def fuse(self, parts: Mapping[str, tuple[Tensor, Tensor]], present: Bool[Tensor, "B M"]) -> Float[Tensor, "B D"]:
        values = torch.stack([net(*parts[key]) for key, net in self.nets.items()], dim=1)
        values = values * present[..., None]
        return values[:, 0] if self.fusion is None else self.fusion(values, present)

    def classify(self, fused: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        logits: Tensor = self.out(self.drop(self.norm(fused)))
        return logits


class _Batches:
    """Batches of places in a lesson, of about equal length, drawn as the lesson says."""

    def __init__(self, lesson: TrainingSet, prepared: Mapping[str, list[Prepared]], size: int) -> None:
        self.lesson, self.size = lesson, size
        lengths = [[0 if value is None else len(value) for value in values] for values in prepared.values()]
        self._length = np.max(lengths, axis=0)

    def epoch(self, rng: np.random.Generator) -> Iterator[Int64[np.ndarray, " batch"]]:
        """Yield as many samples as there are: each once, or drawn by their chance where it is not even."""
        count = len(self.lesson.rows)
        chance = self.lesson.chance
        even = np.allclose(chance, 1.0)
        rows = rng.permutation(count) if even else rng.choice(count, count, p=chance / chance.sum())
        pools = [rows[start : start + 20 * self.size] for start in range(0, count, 20 * self.size)]
        for pool in pools:
            ordered = pool[np.argsort(self._length[pool], kind="stable")]
            groups = [ordered[start : start + self.size] for start in range(0, len(pool), self.size)]
            for place in rng.permutation(len(groups)):
                if len(groups[place]) > 1:  # batch normalisation needs two
                    yield groups[place]

    def num_batches(self) -> int:
        """Return about how many."""
        return max(1, -(-len(self.lesson.rows) // self.size))
