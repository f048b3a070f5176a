"""Parts of labelled samples: every class where it can be, no group in two, and the same again whatever the order of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import Samples, SampleSplit
from penchant.data.read.samples import SamplesConfig, read_samples, samples_from
from penchant.data.split.samples import SampleSplitConfig, fold_samples, split_samples


def made(num: int = 300, *, groups: int | None = None, part: list[str] | None = None) -> Samples:
    rng = np.random.default_rng(0)
    labels = rng.choice(["common", "middling", "rare"], num, p=[0.7, 0.25, 0.05]).tolist()
    columns: dict[str, object] = {"label": labels, "text": [f"words of sample {n}" for n in range(num)]}
    if groups:
        columns["group"] = [f"speaker {n % groups}" for n in range(num)]
    if part:
        columns["part"] = part
    return samples_from(pl.DataFrame(columns), SamplesConfig(text=["text"]))


def rows(parts: SampleSplit) -> list[np.ndarray]:
    return [parts.train, parts.validation, parts.test]


def test_parts_share_no_row_and_keep_the_shares_of_classes() -> None:
    samples = made(1000)
    parts = split_samples(samples, SampleSplitConfig(test_share=0.2, validation_share=0.1), 0)
    assert sorted(np.concatenate(rows(parts))) == list(range(1000))
    assert [len(r) for r in rows(parts)] == pytest.approx([700, 100, 200], abs=3)
    whole = np.bincount(samples.labels()) / 1000
    for chosen in rows(parts):
        np.testing.assert_allclose(np.bincount(samples.labels()[chosen]) / len(chosen), whole, atol=0.01)
    assert all(check.count == 0 for check in parts.checks)


@pytest.mark.parametrize("seed", range(5))
def test_three_samples_of_a_class_stand_in_three_parts(seed: int) -> None:
    labels = ["a"] * 40 + ["b"] * 3
    frame = pl.DataFrame({"label": labels, "text": [f"text {n}" for n in range(43)]})
    samples = samples_from(frame, SamplesConfig(text=["text"]))
    parts = split_samples(samples, SampleSplitConfig(), seed)
    assert [int(samples.labels()[chosen].sum()) for chosen in rows(parts)] == [1, 1, 1]


def test_no_group_stands_in_two_parts() -> None:
    samples = made(300, groups=30)
    parts = split_samples(samples, SampleSplitConfig(), 0)
    group = samples.table["group"]
    seen = [set(group[chosen].to_list()) for chosen in rows(parts)]
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & seen[2]
    assert 40 <= len(parts.test) <= 80


def test_equal_content_stays_together_without_groups() -> None:
    frame = pl.DataFrame({"label": ["a", "b"] * 50, "text": [f"text {n // 10}" for n in range(100)]})
    parts = split_samples(samples_from(frame, SamplesConfig(text=["text"])), SampleSplitConfig(), 0)
    seen = [{n // 10 for n in chosen} for chosen in rows(parts)]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_split_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    samples = made(200)
    order = np.random.default_rng(1).permutation(200)
    shuffled = samples.take(order)
    one, two = split_samples(samples, SampleSplitConfig(), 3), split_samples(shuffled, SampleSplitConfig(), 3)
    assert {samples.sample_ids[r] for r in one.test} == {shuffled.sample_ids[r] for r in two.test}
    assert set(one.test) != set(split_samples(samples, SampleSplitConfig(), 4).test)


def test_published_parts_are_kept_and_validation_drawn_from_train() -> None:
    samples = made(300, part=(["train"] * 200 + ["test"] * 100))
    parts = split_samples(samples, SampleSplitConfig(validation_share=0.25), 0)
    assert parts.kind == "published"
    assert parts.test.tolist() == list(range(200, 300))
    assert sorted([*parts.train, *parts.validation]) == list(range(200))
    assert len(parts.validation) == pytest.approx(50, abs=2)
    full = made(300, part=(["train"] * 100 + ["dev"] * 100 + ["test"] * 100))
    assert split_samples(full, SampleSplitConfig(), 0).validation.tolist() == list(range(100, 200))
    assert split_samples(full, SampleSplitConfig(kind="stratified"), 0).kind == "stratified"


def test_published_split_that_leaks_is_honoured_and_told() -> None:
    part = ["train"] * 100 + ["validation"] * 50 + ["test"] * 50
    samples = made(200, groups=20, part=part)
    checks = {check.check: check for check in split_samples(samples, SampleSplitConfig(), 0).checks}
    assert checks["split.shared_group"].count == 100
    assert checks["split.shared_group"].severity == "warning"


def test_class_absent_from_validation_is_told() -> None:
    frame = pl.DataFrame(
        {
            "label": ["a", "b", "c"] * 10 + ["a", "b"] * 5 + ["a", "b", "c"] * 5,
            "text": [f"text {n}" for n in range(55)],
            "part": ["train"] * 30 + ["validation"] * 10 + ["test"] * 15,
        }
    )
    checks = split_samples(samples_from(frame, SamplesConfig(text=["text"])), SampleSplitConfig(), 0).checks
    absent = {check.check: check for check in checks}["split.absent_class.validation"]
    assert absent.examples == ("c",)
    assert "classes without a sample in validation" in absent.advice


def test_part_without_two_classes_is_refused() -> None:
    frame = pl.DataFrame(
        {"label": ["a", "b"] * 4, "text": [f"t{n}" for n in range(8)], "part": ["train"] * 6 + ["test", "validation"]}
    )
    with pytest.raises(DataError, match=r"The validation part has 1 samples of 1 class\(es\)"):
        split_samples(samples_from(frame, SamplesConfig(text=["text"])), SampleSplitConfig(), 0)
    with pytest.raises(DataError, match="There is no `part` column"):
        split_samples(made(), SampleSplitConfig(kind="published"), 0)
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        SampleSplitConfig.read({"test_share": 0.6, "validation_share": 0.5}, where="split")


def test_every_sample_is_tested_once_in_each_repeat() -> None:
    samples = made(60, groups=20)
    folds = list(fold_samples(samples, SampleSplitConfig(folds=4, repeats=3), 0))
    assert len(folds) == 12
    for start in (0, 4, 8):
        assert sorted(np.concatenate([f.test for f in folds[start : start + 4]])) == list(range(60))
    assert set(folds[0].test) != set(folds[4].test)
    for fold in folds:
        assert sorted(np.concatenate(rows(fold))) == list(range(60))
        assert {check.check: check.count for check in fold.checks}["split.shared_group"] == 0


def test_more_folds_than_groups_of_a_class_are_refused() -> None:
    frame = pl.DataFrame({"label": ["a"] * 9 + ["b"] * 3, "text": [f"t{n}" for n in range(12)]})
    with pytest.raises(DataError, match="The class 'b' has 3 independent samples, too few for 5 folds"):
        list(fold_samples(samples_from(frame, SamplesConfig(text=["text"])), SampleSplitConfig(folds=5), 0))


def test_people_of_depresjon_are_each_tested_once(shared_data: Path) -> None:
    samples = read_samples(SamplesConfig(format="depresjon", path=shared_data / "health_depresjon"))
    folds = list(fold_samples(samples, SampleSplitConfig(folds=5), 0))
    assert sorted(np.concatenate([f.test for f in folds])) == list(range(55))
    assert all(4 <= samples.labels()[f.test].sum() <= 8 for f in folds)
