"""The whole of it on a tiny world, once, and everything that can be asked of the result."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import penchant
from golden_report import golden, tolerance
from penchant.cli import app
from penchant.core.errors import ArtifactError, ConfigError, DataError
from penchant.core.schema import Histories
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.recommender.recommender import Recommender
from penchant.world import WorldConfig, make_world
from plain_recommendation import PlainWorld, ease, item_knn, popularity

GOLDEN = Path(__file__).with_name("golden_report.json")
TOML = """
name = "tiny"
output = "{output}"
cache = "{cache}"
[fit]
ship = "as_measured" # so that a second implementation can rank with the members that were measured
[data]
path = "world"
[content.text]
encoder = "tfidf"
[content.image]
encoder = "efficientnet"
[content.audio]
encoder = "mel"
[members.popularity]
model = "popularity"
[members.knn]
model = "item_knn"
half_life = [0, 5]
[members.ease]
model = "ease"
regularisation = [30, 300]
[members.like_image]
model = "content_knn"
channel = "image"
[members.content]
model = "content_regression"
[members.network]
model = "sequence"
backbone = "gru"
dim = 16
layers = 1
epochs = 4
max_length = 20
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    make_world(folder / "world", WorldConfig(size="tiny"))
    (folder / "tiny.toml").write_text(TOML.format(output=folder / "bundle", cache=folder / "cache"))
    return folder


@pytest.fixture(scope="module")
def bundle(home: Path) -> Recommender:
    return run(RecommendationConfig.from_toml(home / "tiny.toml"))


def test_loaded_bundle_scores_equal_the_run(home: Path, bundle: Recommender):
    again = penchant.load(home / "bundle")
    assert np.array_equal(again.score(again.histories), bundle.score(bundle.histories))


def test_equal_seeds_give_equal_numbers(home: Path, bundle: Recommender):
    config = RecommendationConfig.from_toml(home / "tiny.toml").model_copy(update={"output": home / "again"})
    again = run(config)
    assert np.array_equal(again.score(again.histories), bundle.score(bundle.histories))


def test_report_equals_the_stored_one(home: Path, bundle: Recommender):
    stored = json.loads(GOLDEN.read_text())
    found = golden(json.loads((home / "bundle" / "report" / "report.json").read_text()))
    assert found.keys() == stored.keys()
    for name, value in stored.items():
        if isinstance(value, list):
            assert found[name] == pytest.approx(value, abs=tolerance(name), nan_ok=True), name
        else:
            assert found[name] == value, name


def test_report_shows_maps_and_the_training_of_the_network(home: Path, bundle: Recommender):
    report = json.loads((home / "bundle" / "report" / "report.json").read_text())
    assert [found["channel"] for found in report["maps"]] == ["fused", "text", "image", "audio"]
    text = report["maps"][1]
    assert text["alike"] > 2 * text["chance"]  # topics come from the texts
    (curve,) = report["training"]
    assert (curve["name"], len(curve["losses"])) == ("network", 4)
    assert curve["scores"][curve["best"]] == max(curve["scores"])


def test_headline_numbers_equal_those_of_a_plain_second_implementation(home: Path, bundle: Recommender):
    report = json.loads((home / "bundle" / "report" / "report.json").read_text())
    plain = PlainWorld(home / "world")
    rows = {row["name"]: row["scores"] for row in report["leaderboard"]["rows"]}
    expected = {
        "Popularity": plain.best([popularity]),
        "EASE": plain.best([partial(ease, regularisation=value) for value in (200, 50, 500, 1000)]),
        "ItemKNN": plain.best([partial(item_knn, neighbours=n, shrinkage=s) for n in (100, 300) for s in (10, 0, 100)]),
    }
    lengths = [len(events) for events in plain.known.values()]
    items, weights = zip(*(event for events in plain.known.values() for event in events), strict=True)
    histories = Histories(
        list(plain.known),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array(items, np.int32),
        np.arange(len(items)),
        np.array(weights, np.float32),
        len(plain.items),
    )
    assert plain.items == bundle.catalog.item_ids
    expected["Penchant"] = plain.measure(bundle.score(histories), plain.known, plain.wanted)
    for name, (recall, ndcg) in expected.items():
        found = rows[name]["recall@20"]["mean"], rows[name]["ndcg@20"]["mean"]
        assert found == pytest.approx((recall, ndcg), abs=1e-6), name
    assert report["sizes"]["test_users"] == sum(map(bool, plain.wanted.values()))


def test_report_counts_missing_pictures_and_stands_alone(home: Path, bundle: Recommender):
    report = json.loads((home / "bundle" / "report" / "report.json").read_text())
    lines = [line for f in report["findings"] if f["check"] == "content.image.missing" for line in f["examples"]]
    image = next(c for c in report["coverage"] if c["channel"] == "image")
    assert image["num_imputed"] > 0
    assert lines == [
        f"image: {image['num_items'] - image['num_present']} of {image['num_items']} items without; "
        f"{image['num_imputed']} imputed from neighbours"
    ]
    page = (home / "bundle" / "report" / "report.html").read_text()
    assert "data:image/jpeg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_explanation_sums_to_the_score(bundle: Recommender):
    history = bundle.history(bundle.histories.user_ids[3])
    for suggestion in bundle.recommend(history, 3):
        found = bundle.explain(history, suggestion.item_id)
        events = sum(value for _, _, value in found.by_event)
        assert found.score == pytest.approx(suggestion.score, abs=1e-3)
        assert events + found.prior == pytest.approx(found.score, abs=1e-6)
        assert sum(found.by_channel.values()) == pytest.approx(found.score, abs=1e-6)
        assert sum(found.by_member.values()) == pytest.approx(found.score, abs=1e-6)


def test_recommendations_leave_out_the_history(bundle: Recommender):
    user = bundle.histories.user_ids[0]
    known = {bundle.catalog.item_ids[row] for row in bundle.history(user).item_index}
    assert known.isdisjoint(s.item_id for s in bundle.recommend(user, 20, reasons=False))


def test_new_user_and_empty_history_get_an_answer(bundle: Recommender):
    assert len(bundle.recommend(bundle.history_of(bundle.catalog.item_ids[:2]), 5)) == 5
    assert len(bundle.recommend(Histories.empty(len(bundle.catalog)), 5)) == 5


def test_profile_names_interests_with_evidence(bundle: Recommender):
    longest = int(np.argmax(bundle.histories.lengths()))
    found = bundle.profile(bundle.histories.user_ids[longest])
    assert found.interests
    assert all(interest.evidence for interest in found.interests)
    assert sum(found.modalities.values()) == pytest.approx(1)


def test_unknown_user_names_the_mend(bundle: Recommender):
    with pytest.raises(DataError, match=r"no user 'nobody'.*\n.*\n.*--history"):
        bundle.recommend("nobody")


def test_flipped_byte_is_refused(home: Path, bundle: Recommender, tmp_path: Path):
    copy = bundle.save(tmp_path / "copy").folder
    assert copy is not None
    file = copy / "ensemble.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(bytes(raw))
    with pytest.raises(ArtifactError, match="was altered"):
        penchant.load(copy)


def test_unknown_setting_names_the_nearest(home: Path):
    (home / "wrong.toml").write_text("[evaluation]\nkss = [5]\n")
    with pytest.raises(ConfigError, match=r"no setting 'kss'.*\n.*\n.*'ks'"):
        RecommendationConfig.from_toml(home / "wrong.toml")


def test_unknown_member_setting_names_the_nearest(home: Path):
    config = RecommendationConfig.from_toml(home / "tiny.toml")
    config = config.model_copy(update={"members": {"ease": {"model": "ease", "regularization": 5}}})
    with pytest.raises(ConfigError, match="'regularisation'"):
        run(config)


@pytest.mark.parametrize(
    "words",
    [
        ["recommend", "--user", "{user}"],
        ["recommend", "--history", "{item}"],
        ["profile", "--user", "{user}"],
        ["explain", "--user", "{user}", "--item", "{item}"],
        ["evaluate"],
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_every_command_answers(home: Path, bundle: Recommender, words: list[str], as_json: bool):
    names = {"user": bundle.histories.user_ids[1], "item": bundle.catalog.item_ids[5]}
    filled = [word.format(**names) for word in words]
    done = CliRunner().invoke(app, [filled[0], str(home / "bundle"), *filled[1:], *(["--json"] if as_json else [])])
    assert done.exit_code == 0, done.output
    if as_json:
        assert json.loads(done.stdout)


def test_doctor_answers_for_a_folder(home: Path):
    done = CliRunner().invoke(app, ["doctor", str(home / "world"), "--json"])
    assert done.exit_code == 0, done.output
    assert "coverage" in json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["encoders", "models", "fusions", "metrics", "sources", "settings"])
def test_list_answers(kind: str):
    done = CliRunner().invoke(app, ["list", kind, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)


def test_error_is_three_lines_and_exit_code_one(tmp_path: Path):
    done = CliRunner().invoke(app, ["recommend", str(tmp_path / "none"), "--json"])
    assert done.exit_code == 1
    assert set(json.loads(done.stdout)) == {"error", "message", "where", "fix"}


def test_settings_have_help_texts():
    from penchant.cli.listing import settings

    bare = [name for name, (_, text) in settings("", RecommendationConfig) if not text]
    assert bare == []


def test_settings_of_every_kind_of_file_are_listed():
    done = CliRunner().invoke(app, ["list", "settings", "--json"])
    found = json.loads(done.stdout)
    wanted = {
        "language.limits.per_minute",
        "trial: variants.share",
        "trial: exploration.epsilon",
        "compress: entries",
    }
    assert wanted <= found.keys()
    assert [name for name, (_, text) in found.items() if not text] == []
