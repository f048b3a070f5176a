"""One recommender answers everywhere: the run, the bundle, Python, the command line, the service and the studio agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from penchant.cli import app as commands
from penchant.core.errors import NotFoundError
from penchant.core.schema import INTERACTION_SCHEMA, Histories, Interactions
from penchant.data.clean.events import EventCleaningConfig, clean_events
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import Event, build_histories
from penchant.fusion.late import EnsembleWeights, StandardisedScores
from penchant.models.ensemble import on_one_scale
from penchant.models.member import Member
from penchant.recommender.lists import ListRequest, RankingOptions
from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.service import Service
from penchant.studio.pages import add_studio

BASE = 1_700_000_000_000_000
FRESH = count()
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 26).map(lambda n: f"i{n}"),  # i24 and later are not in the catalog
        st.sampled_from(["view", "like", "click", "neither", "dislike", "skip", "wave"]),
        st.integers(0, 4).map(lambda n: BASE + n),  # many ties
        st.sampled_from([None, 0.0, 1.5, 4.0, 9.0]),
    ),
    max_size=14,
)
SETTINGS = st.builds(
    HistoriesConfig, values=st.booleans(), max_events=st.sampled_from([None, 2, 5]), kinds=st.just({"wave": -0.3})
)


@pytest.fixture(scope="module")
def service(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(ServiceConfig(bundle=shop, folder=tmp_path_factory.mktemp("state")))
    yield service
    service.close()


def whole_run(recommender: Recommender, events: list[Event], users: list[str]) -> Histories:
    """Return the histories that a run makes of all events in one table: cleaned, then built."""
    other = Event("somebody", "i1", "like", BASE)  # no event at all would stop the cleaning
    table = pl.DataFrame([asdict(e) for e in (*events, other)], {**INTERACTION_SCHEMA, "at": pl.Int64}, strict=False)
    table = table.with_columns(pl.col("at").cast(INTERACTION_SCHEMA["at"]))
    cleaned, _ = clean_events(table, recommender.catalog, None, EventCleaningConfig(), now=datetime.now(UTC))
    settings = HistoriesConfig.read(recommender.facts["histories"], where="test")
    items = recommender.lookup.items
    return build_histories(Interactions(cleaned), items, settings, users=users, seed=recommender.facts["seed"])


def same_history(one: Histories, other: Histories) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("item_index", "at", "weight"))


@pytest.mark.filterwarnings("ignore:.*weigh 1 each")
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=EVENTS, known=st.integers(0, 2**14 - 1), wanted=SETTINGS, seed=st.integers(0, 5))
def test_run_bundle_and_service_agree(
    service: Service,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, int, float | None]],
    known: int,
    wanted: HistoriesConfig,
    seed: int,
):
    """Histories, scores and reasons are equal whether events were in the run, in the bundle, or came to the service."""
    number = next(FRESH)
    users = [f"sent{number}", f"split{number}"]
    facts = {**service.snapshot.recommender.facts, "seed": seed, "histories": wanted.model_dump(mode="json")}
    empty = replace(service.snapshot.recommender, facts=facts)
    events = [Event(user, *row) for user in users for row in rows]
    run = replace(empty, histories=whole_run(empty, events, users))
    bundle = run.save(tmp_path_factory.mktemp("bundle") / "bundle")

    # of the second user, the bundle holds any part of the events, and the service is sent all of them
    part = [e for n, e in enumerate(events) if e.user_id == users[1] and known >> (n % len(rows)) & 1]
    service.snapshots.serve(replace(empty, histories=whole_run(empty, part, users[1:])))
    service.store.append([events])

    for row, user in enumerate(users):
        expected = run.histories.rows(row, row + 1)
        _, person = service.states.one(user)
        assert same_history(bundle.history(user), expected)
        assert same_history(person.history, expected)
        again = run.history(user, [e for e in events if e.user_id == user])
        assert same_history(again, expected), "events the history was built from count once"
        assert np.allclose(person.scores.values, run.score(expected)[0], atol=1e-5)
        lists = [one.recommend(user, 24) for one in (run, bundle)]
        lists.append(service.lists.recommend(user, RankingOptions(k=24, reasons=True)))
        for answer in lists[1:]:
            assert [(s.item_id, s.reasons) for s in answer] == [(s.item_id, s.reasons) for s in lists[0]]


def test_weights_by_the_gap_before_the_request_are_kept_in_a_bundle_and_read_where_it_is_known(
    shop: Path, tmp_path: Path
):
    known, day = Recommender.load(shop), 86_400_000_000
    names = list(known.ensemble.weights)
    first, last = ({name: float(name == chosen) for name in names} for chosen in (names[0], names[-1]))
    weights = EnsembleWeights(first, (0, day), (first, first, last), "gap")
    again = replace(known, ensemble=replace(known.ensemble, weights=weights)).save(tmp_path / "bundle")
    assert Recommender.load(tmp_path / "bundle").ensemble.weights == weights
    history = again.histories.rows(0, 1)
    history = replace(history, at=np.full_like(history.at, 20_000 * day))
    at_once, later = (again.score(history.requested(20_000 * day + gap)) for gap in (1, 2 * day))
    assert np.array_equal(at_once, again.score(history))  # nobody said when: the overall weights
    assert not np.array_equal(at_once, later)


@pytest.fixture(scope="module")
def client(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    config = ServiceConfig(
        bundle=shop, folder=tmp_path_factory.mktemp("web"), watch_seconds=60, host_names=["testserver"]
    )
    with TestClient(create_app(config, add_pages=add_studio)) as client:
        yield client


def told(*words: str) -> Any:
    answer = CliRunner().invoke(commands, [*words, "--json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


@pytest.mark.parametrize("user", ["u0", "u1", "u17"])
def test_python_command_line_service_and_studio_agree(shop: Path, client: TestClient, user: str):
    recommender = Recommender.load(shop)
    python = [json.loads(json.dumps(asdict(s))) for s in recommender.recommend(user, 12)]
    assert told("recommend", str(shop), "--user", user, "-k", "12") == python
    web = client.get(f"/v1/users/{user}/recommendations?k=12&reasons=true").json()["items"]
    assert [{**s, "score": pytest.approx(s["score"], abs=1e-5)} for s in web] == python
    page = client.get(f"/studio/user?id={user}", headers={"Accept-Language": "en"}).text
    assert re.findall(r'data-item="([^"]+)"', page)[:12] == [s["item_id"] for s in python]

    item = python[0]["item_id"]
    explained = recommender.explain(user, item).as_dict()
    assert explained["reasons"] == python[0]["reasons"]
    assert explained["score"] == pytest.approx(python[0]["score"], abs=1e-4)
    for other in (
        told("explain", str(shop), "--user", user, "--item", item),
        client.get(f"/v1/users/{user}/explanations/{item}").json(),
    ):
        assert other["reasons"] == explained["reasons"]
        assert other["by_channel"] == pytest.approx(explained["by_channel"], abs=1e-6)
    profile = client.get(f"/v1/users/{user}/profile").json()
    assert profile["modalities"] == pytest.approx(recommender.profile(user).modalities, abs=1e-6)


def test_reason_names_an_item_once(shop: Path):
    recommender = Recommender.load(shop)
    history = recommender.history_of(["i0", "i1", "i0", "i0"])
    for reason in recommender.reasons(history, np.arange(2, 24)):
        assert len(set(reason.items)) == len(reason.items)
    texts = [reason for s in recommender.recommend(history, 20) for reason in s.reasons]
    assert any(text.count("“high tune 0”") == 1 and "“high tune 1”" in text for text in texts)
    assert not any(text.count("“high tune 0”") > 1 for text in texts)


def test_reasons_take_over_the_scales_of_the_scores(shop: Path, monkeypatch: pytest.MonkeyPatch):
    recommender = Recommender.load(shop)
    history = recommender.histories.rows(0, 1)
    (scores,) = recommender.scored(history).each()
    expected, profile = recommender.recommend(history), recommender.profile(history)
    scored: list[str] = []

    def counted(member: Member, histories: Histories) -> StandardisedScores:
        scored.append(member.name)
        return on_one_scale(member, histories)

    monkeypatch.setattr("penchant.models.ensemble.on_one_scale", counted)
    assert recommender.recommend(history) == expected
    assert recommender.profile(history) == profile
    assert sorted(scored) == sorted([*recommender.ensemble.members] * 2)  # once for each answer
    scored.clear()
    known = ListRequest(RankingOptions(reasons=True), "u0", history, (), scores)
    assert recommender.recommend_many([known]) == [expected]
    assert recommender.profile(history, scores=scores) == profile
    assert not scored


def test_scores_in_the_cache_do_not_keep_those_of_others(service: Service):
    service.lists.recommend_many([(f"u{n}", RankingOptions()) for n in range(5)])
    assert service.states.one("u1")[1].scores.values.base is None


def test_answers_are_tables_in_a_notebook_with_every_text_escaped(shop: Path):
    plain = Recommender.load(shop)
    evil = plain.catalog.table.with_columns(title=pl.lit("<script>x</script>"), genres=pl.lit(["<b>"]))
    recommender = replace(plain, catalog=replace(plain.catalog, table=evil))
    answers = (recommender.recommend("u0", 3), recommender.profile("u0"), recommender.explain("u0", "i0"))
    for answer in answers:
        html = answer._repr_html_()
        assert html.startswith("<table><caption>")
        assert "&lt;" in html
        assert "<script" not in html
        assert "<b>" not in html
    assert answers[0]._repr_html_().count("<tr>") == 4


def test_unknown_names_are_told(shop: Path):
    recommender = Recommender.load(shop)
    with pytest.raises(NotFoundError, match=r"no item 'i99'(.|\n)*Did you mean"):
        recommender.explain("u0", "i99")
    with pytest.raises(NotFoundError, match="no user 'nobody'"):
        recommender.recommend("nobody")
    assert recommender.history("nobody", []).num_events == 0
    with pytest.raises(NotFoundError, match="no attribute 'colour'"):
        recommender.recommend("u0", options=RankingOptions(where=["colour:red"]))
