import numpy as np
import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.core.schema import Embeddings, Histories, Vocabulary


def histories() -> Histories:
    return Histories(
        ["a", "b", "c"],
        np.array([0, 2, 2, 5]),
        np.array([1, 3, 0, 1, 1], np.int32),
        np.arange(5),
        np.array([1, 0.5, 1, 1, 2], np.float32),
        4,
    )


def test_vocabulary_gives_minus_one_for_unknown_ids():
    vocabulary = Vocabulary(["x", "y"])
    assert vocabulary.indices(pl.Series(["y", "z", "x"])).tolist() == [1, -1, 0]


def test_vocabulary_refuses_an_id_that_stands_twice():
    with pytest.raises(DataError, match="'x' occurs more than once"):
        Vocabulary(["x", "x"])


def test_matrix_sums_repeated_events():
    assert histories().matrix().toarray().tolist() == [[0, 1, 0, 0.5], [0, 0, 0, 0], [1, 3, 0, 0]]


def test_take_equals_rows_of_the_matrix():
    order = np.array([2, 0, 1])
    assert (histories().take(order).matrix().toarray() == histories().matrix().toarray()[order]).all()


def test_batches_keep_every_event():
    parts = list(histories().batches(2))
    assert [len(p) for p in parts] == [2, 1]
    assert np.concatenate([p.item_index for p in parts]).tolist() == [1, 3, 0, 1, 1]


def test_ages_count_back_from_the_last_event():
    assert histories().ages().tolist() == [1, 0, 2, 1, 0]


def test_unit_never_reads_rows_without_content():
    e = Embeddings("t", "text", np.array([[3, 4], [9, 9]], np.float32), np.array([True, False]), "x")
    assert np.allclose(e.unit(), [[0.6, 0.8], [0, 0]])
