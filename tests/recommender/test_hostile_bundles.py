"""A bundle whose checksums are right, but whose files no run writes, is refused with three lines and never ends the process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from penchant.core.artifacts import MANIFEST, checksum
from penchant.core.errors import ArtifactError
from penchant.recommender.recommender import Recommender

HISTORIES, MEMBERS = "histories.safetensors", "ensemble.safetensors"


def sign(folder: Path) -> None:
    """Write the checksums of the files as they are now into the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    manifest["files"] = {name: checksum(folder / name) for name in names if name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def arrays(name: str, **changed: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Return a change of arrays in one file; "/" in a name is "__"."""

    def change(folder: Path) -> None:
        held = load_file(folder / name)
        for key, make in changed.items():
            held[key.replace("__", "/")] = make(held[key.replace("__", "/")].copy())
        save_file(held, folder / name)

    return change


def at(place: int, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[place] = value
        return array

    return change


def facts(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        held = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(change(held) or held))

    return write


def table(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    return lambda folder: change(pl.read_parquet(folder / name)).write_parquet(folder / name)


def constant_rows(folder: Path) -> None:
    """Write 30 million equal rows into a few kilobytes."""
    codes = pa.array(np.zeros(30_000_000, np.int8))
    column = pa.DictionaryArray.from_arrays(codes, pa.array(["u"]))
    pq.write_table(pa.table({"user_id": column}), folder / "users.parquet", row_group_size=30_000_000)


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "an item far outside": (arrays(HISTORIES, item_index=at(0, 2**30)), "item_index holds 1073741824, outside 0 to 23"),
    "a negative item": (arrays(HISTORIES, item_index=at(3, -7)), "item_index holds -7"),
    "negative offsets": (arrays(HISTORIES, offsets=at(1, -6)), "offsets do not ascend"),
    "offsets beyond the events": (arrays(HISTORIES, offsets=at(-1, 10**12)), "offsets do not ascend"),
    "one offset too few": (arrays(HISTORIES, offsets=lambda a: a[:-1]), "offsets is int64 of shape"),
    "item rows of another type": (arrays(HISTORIES, item_index=lambda a: a.astype(np.int64)), "item_index is int64"),
    "a time that is none": (arrays(HISTORIES, at=at(0, -(2**62))), "at holds -46116860"),
    "a weight that is not finite": (arrays(HISTORIES, weight=at(0, np.nan)), "weight is not finite"),
    "an array too many": (
        lambda folder: save_file({**load_file(folder / HISTORIES), "x": np.zeros(1)}, folder / HISTORIES),
        "hold the arrays at, item_index, offsets, weight, x",
    ),
    "fitted events outside": (arrays("fitted.safetensors", item_index=at(0, 24)), "item_index holds 24"),
    "too few labels": (arrays("topics.safetensors", labels=lambda a: a[:-1]), "labels of topics have shape"),
    "a label without a topic": (arrays("topics.safetensors", labels=at(0, 9)), "labels of topics holds 9"),
    "a neighbour outside": (arrays(MEMBERS, like_sound__indices=at(0, 2**30)), "indices"),
    "a negative row start": (arrays(MEMBERS, like_sound__indptr=at(2, -(2**30))), "ind"),
    "a shape of another catalog": (arrays(MEMBERS, like_sound__shape=at(0, 7)), "ind"),
    "a matrix of another catalog": (arrays(MEMBERS, ease__matrix=lambda a: a[:5].copy()), "ValueError"),
    "a prior of another catalog": (arrays(MEMBERS, popularity__prior=lambda a: a[:5].copy()), "gives 5 finite scores"),
    "scores that are not finite": (arrays(MEMBERS, popularity__prior=at(0, np.inf)), "finite scores"),
    "a channel of another catalog": (
        arrays("content.safetensors", sound__values=lambda a: a[:5].copy()),
        "the channel 'sound' has shape",
    ),
    "presence of another catalog": (
        arrays("content.safetensors", sound__present=lambda a: a[:5].copy()),
        "for each item whether it is present",
    ),
    "no safetensors": (lambda folder: (folder / HISTORIES).write_bytes(b"\xff" * 64), "cannot be used"),
    "no Parquet": (lambda folder: (folder / "users.parquet").write_bytes(b"PAR1" * 9), "cannot be used"),
    "no JSON": (lambda folder: (folder / "ensemble.json").write_text("[" * 100_000), "RecursionError"),
    "weights of nobody": (facts("ensemble.json", lambda f: f["weights"].pop("ease") and None), "different members"),
    "a negative weight": (facts("ensemble.json", lambda f: f["weights"].update(ease=-1)), "negative"),
    "a weight that is a word": (facts("ensemble.json", lambda f: f["weights"].update(ease="much")), "no number"),
    "bands of something else": (facts("ensemble.json", lambda f: f["bands"].update(by="weekday")), "weekday"),
    "bands without limits": (facts("ensemble.json", lambda f: f["bands"].update(weights=[{}, {}])), "2 bands"),
    "a list for an object": (facts("ensemble.json", lambda f: [1]), "TypeError"),
    "an id twice": (table("catalog.parquet", lambda t: t.with_columns(item_id=pl.lit("i0"))), "no unique text item_id"),
    "a column that is missing": (table("catalog.parquet", lambda t: t.drop("title")), "lacks the columns title"),
    "an item less": (table("catalog.parquet", lambda t: t[:-1]), "cannot be used"),
    "a user twice": (table("users.parquet", lambda t: t.with_columns(user_id=pl.lit("u0"))), "two histories"),
    "a user less": (table("users.parquet", lambda t: t[:-1]), "offsets is int64 of shape"),
    "millions of rows in no space": (constant_rows, "states 30,000,000 rows"),
}


@pytest.mark.parametrize("case", CASES)
def test_bundle_that_no_run_writes_is_refused_with_three_lines(own_shop: Path, case: str):
    change, message = CASES[case]
    change(own_shop)
    sign(own_shop)
    with pytest.raises(ArtifactError) as caught:
        Recommender.load(own_shop)
    assert message in caught.value.message
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == ["where:", "fix:"]
    assert caught.value.where.startswith(str(own_shop))


@pytest.mark.parametrize("extra", ["more.bin", "report/more.html", "fitted/x"])
def test_file_that_the_manifest_does_not_name_is_refused(own_shop: Path, extra: str):
    (own_shop / extra).parent.mkdir(exist_ok=True)
    (own_shop / extra).write_text("x")
    with pytest.raises(ArtifactError, match=f"does not name the file '{extra}'"):
        Recommender.load(own_shop)


def test_hidden_file_of_an_operating_system_may_be_there(own_shop: Path):
    (own_shop / ".DS_Store").write_text("x")
    assert Recommender.load(own_shop)


@pytest.mark.parametrize("files", [{}, [], None, {"catalog.parquet": 1}, {"a\0b": "x"}])
def test_manifest_without_the_files_is_refused(own_shop: Path, files: Any):
    manifest = {**json.loads((own_shop / MANIFEST).read_text()), "files": files}
    (own_shop / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"not of the form|does not name the file"):
        Recommender.load(own_shop)


def test_bundle_without_any_file_is_refused(own_shop: Path):
    for file in own_shop.iterdir():
        if file.name != MANIFEST:
            file.unlink()
    sign(own_shop)
    with pytest.raises(ArtifactError, match="cannot be used: FileNotFoundError"):
        Recommender.load(own_shop)


@pytest.mark.parametrize("text", ["[]", "7", "[" * 100_000, '{"kind": "bundle", "format": "x", "files": {}}'])
def test_manifest_that_is_none_is_refused(own_shop: Path, text: str):
    (own_shop / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match=r"not of the form|cannot be read"):
        Recommender.load(own_shop)
