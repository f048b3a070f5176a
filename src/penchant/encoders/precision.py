"""Half precision, where the processor computes in it.

In: the setting of an encoder. Out: a context in which its network runs in bfloat16, or as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from penchant.core.config import Settings


class PrecisionConfig(Settings):
    """The precision of a network."""

    precision: Literal["full", "half"] = "full"
    """`half` computes in bfloat16 where the processor has instructions for it (AMX, AVX-512 BF16), in about half the time: vectors differ from those of `full` in
    the third digit. On other processors it is `full`."""

    @model_serializer(mode="wrap")
    def _without_the_default(self, handler: SerializerFunctionWrapHandler) -> Mapping[str, Any]:
        """Leave `full` out, so that vectors of before there was a choice keep their name in the cache."""
        found: dict[str, Any] = handler(self)
        return {name: value for name, value in found.items() if (name, value) != ("precision", "full")}


def computing_in(precision: Literal["full", "half"]) -> AbstractContextManager[Any]:
    """Return a context for a network of torch."""
    if precision == "full" or not has_half():
        return nullcontext()
    import torch

    context: AbstractContextManager[Any] = torch.autocast("cpu", torch.bfloat16)
    return context


@lru_cache(maxsize=1)
def has_half() -> bool:
    """Return whether this processor has instructions for bfloat16; without them torch would convert every number there and back."""
    import torch

    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)
