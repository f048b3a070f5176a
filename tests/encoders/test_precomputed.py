"""Vectors from outside: right rows in the right order, or a message that names the wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from penchant.core.errors import EncoderError
from penchant.core.schema import Embeddings, Vocabulary
from penchant.encoders.precomputed import guess_modality, read_vectors

ITEMS = Vocabulary(["a", "b", "c"])
VALUES = np.array([[1, 2], [0, 0], [5, 6]], np.float32)


def read(path: Path) -> Embeddings:
    return read_vectors(path, ITEMS, name="poster", modality="image")


def write(path: Path, values: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".safetensors":
        save_file({"vectors": np.asarray(values)}, path)
    else:
        ids = ["c", "a", "unknown", "b"]
        order = [2, 0, 0, 1]
        pl.DataFrame({"item_id": ids, "vector": [values[n].tolist() for n in order]}).write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "parquet"])
def test_rows_come_in_the_catalogs_order(tmp_path: Path, suffix: str) -> None:
    found = read(write(tmp_path / f"vectors.{suffix}", VALUES))
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.values.dtype == np.float32
    assert found.present.tolist() == [True, False, True]  # a row of zeros is no content


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_other_numbers_become_float32(tmp_path: Path, dtype: str) -> None:
    assert read(write(tmp_path / "v.npy", VALUES.astype(dtype))).values.tolist() == VALUES.tolist()


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "parquet"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_value_that_is_no_number_names_item_and_row(tmp_path: Path, suffix: str, bad: float) -> None:
    values = VALUES.astype(np.float64)
    values[2, 1] = bad
    path = write(tmp_path / f"vectors.{suffix}", values)
    with pytest.raises(EncoderError, match="The vector of item 'c' holds NaN or infinity \\(1 such rows\\)") as caught:
        read(path)
    assert caught.value.where == f"{path} row {0 if suffix == 'parquet' else 2}"
    assert "set the whole row to zero" in caught.value.fix


@pytest.mark.parametrize("values", [VALUES[:2], np.ones(3), np.ones((3, 2, 2))])
def test_wrong_shape_is_explained(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(EncoderError, match=r"The vectors have shape .* the catalog has 3 items") as caught:
        read(write(tmp_path / "v.npy", values))
    assert "one row for each item in the catalog's order" in caught.value.fix


@pytest.mark.parametrize("name", ["v.npy", "v.safetensors", "v.parquet"])
@pytest.mark.parametrize("raw", [b"", b"not vectors at all"])
def test_damaged_file_is_explained(tmp_path: Path, name: str, raw: bytes) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(EncoderError, match="The vectors cannot be read"):
        read(tmp_path / name)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([{"a": 1}, None, None], object), allow_pickle=True)
    with pytest.raises(EncoderError, match="Object arrays cannot be loaded"):
        read(tmp_path / "v.npy")


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"There is no file 'v\.npy'") as caught:
        read(tmp_path / "v.npy")
    assert caught.value.where == "content.poster.path"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "vector": [[1.0]]}, "There is no item_id and list column, only id, vector"),
        ({"item_id": ["a", "a"], "vector": [[1.0], [2.0]]}, "The id 'a' occurs more than once"),
        ({"item_id": ["A", "B"], "vector": [[1.0], [2.0]]}, "None of its 2 ids is in the catalog; it begins with 'A'"),
        ({"item_id": ["a", "b", "c"], "vector": [[1.0], [2.0], [1.0, 2.0]]}, "item 'c' has 2 numbers, others 1"),
        ({"item_id": ["a", "b"], "vector": [[1.0, None], [2.0, 3.0]]}, "item 'a' holds NaN"),
    ],
)
def test_parquet_with_a_flaw_is_explained(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(EncoderError, match=message):
        read(tmp_path / "v.parquet")


def test_absent_id_and_empty_cell_are_missing(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["c", "a"], "vector": [[1.0, 2.0], None]}).write_parquet(tmp_path / "v.parquet")
    assert read(tmp_path / "v.parquet").present.tolist() == [False, False, True]


def test_tensor_is_chosen_by_the_channels_name(tmp_path: Path) -> None:
    save_file({"plot": VALUES + 1, "poster": VALUES}, tmp_path / "v.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "v.safetensors").values, VALUES)
    save_file({"plot": VALUES, "sound": VALUES}, tmp_path / "v.safetensors")
    with pytest.raises(EncoderError, match="holds 2 tensors and none is called 'poster'") as caught:
        read(tmp_path / "v.safetensors")
    assert "plot, sound" in caught.value.fix


def test_modality_is_guessed_from_the_name() -> None:
    assert guess_modality("image_feat.npy") == "image"
    assert guess_modality("acoustic.npy") == "audio"
    assert guess_modality("vectors.npy") == "text"
