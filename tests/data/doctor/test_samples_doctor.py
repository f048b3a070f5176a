"""The doctor of labelled samples names what would leak and what a split can tell."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from penchant.core.schema import Samples
from penchant.data.doctor.samples import SamplesDiagnosis, examine_samples
from penchant.data.read.samples import SamplesConfig, samples_from
from penchant.data.split.samples import SampleSplitConfig

COUNT = 400
RNG = np.random.default_rng(0)
LABELS = RNG.choice(["bad", "good"], COUNT)


def diagnosed(config: SampleSplitConfig | None = None, **columns: object) -> SamplesDiagnosis:
    table = pl.DataFrame({"label": LABELS, "text": [f"a text of its own, number {n}" for n in range(COUNT)], **columns})
    samples: Samples = samples_from(table, SamplesConfig(text=["text"]))
    return examine_samples(samples, config or SampleSplitConfig(), 0)


def whats(found: SamplesDiagnosis) -> str:
    return "\n".join(concern.what for concern in found.concerns)


def test_classes_groups_and_sizes_are_counted() -> None:
    found = diagnosed(group=[f"g{n % 50}" for n in range(COUNT)])
    assert {one.name: one.samples for one in found.classes} == {
        "bad": int((LABELS == "bad").sum()),
        "good": int((LABELS == "good").sum()),
    }
    assert found.groups is not None
    assert (found.groups.count, found.groups.median, found.groups.largest) == (50, 8, 8)
    assert found.split.test_units < found.split.test  # groups, not samples
    assert found.split.accuracy_within == pytest.approx(1.96 * np.sqrt(0.16 / found.split.test_units))
    json.dumps(found.as_dict())
    assert any(line.startswith("50 groups: median 8") for line in found.lines())


def test_a_column_that_tells_the_class_is_named_and_an_innocent_one_is_not() -> None:
    found = diagnosed(
        verdict=[f"{label}!" for label in LABELS],
        comment=[f"unique {n}" for n in range(COUNT)],
        dice=RNG.integers(0, 6, COUNT),
        source=np.where((LABELS == "good") ^ (RNG.random(COUNT) < 0.25), "phone", "studio"),
    )
    told = {one.column: one.auc for one in found.telling}
    assert told["verdict"] > 0.99
    assert 0.65 < told["source"] < 0.9
    assert set(told) == {"verdict", "source"}
    assert "'verdict' alone tells the class" in found.concerns[0].what
    assert "'source' alone reaches" in whats(found)


def test_rows_sorted_by_class_are_noticed() -> None:
    table = pl.DataFrame({"label": sorted(LABELS), "text": [f"number {n} of these texts" for n in range(COUNT)]})
    found = examine_samples(samples_from(table, SamplesConfig(text=["text"])), SampleSplitConfig(), 0)
    assert "'order of the rows' alone tells the class" in whats(found)


def test_copies_but_for_case_and_punctuation_and_across_groups() -> None:
    texts = [f"text number {n}" for n in range(COUNT - 2)] + ["TEXT, number 0!", "text number 1"]
    found = diagnosed(text=texts)
    assert (found.copies, found.copies_across_groups) == (4, 0)
    apart = diagnosed(text=texts, group=[f"g{n}" for n in range(COUNT)])
    assert apart.copies_across_groups == 4
    assert "copies of samples of other groups" in whats(apart)


def test_few_groups_are_few_samples() -> None:
    found = diagnosed(group=[f"g{n % 6}" for n in range(COUNT)])
    assert "There are 6 groups" in whats(found)
    assert "The test has" in whats(found)


def test_a_split_that_is_not_possible_is_said() -> None:
    found = diagnosed(group=["one"] * COUNT)
    assert found.split.kind == "none"
    assert "No honest split is possible" in found.concerns[0].what


def test_a_label_slip_of_one_in_forty_is_noticed() -> None:
    labels = ["positive"] * 200 + ["negative"] * 195 + ["postive"] * 5
    table = pl.DataFrame({"label": labels, "text": [f"text number {n} here" for n in range(400)]})
    found = examine_samples(samples_from(table, SamplesConfig(text=["text"])), SampleSplitConfig(), 0)
    assert any(finding.check == "labels.typo" and finding.count == 5 for finding in found.findings)
