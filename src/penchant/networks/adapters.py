"""Pretrained networks inside trained ones: what of them is trained, and what is written down.

In: a pretrained network. Out: the same network with low-rank weights that are trained alone (LoRA); and a module whose `state_dict` holds what
was trained and the fingerprint of the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from penchant.language.hub import package_folder


def add_lora(model: Any, rank: int, alpha: int, *, extra: str) -> Any:
    """Return the model with trained low-rank weights beside its linear maps, in single precision; they begin at zero, the rest is frozen.

    Convolutions of one pixel are linear maps of each place and take part; wider ones do not.

    Args:
        model: Changed in place.
        rank: Of the added matrices.
        alpha: Their product is scaled by this over the rank.
        extra: The optional part of Penchant that holds peft, for the error where it is missing.

    Source: Hu et al., LoRA, ICLR 2022.

    Raises:
        MissingExtraError: peft is not installed.
    """
    package_folder("peft", extra)
    from peft import LoraConfig, inject_adapter_in_model

    is_turned = any(type(module).__name__ == "Conv1D" for module in model.modules())  # GPT-2 keeps its maps that way
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=[name for name, module in model.named_modules() if _is_linear(module)],
        fan_in_fan_out=is_turned,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks for an attribute that transformers renamed
        model = inject_adapter_in_model(config, model)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


class HoldsPretrained(nn.Module):
    """A module around a pretrained network: `state_dict` leaves the frozen weights out and holds their fingerprint.

    Weights that were trained beside another pretrained network are refused. The pretrained network stays in evaluation mode: dropout inside
    it would only add noise to frozen weights, and statistics of small batches would distort its normalisation.
    """

    mark: Tensor

    def hold(self, part: str, mark: str) -> None:
        """Take over a pretrained network; called once, when it is known which of its weights are trained.

        Args:
            part: Name of the attribute that holds the network.
            mark: Its fingerprint.
        """
        network: nn.Module = getattr(self, part)
        self._part = part
        self._frozen = {f"{part}.{name}" for name, weight in network.named_parameters() if not weight.requires_grad}
        self._frozen |= {f"{part}.{name}" for name, _ in network.named_buffers()}
        self.register_buffer("mark", torch.tensor(list(mark.encode()), dtype=torch.uint8))
        self.register_state_dict_post_hook(_leave_out_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_frozen_are_there)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        getattr(self, self._part).eval()
        return self

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *others: Any) -> None:
        given = state.get(f"{prefix}mark")
        if given is not None and not torch.equal(given.cpu(), self.mark.cpu()):
            others[-1].append(f"trained on another pretrained network ({bytes(given.tolist()).decode()})")
            return
        super()._load_from_state_dict(state, prefix, *others)


def _leave_out_frozen(module: HoldsPretrained, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in module._frozen:
        state.pop(f"{prefix}{name}", None)


def _frozen_are_there(module: HoldsPretrained, keys: Any) -> None:
    keys.missing_keys[:] = [k for k in keys.missing_keys if not any(k.endswith(f) for f in module._frozen)]
