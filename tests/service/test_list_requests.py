"""Lists made together are those made one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from penchant.core.errors import NotFoundError
from penchant.recommender.lists import RankingOptions, RecommendationList
from penchant.service.config import ServiceConfig
from penchant.service.schemas import SessionIn
from penchant.service.service import Service

ASKED: list[tuple[str | None, RankingOptions]] = [
    ("u1", RankingOptions(k=5)),
    ("u2", RankingOptions(k=5, context=["i3", "no-item"])),
    (None, SessionIn(history=["i1", "i2"], k=5)),
    ("u1", RankingOptions(k=3, seen=True)),
    ("stranger", RankingOptions(k=5, context=["i7"])),
    (None, SessionIn(context=["i7"], k=5)),
    ("another stranger", RankingOptions(k=5)),
]


@pytest.fixture(scope="module")
def service(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(ServiceConfig(bundle=shop, folder=tmp_path_factory.mktemp("state")))
    yield service
    service.close()


def same(one: RecommendationList, other: RecommendationList) -> bool:
    scores = [[item.score for item in listed.items] for listed in (one, other)]
    ids = [[item.item_id for item in listed.items] for listed in (one, other)]
    return ids[0] == ids[1] and np.allclose(*scores, atol=1e-5)


def test_lists_made_together_are_those_made_alone(service: Service):
    together = service.lists.recommend_many(ASKED)
    service.user_cache.clear()
    for (user_id, options), listed in zip(ASKED, together, strict=True):
        assert isinstance(listed, RecommendationList)
        assert listed.user_id == user_id
        assert same(listed, service.lists.recommend(user_id, options))


def test_basis_says_what_was_known(service: Service):
    kinds = [listed.basis for listed in service.lists.recommend_many(ASKED) if isinstance(listed, RecommendationList)]
    assert kinds == ["history", "history", "history", "history", "context", "context", "popularity"]
    assert service.lists.recommend("u2", ASKED[1][1]).unknown_items == 1


def test_wish_that_fails_is_nobody_elses_failure(service: Service):
    good, bad, session = service.lists.recommend_many(
        [
            ("u1", RankingOptions(k=5)),
            ("u2", RankingOptions(where=["colour:red"])),
            (None, SessionIn(history=["i1"], k=5)),
        ]
    )
    assert isinstance(bad, NotFoundError)
    assert isinstance(good, RecommendationList)
    assert same(good, service.lists.recommend("u1", RankingOptions(k=5)))
    assert isinstance(session, RecommendationList)
    with pytest.raises(NotFoundError, match="no attribute 'colour'"):
        service.lists.recommend("u2", RankingOptions(where=["colour:red"]))


def test_person_who_asks_twice_at_once_is_read_once(service: Service):
    service.user_cache.clear()
    service.lists.recommend_many([("u3", RankingOptions(k=5))] * 3)
    assert len(service.user_cache) == 1
