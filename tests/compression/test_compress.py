"""A compressed bundle is a bundle: served, explained, grown and erased; and what compression costs is measured on events nobody learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

import penchant
from penchant.cli import app as commands
from penchant.compression.compress import CompressConfig, Compression, choose
from penchant.compression.distillation import ALONE
from penchant.compression.held_out import hold_out, standard_error
from penchant.compression.measuring import Speed, held_bytes, joules, memory_of
from penchant.compression.recipes import VECTORS, Recipe
from penchant.core.compact_embeddings import CompactEmbeddings
from penchant.core.errors import ConfigError, DataError
from penchant.core.messages import Message, Translator, message
from penchant.core.schema import Histories
from penchant.models.compressed import Compressed
from penchant.recommender.recommender import Recommender
from penchant.reporting.compression_report import TradeOffPoint
from penchant.service import erasure

SMALL = {"entries": [8, 4], "bits": [16], "members": [], "codes": [], "requests": 3}


@pytest.fixture(scope="module")
def compression(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Compression:
    folder = tmp_path_factory.mktemp("compressed") / "small"
    return penchant.compress(shop, folder, max_loss=1.0, **SMALL)


def test_the_bundle_is_smaller_and_says_how(compression: Compression, shop: Path) -> None:
    before, after = Recommender.load(shop), compression.recommender
    assert memory_of(after)["members"] < memory_of(before)["members"]
    assert after.facts["compression"]["source"] == str(shop)
    assert any(isinstance(member, Compressed) for member in after.ensemble.members.values())
    results = compression.results
    assert results.memory[1] == memory_of(after)
    assert results.num_users == (20, 20)
    assert min(p.memory_bytes for p in results.points[1:]) == results.best.memory_bytes
    assert {p.name for p in results.points} == {
        f"{rows}, {members}"
        for rows in ("as it is", "8 entries of 16 bits a row", "4 entries of 16 bits a row")
        for members in ("all members",)
    }


def test_it_is_explained_exactly_and_grows(compression: Compression) -> None:
    recommender = compression.recommender
    best = recommender.recommend("u0", 1)[0]
    found = recommender.explain("u0", best.item_id)
    assert found.score == pytest.approx(best.score, abs=1e-5)
    assert sum(found.by_member.values()) == pytest.approx(best.score, abs=1e-5)
    from penchant.recommender.new_items import NewItem

    sound = recommender.content.channels["sound"]
    grown = recommender.add_items([NewItem("n1", {"title": "new"}, {"sound": sound.values[0]})])
    assert "n1" in [s.item_id for s in grown.recommend("u1", 30)]


def test_a_user_is_erased_from_it(compression: Compression) -> None:
    without = compression.recommender.without(["u3"])
    refitted = erasure.refit(without)
    fresh, again = refitted.ensemble.arrays(), erasure.refit(without).ensemble.arrays()
    held = compression.recommender.ensemble.arrays()
    assert set(fresh) == set(held)
    assert any(fresh[name].shape != held[name].shape or not np.array_equal(fresh[name], held[name]) for name in held)
    for name in fresh:
        np.testing.assert_array_equal(fresh[name], again[name])


def test_what_it_holds_is_what_its_settings_make(compression: Compression) -> None:
    fresh = erasure.refit(compression.recommender).ensemble.arrays()
    for name, array in compression.recommender.ensemble.arrays().items():
        np.testing.assert_allclose(array.astype(np.float64), fresh[name].astype(np.float64), atol=1e-4, err_msg=name)


def test_vectors_become_codes_where_that_is_smallest(shop: Path, tmp_path: Path) -> None:
    found = penchant.compress(shop, tmp_path / "small", max_loss=1.0, **{**SMALL, "entries": [4], "codes": ["binary"]})
    assert str(found.results.best.name) == "4 entries of 16 bits a row, all members; vectors of signs"
    assert [str(p.name) for p in found.results.points][-2] == "as it is, all members; vectors of signs"
    held = found.recommender.content
    assert isinstance(held.channels["sound"], CompactEmbeddings)
    assert memory_of(found.recommender)["content"] < memory_of(Recommender.load(shop))["content"] / 4
    assert found.recommender.facts["compression"]["codes"] == "binary"
    fresh = erasure.refit(found.recommender).ensemble.arrays()
    for name, array in found.recommender.ensemble.arrays().items():
        np.testing.assert_allclose(array.astype(np.float64), fresh[name].astype(np.float64), atol=1e-4, err_msg=name)


def test_each_version_is_timed_once(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[Recommender] = []

    def counted(made: list[Recommender], asked: list[Histories]) -> list[Speed]:
        timed.extend(made)
        return [Speed(1.0 + len(timed), 1.0, 1.0, None) for _ in made]

    monkeypatch.setattr("penchant.compression.compress.speeds", counted)
    found = penchant.compress(shop, tmp_path / "small", max_loss=1.0, **{**SMALL, "entries": [4], "codes": ["int8"]})
    assert len(timed) == len({id(one) for one in timed}) == len(found.results.points) == 4
    assert [p.milliseconds for p in found.results.points] == [
        3.0,
        3.0,
        5.0,
        5.0,
    ]  # codes come after the best of the other ways is known


def test_a_compressed_bundle_is_not_compressed_again(compression: Compression, tmp_path: Path, shop: Path) -> None:
    with pytest.raises(ConfigError, match="compressed already") as error:
        penchant.compress(compression.recommender, tmp_path / "smaller")
    assert str(shop) in error.value.fix
    with pytest.raises(ConfigError, match="The output is the bundle itself"):
        penchant.compress(shop, shop)


def test_a_budget_that_nothing_meets_names_the_nearest(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No measured point is within 1e-06 MB and 100 ms\.") as error:
        penchant.compress(shop, tmp_path / "small", memory_mb=1e-6, latency_ms=100, **SMALL)
    assert "the nearest is 4 entries of 16 bits a row, all members: 0.1 MB" in error.value.fix
    assert not (tmp_path / "small").exists()


def test_too_few_users_are_refused(shop: Path) -> None:
    events = Recommender.load(shop).histories
    with pytest.raises(DataError, match="The bundle has 9 users with 5 events or more"):
        hold_out(events.rows(0, 9), 100, 0)


def test_held_out_events_are_the_last_and_nobody_learns_them(shop: Path) -> None:
    events = Recommender.load(shop).histories
    halves = hold_out(events, 30, 0)
    assert halves.train.num_events == events.num_events - 30
    users = [*halves.choice.histories.user_ids, *halves.check.histories.user_ids]
    assert len(set(users)) == 30
    for part in (halves.choice, halves.check):
        for row, user in enumerate(part.histories.user_ids):
            own = events.rows(number := events.user_ids.index(user), number + 1)
            kept, held = part.histories.rows(row, row + 1), part.truth.rows(row, row + 1)
            assert [*kept.item_index, *held.item_index] == [*own.item_index]
            assert kept.requests()[0] == held.at[0]


def point(name: str, ndcg: float, megabytes: float, milliseconds: float, error: float = 0.0) -> TradeOffPoint:
    size = int(megabytes * 1e6)
    return TradeOffPoint(Message(name), ndcg, 1 - ndcg / 0.2, error, size, size, milliseconds, milliseconds, 1.0, None)


POINTS = [
    point("whole", 0.2, 100, 8),
    point("good", 0.199, 40, 5),
    point("fast", 0.197, 30, 1),
    point("small", 0.15, 5, 1),
]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({}, 2),  # the smallest that loses at most 2 %
        ({"max_loss": 0.3}, 3),
        ({"max_loss": 0.006}, 1),
        ({"memory_mb": 50}, 1),
        ({"memory_mb": 50, "latency_ms": 2}, 2),
        ({"latency_ms": 5}, 1),
        ({"memory_mb": 10}, 3),
        ({"memory_mb": 1000}, 1),  # the whole is no compression
    ],
)
def test_the_best_point_within_the_budget_is_taken(budget: dict[str, float], expected: int) -> None:
    assert choose(POINTS, CompressConfig.read(budget, where="test")) == expected


def test_a_loss_that_no_point_keeps_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"No measured point surely loses at most 0.1 % of ndcg@10") as error:
        choose(POINTS, CompressConfig(max_loss=0.001))
    assert "good, loses 0.5 %" in error.value.fix


def test_a_point_that_may_only_look_harmless_is_not_taken() -> None:
    lucky = point("lucky", 0.1999, 4, 1, error=0.03)
    assert choose([*POINTS, lucky], CompressConfig()) == 2
    assert choose([*POINTS, lucky], CompressConfig(max_loss=0.04)) == 4


def test_the_standard_error_is_that_of_the_paired_difference() -> None:
    rng = np.random.default_rng(0)
    original, lost = rng.random(4000), rng.random(4000) * 0.1
    means = [float(lost[rows].mean() / original.mean()) for rows in rng.integers(0, 4000, (400, 4000))]
    assert standard_error(original - lost, original) == pytest.approx(np.std(means), rel=0.15)


def test_each_buffer_counts_once() -> None:
    values = np.zeros((10, 10), np.float32)
    assert held_bytes({"one": values, "view": values[:5], "again": [values]}) == 400


def test_energy_is_read_where_the_machine_counts_it(tmp_path: Path) -> None:
    assert joules(tmp_path) is None
    for name, energy in (("intel-rapl:0", 3_000_000), ("intel-rapl:1", 2_000_000), ("intel-rapl:0:0", 1_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
    assert joules(tmp_path) == 5.0  # the core of package 0 is part of it


def test_the_report_has_every_point_in_both_languages(compression: Compression, tmp_path: Path) -> None:
    from penchant.reporting.compression_report import write_compression

    folder = compression.recommender.folder
    assert folder is not None
    page = (folder / "report" / "compression.html").read_text()
    assert page.count("<circle") == len(compression.results.points)
    assert compression.results.summary in page
    saved = json.loads((folder / "report" / "compression.json").read_text())
    assert saved["chosen"] == compression.results.chosen
    joined = replace(
        compression.results,
        points=tuple(replace(p, joules=7.2) for p in compression.results.points),
    )
    write_compression(joined, tmp_path, Translator("zh"))
    chinese = (tmp_path / "compression.html").read_text()
    assert "0.002 Wh" in chinese
    assert "as it is" not in chinese
    assert "entries" not in chinese


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_points_is_whole_in_a_terminal(
    compression: Compression, width: int, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = message("{way}; {vectors}", way=Recipe(None, ALONE, 8).name, vectors=VECTORS["product"])
    points = tuple(replace(one, name=name, memory_bytes=1_279_100_000) for one in compression.results.points)
    wide = replace(compression, results=replace(compression.results, points=points))
    monkeypatch.setattr("penchant.compression.compress.compress", lambda *_: wide)
    words = ["compress", "in", "--output", "out", "--language", language]
    found = CliRunner().invoke(commands, words, env={"COLUMNS": str(width)})
    assert found.exit_code == 0, found.output
    table = found.stdout.split("1279.1 MB  ")
    assert len(table) == 1 + len(points)
    assert all(cell_len(line) <= width for line in table[1].splitlines())
    assert Translator(language).said(name).replace(" ", "") in "".join(table[1].split())
    assert "…" not in found.stdout


def test_the_command_prints_the_points(shop: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "small")
    found = CliRunner().invoke(
        commands, ["compress", str(shop), "--output", output, "--memory-mb", "5", "--users", "24", "--json"]
    )
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["memory_mb"] == 5
    assert Recommender.load(output).recommend("u0", 3)[0].title
    again = CliRunner().invoke(commands, ["compress", output, "--output", str(tmp_path / "smaller")])
    assert again.exit_code == 1
