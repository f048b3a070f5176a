"""What a report shows of the inside of a recommender is of the right items, within its time, and gone where it is not wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from penchant.core.schema import Content, Embeddings
from penchant.data.media import MediaLimits
from penchant.experiment import inside
from penchant.experiment.inside import item_maps, training_curves
from penchant.explanation.topics import Topics
from penchant.networks.trainer import TrainingHistory
from penchant.recommender.recommender import Recommender
from penchant.reporting.heat import Heat
from penchant.reporting.inside import ReportConfig


@pytest.fixture(scope="module")
def recommender(shop: Path) -> Recommender:
    return Recommender.load(shop)


def test_a_curve_without_held_out_scores_has_none() -> None:
    members = {
        "scored": SimpleNamespace(training_history=TrainingHistory([3.0, 2.0], [0.1, 0.2], [1.0, 1.0], 1)),
        "unscored": SimpleNamespace(training_history=TrainingHistory([3.0, 2.0], [0.0, 1.0], [1.0, 1.0], 1)),
        "restored": SimpleNamespace(training_history=TrainingHistory()),
        "ease": SimpleNamespace(),
    }
    found = {curve.name: curve.scores for curve in training_curves(members)}
    assert found == {"scored": (0.1, 0.2), "unscored": ()}


def test_maps_are_of_the_fused_vectors_and_of_channels_with_content() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    kinds = {"text": "text", "image": "image", "colour": "attribute"}
    channels = {name: Embeddings(name, kind, values, np.ones(40, bool), "test") for name, kind in kinds.items()}
    topics = Topics(np.repeat([0, 1, -1, 0], 10).astype(np.int32), ["boats", "hills"])
    found = list(item_maps(Content(channels, channels["text"]), topics, ReportConfig()))
    assert [one.channel for one in found] == ["fused", "text", "image"]
    assert found[0].names == ("boats", "hills")
    assert [found[0].groups[row] for row in (0, 10, 20, 39)] == [0, 1, -1, 0]
    alone = item_maps(Content({"colour": channels["colour"]}), topics, ReportConfig())
    assert [one.channel for one in alone] == ["colour"]


def test_heat_is_over_channels_that_the_ensemble_reads_and_stops_with_its_time(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = {"sound": SimpleNamespace(columns=None), "unread": SimpleNamespace(columns=None)}
    drawn: list[tuple[str, str]] = []

    def draw(given: Recommender, item_id: str, channel: str, *rest: object) -> Heat:
        drawn.append((item_id, channel))
        return Heat("audio", channel, "occlusion", np.zeros((2, 2)))

    sound = replace(recommender.content.channels["sound"], seconds=None)
    sound = replace(sound, present=np.arange(len(sound.present)) != 3)
    content = replace(recommender.content, channels={"sound": sound, "unread": replace(sound, modality="image")})
    given = replace(recommender, content=content)
    monkeypatch.setattr(inside, "heat_channels", lambda _: channels)
    monkeypatch.setattr(inside, "item_heat", draw)
    monkeypatch.setattr(type(given.encoders), "load", lambda *_: None)
    one = given.histories.rows(0, 1)
    ensemble = replace(given.ensemble, channels=dict.fromkeys(given.ensemble.members, ("sound",)))
    needed = inside.VERSIONS["audio"] * inside.TYPICAL_SECONDS
    ids, titles = given.lookup.items.ids, given.lookup.titles
    listed = [ids[3], ids[7], ids[5]]  # the first of the shown list has no sound
    found = list(inside._heats(replace(given, ensemble=ensemble), one, listed, MediaLimits(), needed + 1))
    assert [(shown.heat.name, shown.title) for shown in found] == [("sound", titles[7])]
    assert not list(inside._heats(replace(given, ensemble=ensemble), one, listed, MediaLimits(), needed - 1))
    assert not list(inside._heats(replace(given, ensemble=ensemble), one, [], MediaLimits(), needed + 1))
    assert drawn == [(ids[7], "sound")]
