"""Networks and encoders as ONNX files, which other languages and small machines can run.

In: a recommender. Out: a folder for each network or encoder: `model.onnx`, what its inputs are, and how equal its answers are to ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from penchant.compression.onnx_files import write_int8, write_onnx, write_static_int8
from penchant.core.artifacts import write_artifact
from penchant.core.errors import ConfigError, MediaError, import_optional, nearest
from penchant.core.logs import step
from penchant.core.schema import Histories
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig
from penchant.encoders.content import find_content
from penchant.encoders.encoder import Encoder
from penchant.encoders.onnx_text import FACTS, KIND, MODEL, TOKENIZER, OnnxText, session
from penchant.models.compressed import Compressed
from penchant.models.ensemble import blocked_items, top_k
from penchant.models.graph_network import GraphNetwork
from penchant.models.member import Member
from penchant.models.sequence import Sequence as SequenceNetwork
from penchant.recommender.recommender import Recommender

EXTRA = "compress"
EXPORTABLE = ("sequence", "graph_network", "minilm", "sentence_transformers", "efficientnet")
"""Models of members and encoders of channels."""
TOP = 10
MAX_ITEMS = 200
"""Items whose vectors are compared."""
MAX_SAMPLE = 128
"""Items from whose pictures the scales of int8 are learned."""
BATCH = 64


@dataclass(frozen=True)
class ExportedModel:
    """One exported network or encoder.

    Attributes:
        name: Of the member or channel.
        folder: Where it lies.
        num_bytes: Of the file.
        compared: Users whose lists, or items whose vectors, were compared.
        equal: Share of users with the same ten items in the same order; of an encoder the smallest cosine between its vectors and ours.
    """

    name: str
    folder: Path
    num_bytes: int
    compared: int
    equal: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "folder": str(self.folder)}


def export(
    bundle: str | Path | Recommender,
    output: str | Path,
    *,
    member: str | None = None,
    channel: str | None = None,
    int8: bool = False,
) -> list[ExportedModel]:
    """Write networks and encoders of a bundle as ONNX, each compared with ours by ONNX Runtime.

    Args:
        bundle: A recommender, or its folder.
        output: Folder; each model gets one below it.
        member: A network of the ensemble; None takes all, unless a channel is named.
        channel: A channel whose encoder is exported; None takes all, unless a member is named.
        int8: Whether encoders become int8: a quarter of the size, vectors slightly different. Texts keep scales that come with each input, pictures
            have those of up to `MAX_SAMPLE` items of the catalog.

    Raises:
        ConfigError: The bundle has no such network or channel, or none that can be exported.
        EncoderError: The network uses an operator that ONNX lacks.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    for package in ("torch", "onnx", "onnxscript", "onnxruntime"):
        import_optional(package, EXTRA)
    recommender = bundle if isinstance(bundle, Recommender) else Recommender.load(bundle)
    networks, encoders = _networks(recommender), _encoders(recommender)
    names = _asked(networks, member, "network", "members") if member or not channel else []
    channels = (
        _asked(encoders, channel, "content channel whose encoder can be exported", "content")
        if channel or not member
        else []
    )
    if not names and not channels:
        raise ConfigError(
            "The bundle has no network and no encoder that can be exported.",
            where=str(recommender.folder or "memory"),
            fix="its members are matrices: their numbers are in ensemble.safetensors",
        )
    folder, found = Path(output), []
    for name in names:
        with step(f"export {name}"):
            found.append(_export_network(name, networks[name], recommender, folder / name))
    for name in channels:
        with step(f"export {name}"):
            found.append(_export_encoder(name, encoders[name], recommender, folder / name, int8))
    return found


def _asked(known: Mapping[str, Any], name: str | None, noun: str, where: str) -> list[str]:
    if name is None:
        return list(known)
    if name not in known:
        raise ConfigError(
            f"The bundle has no {noun} {name!r}.",
            where=f"{where}.{name}",
            fix=nearest(name, known) if known else f"it has none at all; what can be exported: {', '.join(EXPORTABLE)}",
        )
    return [name]


def _networks(recommender: Recommender) -> dict[str, SequenceNetwork | GraphNetwork]:
    found = {}
    for name, member in recommender.ensemble.members.items():
        held = member.member if isinstance(member, Compressed) else member
        if isinstance(held, (SequenceNetwork, GraphNetwork)) and type(held) in (SequenceNetwork, GraphNetwork):
            found[name] = held
    return found


def _encoders(recommender: Recommender) -> dict[str, ChannelConfig]:
    """Return the channels whose frozen encoder is a network of torch."""
    configs = recommender.encoders.of(recommender.facts, recommender.content)
    return {name: config for name, config in configs.items() if config.encoder in EXPORTS}


# networks


def _export_network(
    name: str, member: SequenceNetwork | GraphNetwork, recommender: Recommender, folder: Path
) -> ExportedModel:
    module, limit = _module_of(member)
    inputs = windows(recommender.histories.take(np.arange(min(3, len(recommender.histories)))), limit)
    facts = {
        "name": name,
        "inputs": {
            "items": "(users, events) int64: catalog rows of the last events, oldest first; 0 after the last",
            "weight": "(users, events) float32: 1 for a like, -1 for a dislike, 0 after the last",
            "gap": "(users, events) int64: bucket of the time since the previous event: 0, under 4 s, under 16 s, ...; 15 for a first event",
            "lengths": "(users,) int64: events of each user",
        },
        "output": "scores: (users, items) float32, in the order of the catalog",
        "events": limit,
    }

    def write(staging: Path) -> None:
        write_onnx(module, inputs, staging / MODEL, ["scores"], name, dynamic=("users",))
        (staging / FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")

    write_artifact(folder, write, kind=KIND, facts={"name": name})
    equal = _equal_lists(member, session(folder / MODEL), recommender.histories, limit)
    return ExportedModel(name, folder, (folder / MODEL).stat().st_size, len(equal), float(equal.mean()))


def windows(histories: Histories, limit: int) -> dict[str, np.ndarray]:
    """Return the inputs of an exported network for some users: their last events, filled up to `limit`."""
    from penchant.networks.sequences import recent_windows

    batch = recent_windows(histories, np.arange(len(histories)), limit)
    filled = {}
    for key in ("items", "weight", "gap"):
        values = getattr(batch, key).numpy()
        filled[key] = np.pad(values, ((0, 0), (0, limit - values.shape[1])))
    return {**filled, "lengths": batch.lengths.numpy()}


def _equal_lists(
    member: Member, run: Callable[[Mapping[str, np.ndarray]], np.ndarray], histories: Histories, limit: int
) -> Bool[np.ndarray, " users"]:
    """Return for each user whether both rank the same ten items first, in the same order."""
    equal = []
    for batch in histories.batches(BATCH):
        blocked, lists = blocked_items(batch), []
        for scores in (member.score(batch), run(windows(batch, limit))):
            scores = scores.copy()
            scores[blocked] = -np.inf
            lists.append(top_k(scores, TOP, batch.user_ids).item_index)
        equal.append((lists[0] == lists[1]).all(1))
    return np.concatenate(equal)


def _module_of(member: SequenceNetwork | GraphNetwork) -> tuple[Any, int]:
    """Return the torch module that scores windows of histories, and how many events it reads."""
    import torch
    from torch import nn

    from penchant.networks.backbones import last_state
    from penchant.networks.losses import powered_softmax
    from penchant.networks.sequences import WindowBatch

    class ScoredWindows(nn.Module):
        """Item vectors, the network over them, and the scores of every item."""

        def __init__(self, member: SequenceNetwork) -> None:
            super().__init__()
            assert member.network is not None
            self.network, self.sharpness = member.network, member.config.sharpness
            self.register_buffer("vectors", member.vectors)

        def forward(self, items: Any, weight: Any, gap: Any, lengths: Any) -> Any:
            batch = WindowBatch(items, weight, gap, lengths, items)
            states = last_state(self.network(self.vectors[items], batch), lengths + 1)  # type: ignore[index]
            return powered_softmax(states @ self.vectors.T, self.sharpness)  # type: ignore[operator]

    class ScoredSums(nn.Module):
        """A user as the damped sum of the vectors of their items."""

        def __init__(self, member: GraphNetwork) -> None:
            super().__init__()
            self.register_buffer("source", torch.from_numpy(member.source))
            self.register_buffer("target", torch.from_numpy(member.target))
            self.exponent, self.sharpness = member.config.user_exponent, member.config.sharpness

        def forward(self, items: Any, weight: Any, gap: Any, lengths: Any) -> Any:
            taste = (self.source[items] * weight[..., None]).sum(1)  # type: ignore[index]
            taste = taste * (lengths.clamp(min=1)[:, None].float() ** -self.exponent) + 0.0 * gap.sum()
            return powered_softmax(taste @ self.target.T, self.sharpness)

    if isinstance(member, GraphNetwork):
        return ScoredSums(member).eval(), MAX_EVENTS
    return ScoredWindows(member).eval(), member.config.max_length


MAX_EVENTS = 1000
"""Events that an exported graph network reads, the last; the member itself reads all."""


# encoders


def _export_encoder(
    name: str, config: ChannelConfig, recommender: Recommender, folder: Path, int8: bool
) -> ExportedModel:
    encoder = recommender.encoders.load(name, config)
    prepared = _some_content(name, config, encoder, recommender)
    if not prepared:
        raise ConfigError(
            f"No item has the content of the channel {name!r} at hand.",
            where=f"content.{name}",
            fix="export from the machine that has the media files of the catalog",
        )
    write_encoder(name, config.encoder, encoder, prepared, folder, int8=int8)
    own = np.concatenate([encoder.encode(prepared[n : n + BATCH]) for n in range(0, len(prepared), BATCH)])
    other = _vectors(folder, encoder, prepared)
    cosine = (own * other).sum(1) / np.maximum(np.linalg.norm(own, axis=1) * np.linalg.norm(other, axis=1), 1e-12)
    size = sum(f.stat().st_size for f in folder.glob(f"{MODEL}*"))
    return ExportedModel(name, folder, size, len(prepared), float(cosine.min()))


def write_encoder(
    name: str, kind: str, encoder: Encoder, examples: Sequence[Any], folder: Path, *, int8: bool = False
) -> None:
    """Write one encoder as ONNX.

    Args:
        name: Of the channel, for messages.
        kind: Its name in the settings, one of `EXPORTS`.
        encoder: Loaded.
        examples: Two or more prepared contents; the scales of an int8 picture encoder are learned from the first `MAX_SAMPLE`.
        folder: Where.
        int8: Whether it becomes int8.

    Raises:
        EncoderError: It uses an operator that ONNX lacks.
    """

    def write(staging: Path) -> None:
        EXPORTS[kind](name, encoder, examples[:3], staging)
        if int8 and encoder.modality == "text":
            write_int8(staging / MODEL)
        elif int8:
            sample = examples[:MAX_SAMPLE]
            batches = [sample[n : n + BATCH] for n in range(0, len(sample), BATCH)]
            write_static_int8(staging / MODEL, [{"pixels": np.stack(b).transpose(0, 3, 1, 2)} for b in batches])

    write_artifact(folder, write, kind=KIND, facts={"name": name, "int8": int8})


def _some_content(name: str, config: ChannelConfig, encoder: Encoder, recommender: Recommender) -> list[Any]:
    catalog = recommender.catalog
    content = find_content(catalog, config.columns, encoder.modality, MediaLimits(), where=f"content.{name}")
    rows = [row for row, key in enumerate(content.keys) if key is not None][:MAX_ITEMS]
    found = []
    for row in rows:
        with suppress(MediaError):
            found.append(encoder.prepare(content.load(row)))
    return found


def _vectors(folder: Path, encoder: Encoder, prepared: Sequence[Any]) -> Float32[np.ndarray, "items dim"]:
    """Return the vectors of the exported encoder."""
    batches = [prepared[n : n + BATCH] for n in range(0, len(prepared), BATCH)]
    if encoder.modality == "text":
        exported = OnnxText(OnnxText.config_class(model=folder))
        return np.concatenate([exported.encode(batch) for batch in batches])
    run = session(folder / MODEL)
    return np.concatenate([run({"pixels": np.stack(batch).transpose(0, 3, 1, 2)}) for batch in batches])


def _export_sentences(name: str, encoder: Any, prepared: Sequence[str], staging: Path) -> None:
    """Write a sentence-transformers model with its tokenizer."""
    from torch import nn

    class Sentences(nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    model = encoder._loaded
    tokens = model.tokenizer(list(prepared), padding=True, truncation=True, max_length=model.max_seq_length)
    inputs = {key: np.asarray(tokens[key], np.int64) for key in ("input_ids", "attention_mask")}
    write_onnx(Sentences(model.eval()), inputs, staging / MODEL, ["vectors"], name, dynamic=("texts", "tokens"))
    model.tokenizer.backend_tokenizer.save(str(staging / TOKENIZER))
    padding = {"pad_id": int(model.tokenizer.pad_token_id), "pad_token": str(model.tokenizer.pad_token)}
    facts = {"name": name, "max_tokens": int(model.max_seq_length), **padding}
    (staging / FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _export_pictures(name: str, encoder: Any, prepared: Sequence[np.ndarray], staging: Path) -> None:
    """Write EfficientNet-Lite0 over pixels, (pictures, 3, side, side) float32 in the range that `prepare` gives."""
    from torch import nn

    class Pictures(nn.Module):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Any) -> Any:
            return self.network.extract_features(pixels).mean((2, 3))

    inputs = {"pixels": np.stack(prepared).transpose(0, 3, 1, 2).astype(np.float32)}
    write_onnx(Pictures(encoder.network), inputs, staging / MODEL, ["vectors"], name, dynamic=("pictures",))
    facts = {"name": name, "inputs": {"pixels": "(pictures, 3, side, side) float32, (value - 127) / 128"}}
    (staging / FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")


EXPORTS: dict[str, Callable[[str, Any, Sequence[Any], Path], None]] = {
    "minilm": _export_sentences,
    "sentence_transformers": _export_sentences,
    "efficientnet": _export_pictures,
}
"""Encoder to what exports it."""
