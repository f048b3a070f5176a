"""Attribution of networks finds what a network reads, sums as stated, and says where it fails its checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from penchant.cli import app
from penchant.core.errors import ConfigError, NotFoundError
from penchant.core.schema import BEHAVIOUR, Content, Embeddings, Histories
from penchant.explanation.attribution import METHODS, Method
from penchant.explanation.network_attribution import (
    TokenReader,
    attribute_network,
    checked,
    explain_network,
    pick_network,
    with_random_parameters,
)
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.sequence import Sequence
from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.studio.pages import add_studio

ITEMS = 12
IDS = [f"i{row}" for row in range(ITEMS)]
SMALL = {
    "dim": 16,
    "layers": 1,
    "epochs": 25,
    "learning_rate": 0.02,
    "dropout": 0.0,
    "max_length": 8,
    "held_out_users": 0,
}


def crowd(users: int = 300) -> Histories:
    """Return users who choose more or less often from the second half of the catalog, which the picture channel tells; all else is noise."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(6)[:5] + 6 * (rng.random(5) < rng.random()) for _ in range(users)]
    at = np.tile(np.arange(5, dtype=np.int64) * 1_000_000, users)
    offsets = np.arange(users + 1, dtype=np.int64) * 5
    item_index = np.concatenate(rows).astype(np.int32)
    return Histories([f"u{u}" for u in range(users)], offsets, item_index, at, np.ones(5 * users, np.float32), ITEMS)


def channels() -> Content:
    rng = np.random.default_rng(1)
    half = np.repeat(np.eye(2), 6, axis=0) + 0.05 * rng.normal(size=(ITEMS, 2))
    found = {"image": half, "text": rng.normal(size=(ITEMS, 2))}
    return Content({n: Embeddings(n, n, v.astype(np.float32), np.ones(ITEMS, bool), n) for n, v in found.items()})


@pytest.fixture(scope="module")
def network() -> Sequence:
    return Sequence(name="net", backbone="mean", use_ids=False, **SMALL).fit(crowd(), channels())


@pytest.fixture
def mixed() -> Histories:
    """Return a user with four events of the first half and one, the third, of the second."""
    user = crowd(2).rows(0, 1)
    return replace(user, item_index=np.array([0, 1, 8, 2, 3], np.int32))


@pytest.mark.parametrize("method", METHODS)
def test_attribution_names_the_events_and_the_channel_that_the_network_reads(
    network: Sequence, mixed: Histories, method: Method
) -> None:
    events, values, whole, base = attribute_network(network, channels(), mixed, 9, method)
    assert events.argmax() == 2
    assert events[2] > 0 > np.delete(events, 2).mean()
    image, text, rest = np.abs(values).sum(0)
    assert image > text
    assert rest == pytest.approx(0, abs=1e-4)  # there are no ids
    told = np.log(network.score(mixed)[0, 9]) / network.config.sharpness
    assert whole == pytest.approx(told, abs=1e-4)
    if method == "integrated_gradients":
        assert values.sum() == pytest.approx(whole - base, abs=0.02 * abs(whole - base))
        assert events == pytest.approx(values.sum(1))


def test_occlusion_of_an_event_is_the_difference_of_two_scores(network: Sequence, mixed: Histories) -> None:
    events, _, whole, base = attribute_network(
        network, channels(), mixed.rows(0, 1).where(np.arange(5) == 2), 9, "occlusion"
    )
    assert events == pytest.approx([whole - base], abs=1e-5)


def test_occlusion_of_a_part_leaves_the_other_parts_and_events_as_they_are(mixed: Histories) -> None:
    member = Sequence(name="net", backbone="gru", **{**SMALL, "epochs": 3}).fit(crowd(), channels())
    events, values, whole, _ = attribute_network(member, channels(), mixed, 9, "occlusion")
    reader = TokenReader(member, channels(), mixed, 9)
    pieces, rest = (one.clone() for one in reader.inputs())
    pieces[0, 2, 0] = reader.baselines()[0][0, 2, 0]
    assert values[2, 0] == pytest.approx(whole - reader(pieces, rest)[0].item(), abs=1e-5)
    pieces[0, 2], rest[0, 2] = reader.baselines()[0][0, 2], 0
    assert events[2] == pytest.approx(whole - reader(pieces, rest)[0].item(), abs=1e-5)


def test_ids_are_the_part_of_behaviour() -> None:
    member = Sequence(name="net", channels=[], **SMALL).fit(crowd(), Content())
    found = explain_network("net", member, Content(), crowd(2).rows(0, 1), 4, "occlusion", item_ids=IDS, titles=IDS)
    assert found.parts == (BEHAVIOUR,)
    assert [item for item, _, _ in found.events] == [IDS[row] for row in crowd(2).item_index[:5]]


def test_checks_pass_for_what_was_learned_and_fail_for_the_opposite(network: Sequence, mixed: Histories) -> None:
    found = explain_network("net", network, channels(), mixed, 9, "integrated_gradients", item_ids=IDS, titles=IDS)
    verdict = {check.name: check.passes for check in found.checks}
    assert verdict["deletion"]
    assert verdict["insertion"]
    events = np.array([-value for *_, value in found.events])
    wrong = checked(network, channels(), mixed, 9, "integrated_gradients", events, np.random.default_rng(0))
    assert [check.passes for check in wrong[:2]] == [False, False]
    liar = replace(found, checks=wrong)
    assert "fails its own checks here (deletion, insertion" in liar.text
    assert liar.as_dict()["failed"][:2] == ["deletion", "insertion"]
    short = explain_network(
        "net", network, channels(), mixed.where(np.arange(5) == 0), 9, "occlusion", item_ids=IDS, titles=IDS
    )
    assert "too short" in short.text
    nobody = explain_network(
        "net", network, channels(), mixed.where(np.zeros(5, bool)), 9, "occlusion", item_ids=IDS, titles=IDS
    )
    assert nobody.events == ()


def test_random_parameters_leave_the_network_as_it_is(network: Sequence, mixed: Histories) -> None:
    before = network.score(mixed)
    other = with_random_parameters(network, np.random.default_rng(0))
    assert not np.allclose(other.score(mixed), before, rtol=0.1)
    np.testing.assert_array_equal(network.score(mixed), before)


def test_bad_input(network: Sequence, mixed: Histories) -> None:
    weights = EnsembleWeights({"net": 1.0})
    ensemble = Ensemble({"net": network}, weights, {"net": ("image",)})
    assert pick_network(ensemble, None)[0] == "net"
    with pytest.raises(NotFoundError, match="no network over histories named 'nett'"):
        pick_network(ensemble, "nett")
    with pytest.raises(NotFoundError, match="The bundle has no network over histories"):
        pick_network(replace(ensemble, members={}), None)
    with pytest.raises(ConfigError, match="There is no method 'magic'"):
        attribute_network(network, channels(), mixed, 9, "magic")  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="does not know the item"):
        explain_network(
            "net", network, channels(), mixed, 12, "occlusion", item_ids=[*IDS, "new"], titles=[*IDS, "new"]
        )


@pytest.fixture(scope="module")
def with_network(shop: Path) -> Recommender:
    """Return the shop's recommender with a network among its members."""
    plain = Recommender.load(shop)
    member = Sequence(name="net", backbone="mean", **{**SMALL, "epochs": 3}).fit(plain.histories, plain.content)
    members = {**plain.ensemble.members, "net": member}
    weights = EnsembleWeights({**plain.ensemble.weights.overall, "net": 0.1})
    ensemble = Ensemble.build(members, weights, plain.content)
    table = {"model": "sequence", "backbone": "mean", **SMALL, "epochs": 3}
    return replace(plain, ensemble=ensemble, tables={**plain.tables, "net": table})


def test_a_network_of_a_bundle_is_explained_everywhere(with_network: Recommender, shop: Path, tmp_path: Path) -> None:
    assert with_network.networks == ("net",)
    assert Recommender.load(shop).networks == ()
    exact = with_network.explain("u0", "i3")
    assert [note for note in exact.notes if "net reads events in their order" in note]
    found = with_network.attribute("u0", "i3", method="occlusion")
    assert set(found.parts) == {*with_network.ensemble.channels["net"], BEHAVIOUR}
    folder = tmp_path / "bundle"
    with_network.save(folder)
    again = Recommender.load(folder).attribute("u0", "i3", method="occlusion")
    assert again.values == pytest.approx(found.values, abs=1e-5)  # a bundle keeps what attribution needs
    config = ServiceConfig(bundle=folder, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config, add_pages=add_studio)) as client:
        told = client.get("/v1/users/u0/explanations/i3?method=occlusion&member=net").json()
        assert told["by_part"] == pytest.approx(found.by_part(), abs=1e-4)
        assert [check["name"] for check in told["checks"]] == ["deletion", "insertion", "randomisation"]
        missing = client.get("/v1/users/u0/explanations/i3?method=occlusion&member=other")
        assert (missing.status_code, missing.json()["where"]) == (404, "members")
        page = client.get("/studio/why?user=u0&item=i3&network=net").text
        assert "adds to the log-probability" in page
        assert "Attribution of net" in client.get("/studio/why?user=u0&item=i3").text
    printed = CliRunner().invoke(app, ["explain", str(folder), "--user", "u0", "--item", "i3", "--method", "occlusion"])
    assert printed.exit_code == 0, printed.output
    assert "channel: sound" in printed.output
