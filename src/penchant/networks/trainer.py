"""The training loop of every network.

In: a network, batches (drawn again each epoch), a loss, and a score on held-out data. Out: the network with the weights of its best epoch.
An interrupted run resumes after its last complete epoch; a loss that is not finite ends training and keeps the best weights so far.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from penchant.core.artifacts import open_artifact, write_artifact
from penchant.core.config import Settings
from penchant.core.errors import ArtifactError, TrainingError
from penchant.core.logs import logger, progress_bar
from penchant.core.seeds import generator
from penchant.networks.division import Alone, Division

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)
KIND = "checkpoint"


class TrainerConfig(Settings):
    """Length, learning rate and hardware of training."""

    epochs: int = Field(12, ge=1)
    """Maximum number of epochs; the learning rate decays over them (cosine)."""
    minutes: float | None = Field(None, gt=0)
    """Wall-clock limit, checked after each epoch; None sets none. With a limit, equal seeds may give different results."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of all steps in which the learning rate rises linearly."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay of weight matrices; biases, norms and embeddings have none."""
    clip: float = Field(5.0, gt=0)
    """Maximum gradient norm."""
    patience: int = Field(3, ge=1)
    """Epochs without a better held-out score before training stops."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU, float32 elsewhere."""
    compile: bool = False
    """Use torch.compile: minutes of compilation, worth it for long runs on a GPU."""
    device: str = "auto"
    """auto: the first GPU if there is one, else the CPU."""


@runtime_checkable
class Batches(Protocol[B_co]):
    """A source of training batches."""

    def epoch(self, rng: np.random.Generator) -> Iterator[B_co]:
        """Yield batches in random order."""

    def num_batches(self) -> int:
        """Return the approximate number of batches in an epoch."""


@dataclass
class TrainingHistory:
    """Losses and scores by epoch.

    Attributes:
        losses: Mean loss of each epoch.
        scores: Held-out score of each epoch; higher is better.
        seconds: Duration of each epoch.
        best: Index of the epoch whose weights are kept, from 0; -1 before the first.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: int = -1


def train(
    network: nn.Module,
    batches: Batches[B],
    loss: Callable[[nn.Module, B], Tensor],
    score: Callable[[], float] | None,
    config: TrainerConfig,
    *,
    seed: int,
    name: str,
    checkpoint: Path | None = None,
    report: Callable[[int, float], None] | None = None,
    rates: Mapping[str, float] | None = None,
    division: Division[B] | None = None,
) -> TrainingHistory:
    """Train a network in place; it ends with the weights of its best epoch.

    Args:
        network: Already on the device it is trained on.
        batches: Source of training batches.
        loss: Loss of one batch, in training mode.
        score: Held-out score, in evaluation mode; None keeps the last epoch.
        config: Epochs, rates, limits.
        seed: Seeds batch order and dropout.
        name: Name in log lines.
        checkpoint: Folder for the last complete epoch; finished training is not repeated. None keeps no checkpoint.
        report: Called with each epoch and its score; may raise to stop (pruning in a search).
        rates: Start of a parameter's name to its peak learning rate, where it is not that of the settings.
        division: How each batch is divided among processes, each of which calls this with the same arguments; None learns from it as a whole.

    Raises:
        TrainingError: The loss is infinite or NaN.
        PeerLostError: Another process of the training went away.
    """
    peers = Alone() if division is None else division.peers
    training = _Training(network, config, max(1, config.epochs * batches.num_batches()), rates or {})
    history, best, done = TrainingHistory(), _weights(network), 0
    if checkpoint is not None and peers.rank == 0 and (found := training.resume(checkpoint)):
        history, best = found
        done = len(history.losses)
        logger.info("  %s: resumes after epoch %d", name, done)
    if peers.size > 1:  # another process may not reach the checkpoint
        history, best, done, state = peers.same((history, best, done, training.state()))
        training.restore(state)
    forward = torch.compile(network) if config.compile else network
    began = time.perf_counter()
    for epoch in range(done, config.epochs if done - 1 - history.best < config.patience else done):
        torch.manual_seed(seed * 1_000_003 + epoch)
        epoch_began = time.perf_counter()
        rng = generator(seed, f"train.{epoch}")
        mean = training.epoch(forward, batches, loss, rng, f"{name} epoch {epoch + 1}", division, (seed, epoch))
        if not math.isfinite(mean):
            network.load_state_dict(best)
            raise TrainingError(
                f"The loss became {mean} in epoch {epoch + 1}.",
                where=f"{name}; the weights of epoch {history.best + 1} are kept",
                fix="lower learning_rate (for example to a third), or look for extreme values in the content vectors",
            )
        network.eval()
        value = float(epoch)
        if score is not None:
            value = peers.same(score() if peers.rank == 0 else 0.0)
        history.losses.append(mean)
        history.scores.append(value)
        history.seconds.append(time.perf_counter() - epoch_began)
        if history.best < 0 or value > history.scores[history.best]:
            history.best, best = epoch, _weights(network)
        held_out = f", held-out {value:.4f}" if score is not None else ""
        if peers.rank == 0:
            logger.info("  %s epoch %d: loss %.4f%s, %.1f s", name, epoch + 1, mean, held_out, history.seconds[-1])
        if checkpoint is not None and peers.rank == 0:
            training.keep(checkpoint, history, best)
        if report is not None:
            report(epoch, value)
        late = config.minutes is not None and peers.same(time.perf_counter() - began) > 60 * config.minutes
        if late or epoch - history.best >= config.patience:
            break
    network.load_state_dict(best)
    network.eval()
    return history


def pick_device(name: str) -> torch.device:
    """Return the device named in the settings.

    Raises:
        TrainingError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"There is no device {name!r} here.", where="trainer.device", fix='set it to "auto" or "cpu"'
        ) from error
    return device


class _Training:
    """A network with its optimizer and learning-rate schedule."""

    def __init__(self, network: nn.Module, config: TrainerConfig, steps: int, rates: Mapping[str, float]) -> None:
        self.network, self.config = network, config
        tables = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
        grouped: dict[tuple[float, float], list[Tensor]] = {}
        for name, weight in network.named_parameters():
            if weight.requires_grad:
                rate = next((own for start, own in rates.items() if name.startswith(start)), config.learning_rate)
                decay = config.weight_decay if weight.ndim >= 2 and id(weight) not in tables else 0.0
                grouped.setdefault((rate, decay), []).append(weight)
        # decayed first, as checkpoints number them
        groups = [
            {"params": grouped[key], "lr": key[0], "weight_decay": key[1]}
            for key in sorted(grouped, key=lambda key: (key[1] == 0.0, key[0]))
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        rise = max(1, round(config.warmup * steps))

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return max(0.02, 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(steps - rise, 1)))))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def epoch(
        self,
        forward: Any,
        batches: Batches[B],
        loss: Callable[[nn.Module, B], Tensor],
        rng: np.random.Generator,
        title: str,
        division: Division[B] | None,
        seeds: tuple[int, int],
    ) -> float:
        """Return the mean loss of one epoch; returns early at a loss that is not finite, before the weights are updated."""
        forward.train()
        total, count = 0.0, 0
        device, precision = next(self.network.parameters()).device, self.config.precision
        half = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
        with progress_bar(title, batches.num_batches()) as bar:
            for batch in batches.epoch(rng):
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    if division is None:
                        number = self._learn(forward, batch, loss)
                    else:
                        number = self._learn_parts(forward, batch, loss, division, f"{seeds[1]}.{count}", seeds[0])
                if not math.isfinite(number):
                    return number
                nn.utils.clip_grad_norm_(forward.parameters(), self.config.clip)
                self.optimizer.step()
                self.schedule.step()
                total, count = total + number, count + 1
                bar.advance()
        return total / max(count, 1)

    def _learn(self, forward: Any, batch: B, loss: Callable[[nn.Module, B], Tensor]) -> float:
        """Set the gradients of a batch and return its loss; no gradients at a loss that is not finite."""
        value = loss(forward, batch)
        self.optimizer.zero_grad(set_to_none=True)
        if math.isfinite(number := float(value.detach())):
            with torch.autocast(value.device.type, enabled=False):
                value.backward()  # type: ignore[no-untyped-call]
        return number

    def _learn_parts(
        self,
        forward: Any,
        batch: B,
        loss: Callable[[nn.Module, B], Tensor],
        division: Division[B],
        step: str,
        seed: int,
    ) -> float:
        """Set the gradients of a batch, summed over its parts in their order, and return its loss.

        Each part has a seed of its own for dropout and draws, so that it does not matter which process computes it.
        """
        parts, peers = division.split(batch), division.peers
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        sizes = [weight.numel() for weight in weights]
        device = weights[0].device
        rows = torch.zeros(-(-len(parts) // peers.size), sum(sizes) + 1, device=device)
        for row, place in enumerate(range(peers.rank, len(parts), peers.size)):
            part, share = parts[place]
            torch.manual_seed(int(generator(seed, f"train.{step}.{place}").integers(2**62)))
            rows[row, -1] = share * self._learn(forward, part, loss)
            found = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
            torch.mul(torch.cat([grad.flatten() for grad in found]), share, out=rows[row, :-1])
        by_rank = peers.gathered(rows)
        total = torch.zeros_like(rows[0])
        for place in range(len(parts)):
            total += by_rank[place % peers.size][place // peers.size]
        for weight, grad in zip(weights, torch.split(total[:-1], sizes), strict=True):
            weight.grad = grad.view_as(weight).clone()
        return float(total[-1])

    def state(self) -> tuple[Any, ...]:
        """Return weights, moments and the step of the schedule."""
        return _weights(self.network), self.optimizer.state_dict()["state"], self.schedule.last_epoch

    def restore(self, state: tuple[Any, ...]) -> None:
        """Continue from what `state` returned, there or here."""
        weights, moments, step = state
        optimizer, schedule = self.optimizer, self.schedule
        self.network.load_state_dict(weights)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        schedule.load_state_dict({**schedule.state_dict(), "last_epoch": step, "_step_count": step + 1})
        for group, base in zip(optimizer.param_groups, schedule.base_lrs, strict=True):
            group["lr"] = base * schedule.lr_lambdas[0](step)

    def keep(self, folder: Path, history: TrainingHistory, best: dict[str, Tensor]) -> None:
        """Write everything needed to resume, in one step."""

        def write(staging: Path) -> None:
            save_file(_weights(self.network), staging / "network.safetensors")
            save_file(best, staging / "best.safetensors")
            states = self.optimizer.state_dict()["state"]
            moments = {f"{row}.{key}": value for row, state in states.items() for key, value in state.items()}
            save_file(moments, staging / "optimizer.safetensors")
            facts = {**vars(history), "step": self.schedule.last_epoch}
            (staging / "history.json").write_text(json.dumps(facts), encoding="utf-8")

        write_artifact(folder, write, kind=KIND)

    def resume(self, folder: Path) -> tuple[TrainingHistory, dict[str, Tensor]] | None:
        """Restore what `keep` wrote; a damaged checkpoint, or one of another network, is ignored with a warning."""
        try:
            open_artifact(folder, kind=KIND)
            weights = load_file(folder / "network.safetensors")
            self.network.load_state_dict(weights)
        except (ArtifactError, RuntimeError) as error:
            if folder.exists():
                logger.warning("  the checkpoint in %s is not used: %s", folder.name, str(error).splitlines()[0])
            return None
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(folder / "optimizer.safetensors").items():
            row, _, part = key.partition(".")
            state.setdefault(int(row), {})[part] = value
        facts = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        self.restore((weights, state, facts.pop("step")))
        return TrainingHistory(**facts), load_file(folder / "best.safetensors")


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
