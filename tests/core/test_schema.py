from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.core.schema import Content, Embeddings, Histories, UserChannel, UserEmbeddings, Vocabulary


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


def with_content() -> Histories:
    photos = UserEmbeddings("photo", "image", "events", np.eye(3, dtype=np.float32), "net")
    avatars = UserEmbeddings("avatar", "image", "users", np.eye(2, dtype=np.float32), "net")
    channels = {
        "photo": UserChannel(photos, np.array([0, -1, -1, 2, 1], np.int32)),
        "avatar": UserChannel(avatars, np.array([-1, 0, 1], np.int32)),
    }
    return replace(histories(), user_channels=channels)


def rows_of(one: Histories) -> dict[str, list[int]]:
    return {name: channel.row.tolist() for name, channel in one.user_channels.items()}


def test_user_content_stays_beside_its_events_and_users():
    given = with_content()
    assert rows_of(given.rows(1, 3)) == {"photo": [-1, 2, 1], "avatar": [0, 1]}
    assert rows_of(given.take(np.array([2, 0]))) == {"photo": [-1, 2, 1, 0, -1], "avatar": [1, -1]}
    assert rows_of(given.where(given.item_index == 1)) == {"photo": [0, 2, 1], "avatar": [-1, 0, 1]}
    assert rows_of(given.weighted(given.weight)) == rows_of(given)
    later = given.rows(0, 1).appended(np.array([2]), np.array([9]), np.array([1.0]))
    assert rows_of(later) == {"photo": [0, -1, -1], "avatar": [-1]}
    assert later.item_index.tolist() == [1, 3, 2]


def test_joined_histories_keep_each_vector_wherever_it_came_from():
    given, other = with_content(), with_content()
    shared = Histories.joined([given.rows(0, 1), given.rows(2, 3)])
    assert shared.user_channels["photo"].embeddings is given.user_channels["photo"].embeddings
    assert rows_of(shared) == {"photo": [0, -1, -1, 2, 1], "avatar": [-1, 1]}
    plain = histories().rows(1, 2)
    moved = replace(other.user_channels["photo"].embeddings, values=7 * np.eye(3, dtype=np.float32))
    other = replace(other, user_channels={"photo": UserChannel(moved, other.user_channels["photo"].row)})
    mixed = Histories.joined([given.rows(2, 3), plain, other.rows(2, 3)])
    photo = mixed.user_channels["photo"]
    shown = [photo.embeddings.values[row].tolist() if row >= 0 else None for row in photo.row]
    assert shown == [None, [0, 0, 1], [0, 1, 0], None, [0, 0, 7], [0, 7, 0]]
    assert rows_of(mixed)["avatar"] == [1, -1, -1]


def test_only_names_channels_of_items_and_users():
    content = Content(
        {"t": Embeddings("t", "text", np.eye(2, dtype=np.float32), np.ones(2, bool), "x")}, None, {"photo": "n"}
    )
    assert set(content.only(["photo"]).user_channels) == {"photo"}
    assert not content.only(["photo"]).channels
    assert not content.only(["t"]).user_channels
