"""Pretrained encoders whose last blocks are trained within a network.

In: opened content of one modality. Out: token ids or pixels; the states that enter the trained blocks, computed once since everything below is
frozen; and a module that turns states into tokens (words, patches) and into one vector, at first that of the frozen encoder.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Int, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from penchant.core.config import Settings
from penchant.core.errors import ConfigError
from penchant.core.logs import logger, progress_bar
from penchant.encoders.encoder import Encoder
from penchant.encoders.image import EfficientNet
from penchant.encoders.text import MAX_CHARACTERS, MiniLM, TransformersText, TransformersTextConfig, pad_right
from penchant.language.hub import package_folder
from penchant.networks.adapters import HoldsPretrained, add_lora

Array = np.ndarray
AT_ONCE = 32
"""Items of one step of the frozen part."""


class TunedBlocksConfig(Settings):
    """Which part of a pretrained encoder is trained."""

    blocks: int = Field(1, ge=0)
    """Last blocks that are trained; everything below is frozen, so that its states are computed once. 0 trains none."""
    rank: int = Field(8, ge=0)
    """Rank of the matrices that are added to the linear maps of these blocks and trained alone (LoRA); 0 trains every weight of the blocks."""
    max_tokens: int = Field(64, ge=2)
    """Tokens read of each text, at most what the encoder itself is set to read; longer texts are cut."""


class TunedEncoder(HoldsPretrained):
    """An encoder in two parts: the frozen one below, which is not part of the module's weights, and the blocks that may be trained.

    It owns the encoder that it is made from, which then no longer gives the vectors of the frozen one.

    Attributes:
        modality: Of its content.
        width: Of a state.
        dim: Of a token and of the vector of an item.
    """

    modality: ClassVar[str]
    width: int
    dim: int
    upper: Any

    def take_over(self, upper: Any, config: TunedBlocksConfig, mark: str) -> None:
        """Set what is trained of the blocks."""
        upper.requires_grad_(False)
        if config.blocks and config.rank:
            upper = add_lora(upper, config.rank, 2 * config.rank, extra="networks")
        elif config.blocks:
            upper.requires_grad_(True)
        self.upper = upper.eval()
        self.hold("upper", f"{mark} {config.blocks} {config.rank}")

    @abstractmethod
    def prepare(self, raw: Any) -> Array:
        """Return content as the frozen part reads it: token ids, pixels."""

    @abstractmethod
    def states(self, prepared: Sequence[Array]) -> list[Float16[np.ndarray, "tokens width"]]:
        """Return the states that enter the blocks."""

    @abstractmethod
    def forward(self, states: Float[Tensor, "B T W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B T D"]:
        """Return the tokens that leave the blocks; those beyond `lengths` mean nothing."""

    def vectors(self, states: Float[Tensor, "B T W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        """Return one vector an item, as the frozen encoder pools its tokens."""
        tokens = self(states, lengths)
        real = (torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None])[..., None]
        return (tokens * real).sum(1) / lengths.clamp(min=1)[:, None]

    def trained(self) -> dict[str, Array]:
        """Return what was trained, and the fingerprint of the rest."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}


class TunedText(TunedEncoder):
    """A transformers text model with `embeddings` and `encoder.layer`: BERT, MiniLM, RoBERTa, multilingual E5.

    Args:
        source: The model.
        config: Its trained part.
        is_unit: Whether vectors are scaled to length 1, as sentence-transformers does for MiniLM.
        mark: Fingerprint of the model.
        where: Place in the settings, for error messages.

    Raises:
        ConfigError: The model is built in another way, or has fewer blocks.
    """

    modality = "text"

    def __init__(
        self, source: TransformersText, config: TunedBlocksConfig, *, is_unit: bool, mark: str, where: str
    ) -> None:
        super().__init__()
        package_folder("transformers", "text")
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = pad_right(source.part(AutoTokenizer))
        model, _ = source.network(AutoModel)
        layers = getattr(getattr(model, "encoder", None), "layer", None)
        if layers is None or not hasattr(model, "embeddings"):
            raise ConfigError(
                f"The blocks of a {type(model).__name__} cannot be trained one by one.",
                where=where,
                fix="take a model of the BERT family, for example minilm",
            )
        _check_blocks(config.blocks, len(layers), where)
        cut = len(layers) - config.blocks
        self._frozen_part = [model.embeddings, *layers[:cut]]  # a list: its weights are not those of this module
        limits = config.max_tokens, source.config.max_tokens, self.tokenizer.model_max_length
        self.is_unit, self.max_tokens = is_unit, min(limits)
        self.width = self.dim = int(model.config.hidden_size)
        self.take_over(nn.ModuleList(layers[cut:]), config, mark)

    def prepare(self, raw: str) -> Array:
        found = self.tokenizer(raw[:MAX_CHARACTERS] or " ", truncation=True, max_length=self.max_tokens)
        return np.asarray(found["input_ids"], np.int32)

    @torch.no_grad()
    def states(self, prepared: Sequence[Array]) -> list[Float16[np.ndarray, "tokens width"]]:
        embed, *layers = self._frozen_part
        lengths = torch.tensor([len(ids) for ids in prepared], device=self.mark.device)
        filled = np.full((len(prepared), int(lengths.max())), self.tokenizer.pad_token_id, np.int64)
        for row, ids in enumerate(prepared):
            filled[row, : len(ids)] = ids
        states = embed.to(self.mark.device)(input_ids=torch.as_tensor(filled, device=self.mark.device))
        mask = _hidden(lengths, states)
        for layer in layers:
            states = layer.to(states.device)(states, mask)
        found = states.half().cpu().numpy()
        return [found[row, : len(ids)] for row, ids in enumerate(prepared)]

    def forward(self, states: Float[Tensor, "B T W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B T D"]:
        mask = _hidden(lengths, states)
        for layer in self.upper:
            states = layer(states, mask)
        return states

    def vectors(self, states: Float[Tensor, "B T W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        found = super().vectors(states, lengths)
        return functional.normalize(found, dim=1) if self.is_unit else found


class TunedPicture(TunedEncoder):
    """EfficientNet-Lite0 by its blocks; the convolution after the last block belongs to it. A token is a patch.

    Args:
        source: The encoder.
        config: Its trained part.
        where: Place in the settings, for error messages.

    Raises:
        ConfigError: It has fewer blocks.
    """

    modality = "image"

    def __init__(self, source: EfficientNet, config: TunedBlocksConfig, *, where: str) -> None:
        super().__init__()
        self._source = [source]
        whole = source.network
        blocks = list(whole._blocks)
        _check_blocks(config.blocks, len(blocks), where)
        head = nn.Sequential(whole._conv_head, whole._bn1, whole._swish)
        cut = len(blocks) - config.blocks
        stem = nn.Sequential(whole._conv_stem, whole._bn0, whole._swish)
        self._frozen_part = [stem, *blocks[:cut], *([] if config.blocks else [head])]
        self.dim = int(whole._conv_head.out_channels)
        self.width = int(blocks[cut]._block_args.input_filters) if config.blocks else self.dim
        upper = nn.Sequential(*blocks[cut:], *([head] if config.blocks else []))
        _plain_maps(upper)
        self.take_over(upper, config, source.fingerprint())

    def prepare(self, raw: Any) -> Array:
        return self._source[0].resized(raw)

    @torch.no_grad()
    def states(self, prepared: Sequence[Array]) -> list[Float16[np.ndarray, "tokens width"]]:
        pixels = torch.from_numpy(self._source[0].scaled(np.stack(prepared))).permute(0, 3, 1, 2)
        found = pixels.to(self.mark.device)
        for layer in self._frozen_part:
            found = layer.to(found.device)(found)
        return list(found.flatten(2).transpose(1, 2).half().cpu().numpy())

    def forward(self, states: Float[Tensor, "B T W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B T D"]:
        side = round(states.shape[1] ** 0.5)
        places = states.transpose(1, 2).reshape(len(states), -1, side, side)
        found: Tensor = self.upper(places.contiguous(memory_format=torch.channels_last))
        return found.flatten(2).transpose(1, 2)


def tuned_encoder(encoder: Encoder, config: TunedBlocksConfig, *, where: str) -> TunedEncoder:
    """Return an encoder with its last blocks to train.

    Raises:
        ConfigError: There is no network to train in this encoder.
        MissingExtraError: peft is not installed, and low-rank matrices are asked for.
    """
    if isinstance(encoder, MiniLM):
        folder, _ = encoder.address()
        source = TransformersText(
            TransformersTextConfig(model=folder, max_tokens=encoder.config.max_tokens or config.max_tokens)
        )
        return TunedText(source, config, is_unit=True, mark=encoder.fingerprint(), where=where)
    if isinstance(encoder, TransformersText):
        return TunedText(encoder, config, is_unit=False, mark=encoder.fingerprint(), where=where)
    if isinstance(encoder, EfficientNet):
        return TunedPicture(encoder, config, where=where)
    raise ConfigError(
        f"A {type(encoder).__name__} has no blocks that can be trained here.",
        where=where,
        fix="train a channel of minilm, transformers_text (a model of the BERT family) or efficientnet",
    )


class TunedNet(nn.Module):
    """A pretrained encoder within a classifier: its tokens, or their one vector, mapped to the common width.

    Args:
        encoder: The encoder.
        dim: Width of the result.
        dropout: Share of an input dropped in training.
    """

    def __init__(self, encoder: TunedEncoder, dim: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.out = nn.Sequential(nn.LayerNorm(encoder.dim), nn.Dropout(dropout), nn.Linear(encoder.dim, dim), nn.GELU())
        self._trained = [weight for weight in encoder.parameters() if weight.requires_grad]

    @property
    def is_trainable(self) -> bool:
        """Whether any of the encoder's blocks are trained."""
        return bool(self._trained)

    def hold(self, is_held: bool) -> None:
        """Freeze or unfreeze the encoder's blocks."""
        for weight in self._trained:
            weight.requires_grad_(not is_held)

    def forward(self, states: Float[Tensor, "B T W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        mapped: Tensor = self.out(self.encoder.vectors(states, lengths))
        return mapped

    def tokens(
        self, states: Float[Tensor, "B T W"], lengths: Int[Tensor, "B"]
    ) -> tuple[Float[Tensor, "B T D"], Bool[Tensor, "B T"]]:
        """Return every token, and which of them are no padding."""
        found = self.encoder(states, lengths)
        return self.out(found), torch.arange(found.shape[1], device=found.device) < lengths[:, None]


@dataclass(frozen=True)
class TokenStates:
    """States of many items in a temporary file, so that memory holds what is read only; items without content have none.

    Attributes:
        values: (tokens of all items, width)
        start: (items,) position of each item's first token.
        length: (items,) number of its tokens.
    """

    values: Float16[np.ndarray, "tokens width"]
    start: Int64[np.ndarray, " items"]
    length: Int64[np.ndarray, " items"]

    @classmethod
    def of(cls, encoder: TunedEncoder, prepared: Sequence[Array | None], title: str) -> TokenStates:
        """Compute the states of all items, those of about equal length together."""
        known = {row: array for row, array in enumerate(prepared) if array is not None}
        rows = sorted(known, key=lambda row: len(known[row]))
        start, length = np.zeros((2, len(prepared)), np.int64)
        written = 0
        with TemporaryFile() as file, progress_bar(title, -(-len(rows) // AT_ONCE)) as bar:
            for first in range(0, len(rows), AT_ONCE):
                some = rows[first : first + AT_ONCE]
                for row, states in zip(some, encoder.states([known[row] for row in some]), strict=True):
                    file.write(np.ascontiguousarray(states).tobytes())
                    start[row], length[row] = written, len(states)
                    written += len(states)
                bar.advance()
            file.flush()
            shape = (written, encoder.width)
            values = np.memmap(file, np.float16, "r", shape=shape) if written else np.zeros(shape, np.float16)
        logger.info("  %s: states of %s items, %.0f MB", title, f"{len(rows):,}", 2e-6 * written * encoder.width)
        return cls(values, start, length)

    def rows(self, items: Iterable[int]) -> list[Array]:
        """Return the states of some items."""
        return [self.values[self.start[i] : self.start[i] + self.length[i]] for i in items]


def padded(
    states: Sequence[Float16[np.ndarray, "tokens width"]], device: torch.device
) -> tuple[Float[Tensor, "B T W"], Int[Tensor, "B"]]:
    """Return states of several items in one tensor, and how many each has."""
    lengths = np.array([len(one) for one in states], np.int64)
    values = np.zeros((len(states), max(1, int(lengths.max(initial=1))), states[0].shape[1]), np.float32)
    for row, one in enumerate(states):
        values[row, : len(one)] = one
    return torch.as_tensor(values, device=device), torch.as_tensor(lengths, device=device)


def _hidden(lengths: Int[Tensor, "B"], states: Float[Tensor, "B T W"]) -> Float[Tensor, "B 1 1 T"]:
    """Return what attention adds to its logits: a large negative number at padding. An item without tokens attends to its padding."""
    beyond = torch.arange(states.shape[1], device=states.device) >= lengths.clamp(min=1)[:, None]
    return torch.zeros_like(beyond, dtype=states.dtype).masked_fill(beyond, torch.finfo(states.dtype).min)[
        :, None, None
    ]


def _plain_maps(network: nn.Module) -> None:
    """Put plain convolutions of one pixel in the place of those of another class, which peft cannot copy."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and type(child) is not nn.Conv2d and child.kernel_size == (1, 1):
                plain = nn.Conv2d(child.in_channels, child.out_channels, 1, bias=child.bias is not None)
                plain.load_state_dict(child.state_dict())
                setattr(module, name, plain)


def _check_blocks(blocks: int, number: int, where: str) -> None:
    if blocks > number:
        raise ConfigError(
            f"The model has {number} blocks, so {blocks} cannot be trained.",
            where=where,
            fix=f"set blocks to at most {number}",
        )
