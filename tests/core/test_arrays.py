from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from penchant.core.arrays import mapped_arrays


def test_mapped_arrays_are_those_that_were_written_and_cannot_be_changed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = {
        "a/matrix": rng.standard_normal((7, 5)).astype(np.float32),
        "mask": rng.random(3) < 0.5,
        "rows": rng.integers(0, 9, 11),
        "half": rng.random(5).astype(np.float16),
        "empty": np.zeros((0, 4), np.float32),
        "one": np.array(3, np.int32),
    }
    file = tmp_path / "arrays.safetensors"
    save_file(written, file, metadata={"about": "a test"})
    found = mapped_arrays(file)
    assert set(found) == set(written) == set(load_file(file))
    for name, array in written.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        with pytest.raises(ValueError, match="read-only"):
            found[name][...] = 1
    file.unlink()  # a bundle that is replaced stays as it was for those who mapped it
    np.testing.assert_array_equal(found["rows"], written["rows"])


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "arrays.safetensors"
    save_file({"a": np.arange(100.0)}, file)
    whole = file.read_bytes()
    for damaged in (b"", whole[:5], whole[:-8], whole + b"more", b"\xff" * 8 + whole[8:]):
        file.write_bytes(damaged)
        with pytest.raises(SafetensorError):
            mapped_arrays(file)
