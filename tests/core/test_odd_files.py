"""Inputs that fuzzing found: each was another exception, or took memory without end."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penchant.core.config import read_toml
from penchant.core.errors import ConfigError, DataError, EncoderError, MediaError, PenchantError
from penchant.data.media import load_image, load_signal, resolve
from penchant.data.media.limits import MediaLimits
from penchant.data.read import tables
from penchant.data.read.tables import as_raw, read_table
from penchant.data.read.times import read_times
from penchant.encoders import word_vectors
from penchant.encoders.word_vectors import read_word_vectors
from penchant.service.fetching import is_public
from penchant.service.http_errors import RefusedError
from penchant.service.security import ApiKeys
from penchant.service.store import Store

DAMAGED = gzip.compress(b"user_id,item_id\nu1,i1\n" * 20, mtime=0)
DAMAGED = DAMAGED[:12] + b"\xff\xff\xff\xff" + DAMAGED[16:]
CASES: dict[str, tuple[str, bytes, Callable[[Path], object], type[PenchantError], str]] = {
    "damaged archive of a table": ("a.csv.gz", DAMAGED, read_table, DataError, "read as a table: Error -3"),
    "odd number of bytes of UTF-16": ("a.csv", b"\xff\xfea\0b", read_table, DataError, "begins as UTF-16"),
    "a cell without end": ("a.csv", b'a,b\n"' + b"x" * 200_000 + b'"y,1,2\n', read_table, DataError, "read as a table"),
    "settings in Latin-1": ("a.toml", b'name = "\xe9"', read_toml, ConfigError, "not UTF-8"),
    "a number of 5,000 digits": ("a.toml", b"n = " + b"9" * 5000, read_toml, ConfigError, "not TOML"),
    "settings nested without end": ("a.toml", b"n = " + b"[" * 20_000, read_toml, ConfigError, "nested without end"),
    "damaged archive of word vectors": ("a.txt.gz", DAMAGED, read_word_vectors, EncoderError, "cannot be read"),
    "counts in other digits": ("a.txt", "² ³\n".encode(), read_word_vectors, EncoderError, "hold no vector"),
    "a count of 5,000 digits": ("a.txt", b"2 " + b"9" * 5000, read_word_vectors, EncoderError, "hold no vector"),
}


@pytest.mark.parametrize("name", CASES)
def test_odd_file_is_refused_with_three_parts(name: str, tmp_path: Path):
    file, raw, read, kind, text = CASES[name]
    (tmp_path / file).write_bytes(raw)
    with pytest.raises(kind, match=text) as error:
        read(tmp_path / file)
    assert error.value.where
    assert error.value.fix


def test_damaged_archive_is_one_that_zlib_refuses():
    with pytest.raises(zlib.error):
        gzip.decompress(DAMAGED)


def test_archive_that_holds_far_more_than_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "FREE_BYTES", 10_000)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"user_id,item_id\n" + b"u,i\n" * 100_000))
    with pytest.raises(DataError, match=r"holds over \d\d,\d{3} bytes in \d{3}\."):
        read_table(path)
    path.write_bytes(gzip.compress(b"user_id,item_id\n" + b"u,i\n" * 2000))
    assert read_table(path).table.height == 2000


def test_line_without_end_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(word_vectors, "MAX_LINE", 100)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"king 1 2\nqueen 1 3\nprince 1 4\n" + b"x" * 150))
    found = read_word_vectors(path)
    assert list(found.index) == ["king", "queen", "prince"]
    assert found.broken == 2


def test_settings_that_are_a_folder_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="is a folder"):
        read_toml(tmp_path)


def test_panic_of_polars_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pl.DataFrame({"item_id": ["a"]}).write_parquet(tmp_path / "a.parquet")

    def panic(_: Path) -> None:
        raise pl.exceptions.PanicException("assertion failed")

    monkeypatch.setattr(pl, "read_parquet", panic)  # which bytes make it panic differs between its versions
    with pytest.raises(DataError, match="do not fit together"):
        read_table(tmp_path / "a.parquet")


def test_time_beyond_every_unit_is_refused():
    with pytest.raises(DataError, match="not a time"):
        read_times(as_raw(pl.DataFrame({"at": ["1e999", "1e999"]}), "events"), "at")


def test_column_of_objects_is_refused():
    with pytest.raises(DataError, match="'at' holds Python objects"):
        as_raw(pl.DataFrame({"at": pl.Series([object()], dtype=pl.Object)}), "events")


def test_damaged_header_of_an_array_is_refused(tmp_path: Path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((20, 2), np.float32))
    raw = path.read_bytes()
    path.write_bytes(raw[:40] + b"(" + raw[41:60].replace(b"}", b" ") + raw[60:].replace(b"}", b" ", 1))
    with pytest.raises(MediaError, match="cannot be read"):
        load_signal(path, None, MediaLimits())


@pytest.mark.parametrize("name", ["\ud800.png", "x" * 300 + ".png"])
def test_name_that_no_file_can_have_is_refused(name: str, tmp_path: Path):
    with pytest.raises(MediaError) as error:
        load_image(resolve(tmp_path, name), MediaLimits())
    assert error.value.fix


def test_what_is_no_address_is_not_public():
    assert not any(is_public(text) for text in ("", "localhost", "1.2.3", "::g"))
    assert is_public("8.8.8.8")


def test_key_that_is_no_text_is_refused(tmp_path: Path):
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    with pytest.raises(RefusedError):
        ApiKeys(store, is_open=False).check("Bearer pk_a_\ud800", "read")
    store.close()
