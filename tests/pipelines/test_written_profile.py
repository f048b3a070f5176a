"""The profile in words as a channel: what it knows, what it does not, and the same numbers in a run, a bundle and a new process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

import penchant
from penchant.core.errors import ConfigError
from penchant.core.schema import Histories
from penchant.data.histories import Event
from penchant.encoders import ENCODERS
from penchant.encoders.encoder import code_of
from penchant.encoders.text import LengthConfig, TextEncoder
from penchant.explanation.profile import item_weight
from penchant.explanation.profile_channel import CHANNEL, ProfileChannel, WrittenProfileConfig
from penchant.language.engine import CachedEngine, Engine, Prompt
from penchant.recommender.new_items import ChannelEncoders, NewItem
from penchant.recommender.recommender import Recommender

KINDS = ("bread", "trains", "moss")
TABLES = {
    "written_profile": {"model": "user_content_regression", "channels": [CHANNEL], "regularisation": 1},
    "ease": {"model": "ease", "regularisation": 5},
}


class CountedWords(TextEncoder[LengthConfig]):
    """Words by their hash; remembers what it read."""

    config_class = LengthConfig
    dim, licence, cost = 32, "none", "light"
    read: ClassVar[list[str]] = []

    def weights(self) -> Any:
        return None

    def encode(self, prepared: Sequence[str]) -> np.ndarray:
        self.read += prepared
        rows = np.zeros((len(prepared), 32), np.float32)
        for row, text in enumerate(prepared):
            for word in text.split():
                rows[row, code_of(word) % 32] += 1
        return rows


class Shouting(Engine):
    """An engine that repeats the first statement."""

    @property
    def provenance(self) -> dict[str, Any]:
        return {"model": "shouting"}

    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        return [prompt.user.split("- ")[1].splitlines()[0] for prompt in prompts]

    def stream(self, prompt: Prompt) -> Iterator[str]:
        yield from self.write([prompt])


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ENCODERS._added, "counted_words", CountedWords)
    CountedWords.read.clear()


def tables() -> dict[str, pl.DataFrame]:
    """Return 36 items of three kinds and 60 users who choose seven of one kind, one of another."""
    rng = np.random.default_rng(0)
    items = [{"item_id": f"i{n:02}", "title": f"thing {n}", "kind": KINDS[n % 3]} for n in range(36)]
    rows = [
        {"user_id": f"u{user:02}", "item_id": f"i{item:02}", "at": 1_600_000_000 + 86_400 * place}
        for user in range(60)
        for place, item in enumerate([*rng.permutation(12)[:7] * 3 + user % 3, int(rng.integers(36))])
    ]
    return {"interactions": pl.DataFrame(rows).unique(["user_id", "item_id"]), "items": pl.DataFrame(items)}


def settings(**more: Any) -> dict[str, Any]:
    own = {"encoder": "counted_words", **more}
    return {
        "name": "profiles",
        "content": {},
        "split": {"kind": "last_out"},
        "members": TABLES,
        "written_profile": own,
    }


@pytest.fixture
def shop() -> Recommender:
    return penchant.run(**tables(), **settings())


def test_a_profile_knows_the_events_of_its_history_alone() -> None:
    data = penchant.prepare(**tables(), **settings())
    reader = data.validation.train.derived[CHANNEL]
    assert np.array_equal(reader.weight, item_weight(data.validation.train))  # nothing of validation or test
    whole = data.known
    cut = whole.where(whole.ages() > 1)
    channel = cut.channel(CHANNEL)
    again = cut.rows(3, 4).channel(CHANNEL)
    assert np.array_equal(channel.embeddings.values[channel.row[3]], again.embeddings.values[again.row[0]])
    longer = whole.rows(3, 4).channel(CHANNEL)
    assert not np.array_equal(longer.embeddings.values[0], again.embeddings.values[0])
    nobody = Histories.empty(36)
    assert reader(nobody).row.tolist() == [-1]
    assert reader(Histories.joined([replace(nobody, derived={CHANNEL: reader}), cut.rows(0, 1)])).row.tolist() == [
        -1,
        0,
    ]


def test_a_bundle_scores_as_the_run_did_and_its_contributions_sum_up(shop: Recommender) -> None:
    assert shop.ensemble.weights["written_profile"] > 0
    loaded = Recommender.load(shop.folder)
    some = shop.histories.rows(0, 5)
    assert np.allclose(loaded.score(loaded.histories.rows(0, 5)), shop.score(some), atol=1e-6)
    item = loaded.recommend("u00", 1).items[0]
    explained = loaded.explain("u00", item.item_id)
    assert explained.score == pytest.approx(item.score, abs=1e-4)
    assert CHANNEL in str(explained.as_dict())
    rows = shop.report.read()["leaderboard"]
    assert any("without" not in str(row) for row in rows)


def test_a_new_event_changes_the_profile_of_the_next_list(shop: Recommender) -> None:
    member = shop.ensemble.members["written_profile"]
    before = shop.history("u00")
    moss = [Event("u00", f"i{n:02}", "view", 1_700_000_000_000_000 + n) for n in range(2, 36, 3)]
    after = shop.history("u00", moss)
    rows = np.arange(36) % 3 == 2
    gain = (member.score(after) - member.score(before))[0]
    assert gain[rows].mean() > gain[~rows].mean() + 0.1
    grown = shop.add_items([NewItem("new", {"title": "thing 36", "kind": "moss"})])
    assert (
        grown.history("u00", [*moss, Event("u00", "new", "view", 1_700_000_001_000_000)]).channel(CHANNEL) is not None
    )
    assert grown.recommend("u00", 3).items


def test_what_was_written_once_is_not_written_again(shop: Recommender) -> None:
    CountedWords.read.clear()
    again = penchant.run(**tables(), **settings())
    assert CountedWords.read == []
    assert np.array_equal(again.score(again.histories), shop.score(shop.histories))
    stored = b"".join(file.read_bytes() for file in Path("runs/cache").rglob("*") if file.is_file())
    assert b"events are" not in stored  # vectors, and no text
    assert b"u00" not in stored


def test_a_served_history_does_not_wait_for_a_language_model(
    shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penchant.explanation.profile_channel.make_engine", lambda _: CachedEngine(Shouting()))
    config = WrittenProfileConfig(encoder="counted_words", engine="local")
    weight, load = item_weight(shop.histories), ChannelEncoders().load
    written = ProfileChannel(shop.catalog, shop.topics, weight, config, load)
    some, other = shop.histories.rows(0, 3), shop.histories.rows(3, 4)
    by_engine = written(some)
    assert CountedWords.read[0].startswith("8") or "of your" in CountedWords.read[0]
    CountedWords.read.clear()
    served = ProfileChannel(shop.catalog, shop.topics, weight, config, load, waits=False).knowing(written.known(some))
    assert np.array_equal(served(some).embeddings.values, by_engine.embeddings.values)
    assert CountedWords.read == []
    served(other)
    assert CountedWords.read[0].startswith("You choose")  # the fixed sentences
    served.forget()
    assert served.known(other) == {}
    assert len(served.known(some)) == 3  # of the bundle


@pytest.mark.parametrize(
    ("own", "where"),
    [
        ({"encoder": "tfidf"}, "written_profile.encoder"),
        (
            {"encoder": "minilm", "engine": "remote", "remote_model": "m", "base_url": "http://x/v1"},
            "written_profile.send_personal",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(own: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        penchant.prepare(**tables(), **{**settings(), "written_profile": own})
    assert caught.value.where == where
