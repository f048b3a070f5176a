"""A cinema of twelve films whose right answers can be seen."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hand_made import histories
from penchant.assistant.dialogue import Assistant
from penchant.core.schema import Catalog, Content
from penchant.explanation.topics import Topics
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender

FILMS = [
    # title, genre, language, price, year, about, topic
    ("Harbour Lights (1984)", "Drama", "en", 5.0, 1984, "boats and sailors in an old harbour", 0),
    ("The Long Sea (1999)", "Drama", "en", 9.0, 1999, "a sailor crosses the sea in small boats", 0),
    ("Storm Pilot (2005)", "Thriller", "en", 12.0, 2005, "a pilot guides boats through a storm at sea", 0),
    ("Laughing Tide (2012)", "Comedy", "en", 8.0, 2012, "two sailors and a stolen boat", 0),
    ("Bread and Butter (1988)", "Comedy", "en", 4.0, 1988, "a baker and her bread", 1),
    ("The Quiet Kitchen (2001)", "Drama", "en", 11.0, 2001, "cooking in a quiet kitchen with bread", 1),
    ("Knife Work (2010)", "Thriller", "en", 14.0, 2010, "a cook, a kitchen and a secret", 1),
    ("面包师的早晨", "Comedy", "zh", 6.0, 2015, "面包师 在 厨房 烹饪 面包", 1),
    ("海上的灯", "Drama", "zh", 7.0, 1995, "水手 和 小船 在 海港", 0),
    ("厨房里的秘密", "Thriller", "zh", 10.0, 2008, "厨师 在 厨房 的 秘密", 1),
    ("风暴之船", "Thriller", "zh", 13.0, 2018, "小船 在 海上 遇见 风暴", 0),
    ("一笑而过", "Comedy", "zh", 3.0, 2020, "水手 的 笑话", 0),
]
PEOPLE = [[0, 1, 2], [0, 1, 8], [4, 5, 6], [4, 7, 9], [1, 2, 10], [5, 6, 9], [0, 8, 10], [3, 11, 4]]


@pytest.fixture(scope="session")
def cinema() -> Recommender:
    """Return the cinema's recommender: item-kNN and popularity over eight users."""
    rows = [
        {"item_id": f"f{n}", "title": t, "genre": g, "language": lang, "price": p, "year": y, "about": a}
        for n, (t, g, lang, p, y, a, _) in enumerate(FILMS)
    ]
    catalog = Catalog(pl.DataFrame(rows), "title", ("about",), {}, ("genre", "language", "price", "year"))
    events = histories(PEOPLE, len(FILMS))
    tables = {"popularity": {"model": "popularity"}, "itemknn": {"model": "item_knn"}}
    members = {name: make_member(name, table).fit(events, Content()) for name, table in tables.items()}
    ensemble = Ensemble.build(members, EnsembleWeights({"popularity": 0.3, "itemknn": 0.7}), Content())
    labels = np.array([topic for *_, topic in FILMS], np.int32)
    topics = Topics(
        labels,
        ["sea · boats · sailors", "kitchen · bread · cooking"],
        {"zh": ["大海 · 小船 · 水手", "厨房 · 面包 · 烹饪"]},
    )
    return Recommender(catalog, events, ensemble, tables, topics, {})


@pytest.fixture(scope="session")
def assistant(cinema: Recommender) -> Assistant:
    """Return the assistant of the cinema."""
    return Assistant(cinema)
