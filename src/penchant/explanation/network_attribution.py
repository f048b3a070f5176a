"""Attribution for networks over histories: which past events, and which modality of them, a network's score comes from.

In: a fitted network (`models/sequence.py`), the items' content, one user's history, an item. Out: a number for each event and part of its
token, with the checks that this very explanation passed or failed. Integrated gradients are captum's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from penchant.core.errors import ConfigError, NotFoundError, nearest
from penchant.core.messages import Message, message
from penchant.core.notebook import table_html
from penchant.core.schema import BEHAVIOUR, LATEST, Content, Histories
from penchant.explanation.attribution import METHODS, Method
from penchant.explanation.faithfulness import agreement
from penchant.language.hub import package_folder
from penchant.models.ensemble import Ensemble
from penchant.models.member import FittedItems
from penchant.models.sequence import Sequence as Network
from penchant.networks.backbones import last_state
from penchant.networks.sequences import WindowBatch, recent_windows

AT_ONCE = 128
"""Versions of a window that occlusion runs through the network together."""
STEPS = 32
"""Points of the path of integrated gradients."""
MOST = 5
"""Events that are deleted or inserted at most in the check of one explanation."""
DRAWS = 10
"""Random orders of events that the check compares with."""
LOOSE = 0.5
"""Rank correlation with the attribution of a network without knowledge, at most."""


@dataclass(frozen=True)
class Check:
    """What one check of an attribution found.

    Attributes:
        name: deletion, insertion or randomisation.
        value: Loss or rise of the log-probability, mean over 1 to `MOST` events; or a rank correlation.
        against: The same of random events; or the largest correlation that passes.
        passes: Whether the attribution may be believed by it; None where the history is too short to say.
    """

    name: str
    value: float
    against: float
    passes: bool | None


@dataclass(frozen=True)
class NetworkAttribution:
    """Why a network gives one item its probability after one history.

    Attributes:
        user_id: The user.
        item_id: The item.
        title: Its title.
        member: The network.
        method: integrated_gradients or occlusion.
        events: (item id, title, attribution) of each event that was read, in the order of time.
        parts: The parts of a token: content channels, then "behaviour": what the item's id adds to its content.
        values: (events, parts) attribution of each part, to the item's log-probability.
        log_probability: Of the item, after the history.
        baseline: The same where every token has the mean content, and no id.
        checks: Of this explanation.
    """

    user_id: str
    item_id: str
    title: str
    member: str
    method: Method
    events: tuple[tuple[str, str, float], ...]
    parts: tuple[str, ...]
    values: Float64[np.ndarray, "events parts"]
    log_probability: float
    baseline: float
    checks: tuple[Check, ...]

    def by_part(self) -> dict[str, float]:
        """Return the sum over the events, by part of the token."""
        return dict(zip(self.parts, self.values.sum(0).tolist(), strict=True))

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that this explanation failed."""
        return tuple(check.name for check in self.checks if check.passes is False)

    @property
    def text(self) -> Message:
        """Whether the attribution may be believed, as a sentence."""
        known: dict[str, Any] = {"member": self.member, "method": self.method.replace("_", " ")}
        if self.failed:
            return message(
                "{method} of {member} fails its own checks here ({checks}): do not take it for the reason.",
                **known,
                checks=self.failed,
            )
        if any(check.passes is None for check in self.checks):
            return message("{method} of {member}: the history is too short for all of its checks.", **known)
        return message("{method} of {member} passes its checks: deletion, insertion, random parameters.", **known)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        rows = [dict(zip(self.parts, row, strict=True)) for row in self.values.tolist()]
        events = [
            {"item_id": item, "title": title, "attribution": value, "parts": parts}
            for (item, title, value), parts in zip(self.events, rows, strict=True)
        ]
        return {
            **{name: getattr(self, name) for name in ("user_id", "item_id", "title", "member", "method")},
            "log_probability": self.log_probability,
            "baseline": self.baseline,
            "by_part": self.by_part(),
            "events": events,
            "checks": [asdict(check) for check in self.checks],
            "failed": list(self.failed),
            "text": str(self.text),
        }

    def _repr_html_(self) -> str:
        strongest = sorted(self.events, key=lambda one: -abs(one[2]))[:10]
        rows = [(title, f"{value:+.4f}") for _, title, value in strongest]
        return table_html(f"{self.title} for {self.user_id}; {self.text}", ("event", "attribution"), rows)


def networks_of(ensemble: Ensemble) -> dict[str, Network]:
    """Return the networks over histories among the members, by name; one whose catalog has grown is returned as it was fitted."""
    found = {name: m.member if isinstance(m, FittedItems) else m for name, m in ensemble.members.items()}
    return {name: one for name, one in found.items() if isinstance(one, Network) and one.network is not None}


def pick_network(ensemble: Ensemble, name: str | None) -> tuple[str, Network]:
    """Return a network of the ensemble; the first where no name is given.

    Raises:
        NotFoundError: The bundle has no network, or none of this name.
    """
    networks = networks_of(ensemble)
    if name is None and networks:
        return next(iter(networks.items()))
    if name in networks:
        return name, networks[name]
    what = "no network over histories" if name is None else f"no network over histories named {name!r}"
    members = ", ".join(ensemble.members)
    fix = (
        nearest(name or "", networks)
        if networks
        else f"explain the score itself, which is exact; members are {members}"
    )
    raise NotFoundError(f"The bundle has {what}.", where="members", fix=fix)


class TokenReader(nn.Module):
    """The log-probability of one item as a function of the tokens of a history.

    Args:
        network: Fitted.
        content: Over the catalog that the network scores.
        history: Exactly one user.
        row: The item.
    """

    def __init__(self, network: Network, content: Content, history: Histories, row: int) -> None:
        super().__init__()
        assert network.network is not None
        self.member, self.row = network, row
        self.batch = recent_windows(history, np.array([0]), network.config.max_length)
        rows = self.batch.items[0]  # (L,)
        items = network.network.items
        self.parts = tuple(network.bases)
        with torch.no_grad():
            whole = network.vectors[rows].float()
            if self.parts:
                known, self.present = network.content_of(content, range(len(network.vectors)))
                known, self.present = known[rows], self.present[rows]
                self.pieces = items.projected(known)  # (L, M, D)
                self.blank = items.projected(torch.zeros_like(known))
                whole = whole - items.scale * items.fuse(self.pieces, self.present)  # type: ignore[misc]
            self.rest = whole  # (L, D): the id, and what a trained encoder added

    def inputs(self) -> tuple[Tensor, ...]:
        """Return the tokens of the history, with a batch dimension: (1, L, M, D) content where it is read, (1, L, D) the rest."""
        return (self.pieces[None], self.rest[None]) if self.parts else (self.rest[None],)

    def baselines(self) -> tuple[Tensor, ...]:
        """Return tokens that say nothing: the mean content of the catalog, and no id."""
        rest = torch.zeros_like(self.rest)[None]
        return (self.blank[None], rest) if self.parts else (rest,)

    def forward(self, *tokens: Tensor) -> Float[Tensor, "B"]:
        """Return the log-probability of the item for each version of the tokens."""
        return self.of_vectors(self.vectors(*tokens))

    def vectors(self, *tokens: Tensor) -> Float[Tensor, "B L D"]:
        """Return the fused vectors of versions of the tokens."""
        assert self.member.network is not None
        items, (*pieces, rest) = self.member.network.items, tokens
        if not pieces:
            return rest
        present = self.present.repeat(len(rest), 1)
        fused = items.fuse(pieces[0].flatten(0, 1), present)  # type: ignore[misc]
        return rest + items.scale * fused.view_as(rest)

    def of_vectors(self, vectors: Float[Tensor, "B L D"]) -> Float[Tensor, "B"]:
        """Return the log-probability of the item for each version of the fused vectors."""
        assert self.member.network is not None
        count = len(vectors)
        states = self.member.network(vectors, _repeated(self.batch, count))
        states = last_state(states, self.batch.lengths.repeat(count) + 1)
        return torch.log_softmax(states @ self.member.vectors.T, dim=1)[:, self.row]

    @torch.no_grad()
    def occluded(self, *, parts: bool) -> Float64[np.ndarray, "events versions"]:
        """Return the log-probability where each event in turn says nothing; with `parts`, also where each of its parts does.

        Only one vector of the window changes, so that each version is fused once, alone.

        Cost: one forward pass of the window for each version, in batches.
        """
        tokens, blank = self.inputs(), self.baselines()
        versions = [self.vectors(*blank)]
        for place in range(len(self.parts) if parts else 0):
            pieces = tokens[0].clone()
            pieces[:, :, place] = blank[0][:, :, place]
            versions.append(self.vectors(pieces, tokens[1]))
        if parts:
            versions.append(self.vectors(*tokens[:-1], blank[-1]))
        changed = torch.cat(versions)  # (V, L, D)
        whole, (count, length, _) = self.vectors(*tokens), changed.shape
        found = []
        for places in torch.split(torch.arange(count * length), AT_ONCE):
            windows = whole.repeat(len(places), 1, 1)
            version, event = places // length, places % length
            windows[torch.arange(len(places)), event] = changed[version, event]
            found.append(self.of_vectors(windows))
        return torch.cat(found).view(count, length).T.numpy().astype(np.float64)


def attribute_network(
    network: Network,
    content: Content,
    history: Histories,
    row: int,
    method: Method = "integrated_gradients",
    *,
    steps: int = STEPS,
) -> tuple[Float64[np.ndarray, " events"], Float64[np.ndarray, "events parts"], float, float]:
    """Return the attribution of each event that was read and of its parts, and the log-probability with the tokens and without.

    The sum over parts of integrated gradients is that over events, and all sum to the difference of the log-probabilities, up to the steps of
    the path. Occlusion replaces one event, or one part, by what says nothing; its sums need not agree.

    Cost: 32 forward and backward passes of one window; or events x (parts + 1) forward passes.

    Args:
        network: Fitted.
        content: Over its catalog.
        history: Exactly one user.
        row: The item.
        method: "integrated_gradients" or "occlusion".
        steps: Points of the path of integrated gradients.

    Raises:
        ConfigError: There is no such method.
        MissingExtraError: captum is not installed, which integrated gradients need.

    Source: Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017; Zeiler & Fergus, ECCV 2014 (occlusion).
    """
    if method not in METHODS:
        raise ConfigError(f"There is no method {method!r}.", where="method", fix=nearest(method, METHODS))
    reader = TokenReader(network, content, history, row).eval()
    length, width = len(reader.rest), len(reader.parts) + 1
    inputs, baselines = reader.inputs(), reader.baselines()
    with torch.no_grad():
        whole, base = (float(reader(*tokens)[0]) for tokens in (inputs, baselines))
    if not length:
        return np.zeros(0), np.zeros((0, width)), whole, base
    if method == "occlusion":
        found = whole - reader.occluded(parts=True)
        return found[:, 0], found[:, 1:], whole, base
    package_folder("captum", "explain")
    from captum.attr import IntegratedGradients

    values = _by_part(
        IntegratedGradients(reader).attribute(inputs, baselines, n_steps=steps, internal_batch_size=steps)
    )
    return values.sum(1), values, whole, base


def _of_events(
    network: Network, content: Content, history: Histories, row: int, method: Method
) -> Float64[np.ndarray, " events"]:
    """Return what `attribute_network` says of whole events; occlusion need not cover their parts for it."""
    if method == "occlusion":
        reader = TokenReader(network, content, history, row).eval()
        with torch.no_grad():
            return float(reader(*reader.inputs())[0]) - reader.occluded(parts=False)[:, 0]
    return attribute_network(network, content, history, row, method)[0]


def _by_part(found: Sequence[Tensor]) -> Float64[np.ndarray, "events parts"]:
    """Sum attributions over the width of a token: content (1, L, M, D), the rest (1, L, D)."""
    parts = [one[0].sum(-1) if one.ndim == 4 else one[0].sum(-1, keepdim=True) for one in found]
    return torch.cat(parts, dim=1).detach().numpy().astype(np.float64)


def _repeated(batch: WindowBatch, count: int) -> WindowBatch:
    fields = (batch.items, batch.weight, batch.gap, batch.lengths, batch.target)
    return WindowBatch(*(one.repeat(count, *([1] * (one.ndim - 1))) for one in fields))


def checked(
    network: Network,
    content: Content,
    history: Histories,
    row: int,
    method: Method,
    events: Float64[np.ndarray, " events"],
    rng: np.random.Generator,
) -> tuple[Check, ...]:
    """Return whether one attribution holds: without its strongest events, with these alone, and under parameters in random order.

    Args:
        network: Fitted.
        content: Over its catalog.
        history: Exactly one user; the last events, which the network reads.
        row: The item.
        method: Of the attribution.
        events: The attribution of each event that was read.
        rng: Draws random events and parameters.
    """
    num, most = len(events), min(MOST, len(events) // 2)
    if not most:
        return tuple(Check(name, 0.0, 0.0, None) for name in ("deletion", "insertion", "randomisation"))
    read = history.where(np.arange(history.num_events) >= history.num_events - num)
    dropped, risen = _curves(network, read, row, np.argsort(-events, kind="stable"), most, rng)
    other = with_random_parameters(network, rng)
    alike = agreement(events, _of_events(other, content, history, row, method))
    return (
        Check("deletion", dropped[0], dropped[1], dropped[0] > dropped[1]),
        Check("insertion", risen[0], risen[1], risen[0] > risen[1]),
        Check("randomisation", alike, LOOSE, None if np.isnan(alike) else abs(alike) <= LOOSE),
    )


def _curves(
    network: Network,
    history: Histories,
    row: int,
    order: Int64[np.ndarray, " events"],
    most: int,
    rng: np.random.Generator,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the mean loss without the strongest 1 to `most` events and the rise with these alone, each beside that of random events."""
    orders = [order, *(rng.permutation(len(order)) for _ in range(DRAWS))]
    kept: list[Bool[np.ndarray, " events"]] = [np.zeros(len(order), bool), np.ones(len(order), bool)]
    for one in orders:
        for size in range(1, most + 1):
            chosen = np.isin(np.arange(len(order)), one[:size])
            kept += [~chosen, chosen]
    scores = network.score(Histories.joined([history.where(keep) for keep in kept]))[:, row].astype(np.float64)
    logs = np.log(np.maximum(scores, 1e-30)) / network.config.sharpness
    empty, whole, *rest = logs
    by_order = np.array(rest).reshape(len(orders), most, 2)
    lost, risen = (whole - by_order[:, :, 0]).mean(1), (by_order[:, :, 1] - empty).mean(1)
    return (float(lost[0]), float(lost[1:].mean())), (float(risen[0]), float(risen[1:].mean()))


def with_random_parameters(network: Network, rng: np.random.Generator) -> Network:
    """Return a copy of the network with each of its weights, and the vectors of the items, in random order.

    Source: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018.
    """
    other = copy.copy(network)
    other.network = copy.deepcopy(network.network)
    assert other.network is not None

    def shuffled(tensor: Tensor) -> Tensor:
        flat = tensor.flatten()
        return flat[torch.from_numpy(rng.permutation(len(flat)))].view_as(tensor)

    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.copy_(shuffled(parameter))
        other.vectors = shuffled(network.vectors)
    return other


def explain_network(
    name: str,
    network: Network,
    content: Content,
    history: Histories,
    row: int,
    method: Method,
    *,
    item_ids: Sequence[str],
    titles: Sequence[str],
    seed: int = 0,
) -> NetworkAttribution:
    """Return the attribution of one score of a network, with its checks.

    Args:
        name: Of the network.
        network: Fitted.
        content: Over its catalog.
        history: Exactly one user.
        row: The item.
        method: "integrated_gradients" or "occlusion".
        item_ids: Of the catalog.
        titles: Of the catalog.
        seed: Of the checks' random events and parameters.

    Raises:
        ConfigError: There is no such method.
        NotFoundError: The item came after the network was fitted.
        MissingExtraError: captum is not installed.
    """
    if row >= len(network.vectors):
        raise NotFoundError(
            f"The network {name!r} does not know the item {item_ids[row]!r}.",
            where=f"members.{name}",
            fix="explain the score itself, or fit the bundle again",
        )
    asked = history if history.requested_at is not None else history.requested(LATEST)
    known = replace(asked.where(asked.item_index < len(network.vectors)), num_items=len(network.vectors))
    events, values, whole, base = attribute_network(network, content, known, row, method)
    checks = checked(network, content, known, row, method, events, np.random.default_rng(seed))
    read = known.item_index[known.num_events - len(events) :]
    told = tuple((item_ids[item], titles[item], float(value)) for item, value in zip(read, events, strict=True))
    parts = (*network.bases, BEHAVIOUR)
    return NetworkAttribution(
        known.user_ids[0], item_ids[row], titles[row], name, method, told, parts, values, whole, base, checks
    )
