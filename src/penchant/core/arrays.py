"""Arrays of a safetensors file, read from the file's pages.

In: a file that this program wrote. Out: its arrays, read-only views of the mapped file: processes that map the same file share one copy in
memory, and what is never looked at is never read.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import numpy as np
from safetensors import safe_open

TYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "F16": np.float16,
    "U32": np.uint32,
    "I32": np.int32,
    "F32": np.float32,
    "U64": np.uint64,
    "I64": np.int64,
    "F64": np.float64,
}
"""NumPy's type of each name of the format."""
LENGTH_BYTES = 8
"""At the start of the file: the length of its header, little-endian."""


def mapped_arrays(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file, by name; they cannot be written to.

    A file that is replaced as a whole, as bundles are, stays as it was for those who mapped it. Cost: none of the file's size.

    Raises:
        SafetensorError: It is no safetensors file.
        OSError: It cannot be read.
        ValueError: It holds a type that NumPy lacks.
    """
    with safe_open(file, framework="np"):
        pass  # checks the header: names, types, and places that fill the file without overlap
    with file.open("rb") as opened:
        start = LENGTH_BYTES + int.from_bytes(opened.read(LENGTH_BYTES), "little")
        header = json.loads(opened.read(start - LENGTH_BYTES))
        pages = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    found = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        if about["dtype"] not in TYPES:
            raise ValueError(f"the array {name} is of type {about['dtype']}")
        first, last = about["data_offsets"]
        kind = np.dtype(TYPES[about["dtype"]])
        values = np.frombuffer(pages, kind, (last - first) // kind.itemsize, start + first)
        found[name] = np.require(values, requirements="A").reshape(about["shape"])
    return found
