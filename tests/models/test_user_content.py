"""Members that read user content agree with independent formulas, and say nothing about users without any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hand_made import histories
from penchant.core.errors import ConfigError
from penchant.core.schema import SILENCED, Catalog, Content, Embeddings, Histories, UserChannel, UserEmbeddings
from penchant.models.ensemble import on_one_scale
from penchant.models.user_content import (
    SHRINKAGE,
    UserContentKNN,
    UserContentKNNConfig,
    UserContentRegression,
    UserContentRegressionConfig,
)

ITEMS = 6
RNG = np.random.default_rng(3)
PHOTOS = UserEmbeddings("photo", "image", "events", RNG.normal(size=(5, 4)).astype(np.float32), "net")
AVATARS = UserEmbeddings("avatar", "image", "users", RNG.normal(size=(3, 3)).astype(np.float32), "other")
PICTURES = Embeddings("image", "image", RNG.normal(size=(ITEMS, 4)).astype(np.float32), np.ones(ITEMS, bool), "net")
CONTENT = Content({"image": PICTURES}, None, {"photo": "net", "avatar": "other"})


def people() -> Histories:
    """Return four users: two with photos and an avatar, one with an avatar alone, one with nothing of their own."""
    given = histories(
        [[0, 1, 2, 3], [2, 3, 4], [4, 5], [0, 5, 1]], ITEMS, [[1, 1, 1, 1], [1, -1, 1], [1, 1], [1, 1, 1]]
    )
    photo = np.array([0, -1, 1, -1, 2, 3, 4, -1, -1, -1, -1, -1], np.int32)
    avatar = np.array([0, 1, 2, -1], np.int32)
    return replace(given, user_channels={"photo": UserChannel(PHOTOS, photo), "avatar": UserChannel(AVATARS, avatar)})


def regression(**options: float | str) -> UserContentRegression:
    config = UserContentRegressionConfig.read({"regularisation": 2.0, **options}, where="test")
    return UserContentRegression(config, name="own").fit(people(), CONTENT)


def neighbours(**options: float) -> UserContentKNN:
    table = {"channel": "photo", "item_channel": "image", **options}
    return UserContentKNN(UserContentKNNConfig.read(table, where="test"), name="own").fit(people(), CONTENT)


def unit(row: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return (row - mean) / np.linalg.norm(row - mean)


def plain_inputs(users: Histories, keep: np.ndarray) -> np.ndarray:
    """Return [avatar, photo] of each user, event by event."""
    photo_mean, avatar_mean = PHOTOS.values.mean(0), AVATARS.values.mean(0)
    rows = []
    for user in range(len(users)):
        avatar, photo, count = np.zeros(3), np.zeros(4), 0
        if users.user_channels["avatar"].row[user] >= 0:
            avatar = unit(AVATARS.values[users.user_channels["avatar"].row[user]], avatar_mean)
        for event in range(users.offsets[user], users.offsets[user + 1]):
            place = users.user_channels["photo"].row[event]
            if keep[event] and place >= 0:
                photo += unit(PHOTOS.values[place], photo_mean) * (-1 if users.weight[event] < 0 else 1)
                count += 1
        rows.append(np.concatenate([avatar, photo / (count + SHRINKAGE)]))
    return np.array(rows)


def test_the_regression_is_ridge_from_one_half_of_the_events_to_the_other() -> None:
    users = people()
    even = np.concatenate([np.arange(n)[::-1] % 2 == 0 for n in users.lengths()])
    inputs, chosen = [], []
    for part in (even, ~even):
        inputs.append(plain_inputs(users, part))
        table = np.zeros((len(users), ITEMS))
        for event in np.flatnonzero(~part & (users.weight > 0)):
            table[users.user_index()[event], users.item_index[event]] = 1
        chosen.append(table)
    z, y = np.concatenate(inputs), np.concatenate(chosen)
    y = y - np.outer(y.sum(1), y.sum(0) / y.sum())
    expected = np.linalg.solve(z.T @ z + 2.0 * np.eye(7), z.T @ y)
    plain = plain_inputs(users, np.ones(12, bool)) @ expected
    plain /= plain[plain.any(1)].std(1).mean()  # one scale for everybody
    np.testing.assert_allclose(regression().score(users), plain, rtol=1e-4, atol=1e-5)


def test_the_regression_of_later_items_is_ridge_from_all_earlier_content_to_each_item() -> None:
    users = people()
    owner, photo, avatar = users.user_index(), users.user_channels["photo"], users.user_channels["avatar"]
    inputs, chosen = [], []
    for event in np.flatnonzero(users.weight > 0):
        row, mine, total = np.zeros(7), avatar.row[owner[event]], 0.0
        if mine >= 0:
            row[:3] = unit(AVATARS.values[mine], AVATARS.values.mean(0))
        for earlier in range(users.offsets[owner[event]], event):
            if photo.row[earlier] >= 0:
                weight = 0.5 ** ((event - earlier - 1) / 3)
                sign = -1 if users.weight[earlier] < 0 else 1
                row[3:] += weight * sign * unit(PHOTOS.values[photo.row[earlier]], PHOTOS.values.mean(0))
                total += weight
        row[3:] /= total + SHRINKAGE
        inputs.append(row)
        chosen.append(np.eye(ITEMS)[users.item_index[event]])
    z, y = np.array(inputs), np.array(chosen)
    expected = np.linalg.solve(z.T @ z + 2.0 * np.eye(7), z.T @ (y - y.mean(0)))
    found = regression(learns="later", half_life=3)
    sample = np.concatenate([found._inputs(users)["avatar"], found._inputs(users)["photo"]], axis=1)
    plain = sample @ expected
    plain /= plain[sample.any(1)].std(1).mean()
    np.testing.assert_allclose(found.score(users), plain, rtol=1e-4, atol=1e-5)


def test_what_was_shown_lately_counts_more() -> None:
    users = people()
    pictures = np.array([unit(row, PICTURES.values.mean(0)) for row in PICTURES.values])
    photos = np.array([unit(row, PHOTOS.values.mean(0)) for row in PHOTOS.values])
    member = neighbours(half_life=2)
    weight = 0.5 ** (np.array([3, 1]) / 2)  # photos beside the first and the third of four events
    expected = weight @ (photos[:2] @ pictures.T) / (weight.sum() + SHRINKAGE) / member.spread
    np.testing.assert_allclose(member.score(users)[0], expected, rtol=1e-4, atol=1e-5)


def test_neighbours_are_the_mean_cosine_of_photos_and_pictures() -> None:
    users, pictures = people(), PICTURES.values
    items = np.array([unit(row, pictures.mean(0)) for row in pictures])
    photos = np.array([unit(row, PHOTOS.values.mean(0)) for row in PHOTOS.values])
    cosine = photos @ items.T
    sharp = np.sign(cosine) * np.abs(cosine) ** 3
    sharp /= sharp.std(1).mean()  # one scale for everybody
    expected = [(sharp[0] + sharp[1]) / 3, (sharp[2] - sharp[3] + sharp[4]) / 4, np.zeros(ITEMS), np.zeros(ITEMS)]
    np.testing.assert_allclose(neighbours(sharpness=3).score(users), expected, rtol=1e-4, atol=1e-5)


def test_a_user_without_content_of_their_own_scores_nothing() -> None:
    for member in (regression(), neighbours()):
        assert not member.score(people())[3].any()
        assert not member.score(histories([[0, 1]], ITEMS)).any()  # a history that knows no channels


def test_who_shows_more_keeps_larger_scores_in_an_ensemble() -> None:
    users = people()
    photo = users.user_channels["photo"]
    fewer = replace(photo, row=np.where(np.arange(12) == 2, -1, photo.row).astype(np.int32))
    for member in (regression(), neighbours()):
        assert not on_one_scale(member, users).values[3].any()
        spread = on_one_scale(member, users).values.std(1)
        assert not np.allclose(spread[:3], spread[0])
    less = on_one_scale(neighbours(), replace(users, user_channels={**users.user_channels, "photo": fewer})).values
    one_photo, half = less[0], neighbours().score(users.rows(0, 1).where(np.array([True, False, False, False])))[0]
    np.testing.assert_allclose(one_photo, half, rtol=1e-5)


def test_an_avatar_alone_gives_a_prior() -> None:
    newcomer = replace(people().take(np.array([2])).where(np.zeros(2, bool)))
    prior, events = regression().contributions(newcomer)
    assert prior.any()
    assert events.shape == (0, ITEMS)
    np.testing.assert_allclose(regression().score(newcomer)[0], prior, atol=1e-6)


def test_vectors_with_signs_of_their_own_do_not_take_that_of_the_event() -> None:
    users = people()
    signed = replace(PHOTOS, has_signs=True)
    channels = {**users.user_channels, "photo": UserChannel(signed, users.user_channels["photo"].row)}
    plain, other = neighbours().score(users), neighbours().score(replace(users, user_channels=channels))
    np.testing.assert_array_equal(plain[0], other[0])  # no disliked event
    assert not np.allclose(plain[1], other[1])


def test_a_channel_that_does_not_exist_or_does_not_fit_is_refused() -> None:
    missing = UserContentKNNConfig.read({"channel": "foto", "item_channel": "image"}, where="test")
    with pytest.raises(ConfigError, match="no channel of user content 'foto'"):
        UserContentKNN(missing, name="own").fit(people(), CONTENT)
    other = UserContentKNNConfig.read({"channel": "avatar", "item_channel": "image"}, where="test")
    with pytest.raises(ConfigError, match="vectors of 3 and 4 numbers"):
        UserContentKNN(other, name="own").fit(people(), CONTENT)
    with pytest.raises(ConfigError, match="no user content to read"):
        UserContentRegression(name="own").fit(histories([[0, 1]], ITEMS), CONTENT)


@pytest.mark.parametrize("half_life", [0.0, 2.0])
def test_silenced_content_adds_nothing_and_keeps_its_share(half_life: float) -> None:
    for member in (regression(half_life=half_life), neighbours(half_life=half_life)):
        users = people().rows(1, 2)
        photo = users.user_channels["photo"]
        row = photo.row.copy()
        row[0] = SILENCED
        silent = replace(users, user_channels={**users.user_channels, "photo": replace(photo, row=row)})
        gone = replace(users, user_channels={**users.user_channels, "photo": photo.cleared(users)})
        stated = member.contributions(users)[1]
        assert np.abs(stated[0]).max() > 1e-3
        both = member.score(Histories.joined([users, silent]))
        assert both[:1] - both[1:] == pytest.approx(stated[:1], abs=1e-6)
        assert member.score(users) - member.score(gone) == pytest.approx(stated.sum(0)[None], abs=1e-6)
        less = np.where(row == SILENCED, np.int32(-1), row)  # without the event itself the others' shares grow
        without = replace(users, user_channels={**users.user_channels, "photo": replace(photo, row=less)})
        assert np.abs(member.score(silent) - member.score(without)).max() > 1e-3


class Told:
    """A channel that tells which items a history holds."""

    encoder = "told"

    def __call__(self, histories: Histories) -> UserChannel:
        values = np.asarray(histories.matrix().todense(), np.float32)
        rows = np.where(histories.lengths() > 0, np.arange(len(histories)), -1).astype(np.int32)
        return UserChannel(UserEmbeddings("told", "text", "users", values, self.encoder), rows)

    def of(self, catalog: Catalog, topics: object) -> Told:
        return self

    def forget(self) -> None:
        pass


@pytest.mark.parametrize("learns", ["halves", "later"])
def test_what_is_computed_from_a_history_is_not_learned_from_the_very_items_it_tells(learns: Any) -> None:
    """Nobody chooses an item twice, so an item that is told must not raise its own score: it would if a channel told what it is learned to predict."""
    rng = np.random.default_rng(0)
    train = replace(histories([rng.permutation(12)[:8].tolist() for _ in range(200)], 12), derived={"told": Told()})
    content = Content(user_channels=train.encoders())
    member = UserContentRegression(UserContentRegressionConfig(learns=learns, regularisation=1.0), name="own")
    member.fit(train, content)
    scores, own = member.score(train), np.asarray(train.matrix().todense()) > 0
    assert scores[own].mean() < scores[~own].mean()
    prior, events = member.contributions(train.rows(0, 1))
    assert np.allclose(prior + events.sum(0), scores[0], atol=1e-5)
    assert not events.any()  # it is of the person as a whole
