"""Arrays as tensors.

In: an array, perhaps one that cannot be written to, such as those of a mapped bundle. Out: a tensor.
"""

from __future__ import annotations

import numpy as np
import torch


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """Return a tensor over the array's memory, or over a copy where it cannot be written to: PyTorch has no read-only tensors."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())
