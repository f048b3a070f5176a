"""A user's praise and blame of aspects ranks other items with and without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from hand_made import histories
from penchant.core.errors import ConfigError
from penchant.core.schema import Catalog, Content, Histories, UserChannel, UserEmbeddings
from penchant.encoders.aspects import ReviewAspects, ReviewAspectsConfig
from penchant.models.aspects import Aspects, AspectsConfig
from penchant.models.user_content import SHRINKAGE

CATALOGS = {
    "en": ("colour", "sole", "red", "blue", "rubber", "leather", "Lovely colour, poor sole"),
    "zh": ("颜色", "鞋底", "红色", "蓝色", "橡胶", "皮革", "颜色很漂亮，鞋底太差"),
}


def reviewed(language: str) -> tuple[Histories, Content]:
    """Return a user who reviewed a red shoe with a rubber sole; the others are red and leather, blue and rubber, blue and leather."""
    colour, sole, red, blue, rubber, leather, text = CATALOGS[language]
    columns = {"item_id": list("abcd"), colour: [red, red, blue, blue], sole: [rubber, leather, rubber, leather]}
    catalog = Catalog(pl.DataFrame(columns), attribute_columns=(colour, sole))
    encoder = ReviewAspects(ReviewAspectsConfig()).about(catalog)
    prepared = [encoder.prepare(text)]
    learned = encoder.learn(prepared)
    vectors = encoder.encode_learned(prepared, learned)
    embeddings = UserEmbeddings("aspects", "text", "events", vectors, "net", has_signs=True, learned=learned)
    channel = UserChannel(embeddings, np.array([0, -1, -1], np.int32))
    given = replace(histories([[0, 3], [2]], 4), user_channels={"aspects": channel})
    return given, Content({}, None, {"aspects": "net"})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_lovely_colour_and_poor_sole_raise_one_and_lower_the_other(language: str) -> None:
    users, content = reviewed(language)
    scores = Aspects(name="aspects").fit(users, content).score(users)
    red_rubber, red_leather, blue_rubber, blue_leather = scores[0]
    assert red_leather > 0 > blue_rubber
    assert red_leather > blue_leather > blue_rubber
    assert red_leather > red_rubber > blue_rubber
    assert not scores[1].any()  # who wrote nothing


def test_scores_are_the_profile_times_the_rarity_of_the_aspects() -> None:
    users, content = reviewed("en")
    member = Aspects(name="aspects").fit(users, content)
    has = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]], float)  # red, blue, rubber, leather
    profile = np.array([1, 0, -1, 0]) / (1 + SHRINKAGE)
    plain = profile @ (has / np.sqrt(2)).T  # every aspect is as rare: two of four items
    np.testing.assert_allclose(member.score(users)[0] / member.score(users)[0, 1], plain / plain[1], atol=1e-6)
    prior, events = member.contributions(users.rows(0, 1))
    np.testing.assert_allclose(prior + events.sum(0), member.score(users)[0], atol=1e-6)
    assert not events[1].any()


def test_a_channel_that_is_missing_or_holds_no_aspects_is_refused() -> None:
    users, content = reviewed("en")
    with pytest.raises(ConfigError, match="no channel of user content 'words'"):
        Aspects(AspectsConfig(channel="words"), name="aspects").fit(users, content)
    channel = users.user_channels["aspects"]
    plain = replace(channel, embeddings=replace(channel.embeddings, learned={}))
    with pytest.raises(ConfigError, match="no channel of aspects") as caught:
        Aspects(name="aspects").fit(replace(users, user_channels={"aspects": plain}), content)
    assert 'encoder = "aspects"' in caught.value.fix
