"""Streams of different clocks come onto one axis: the right words, numbers, frames and reactions in each step."""

import json
import shutil
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from penchant.cli import app
from penchant.core.errors import ConfigError, DataError, PenchantError
from penchant.data.align.streams import AlignConfig
from penchant.data.align.timeline import Aligned, align_streams
from penchant.data.read.samples import SamplesConfig, read_samples
from penchant.world import clips

FRAME_SECONDS = 1 / clips.FRAMES_A_SECOND
STREAMS = {
    "clip": {"path": "{recording}.mp4"},
    "speech": {"path": "transcript.csv"},
    "viewer": {"path": "viewer.csv", "activity": "heard"},
    "reactions": {"path": "reactions.csv", "clock": "viewer", "delay_seconds": 1},
}


def align_tables(folder: Path, settings: dict[str, Any], **tables: dict[str, Any]) -> Aligned:
    for name, table in tables.items():
        pl.DataFrame(table).write_csv(folder / f"{name}.csv")
    return align_streams(AlignConfig.read(settings, where="test"), folder)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, clips.TrueOffsets]]:
    folder = tmp_path_factory.mktemp("clips")
    return folder, clips.write_clips(folder, count=2, sentences=10, seed=3)


def test_offsets_of_transcript_and_viewer_are_recovered_within_a_frame(
    clip_folder: tuple[Path, dict[str, clips.TrueOffsets]],
) -> None:
    folder, true = clip_folder
    answer = CliRunner().invoke(app, ["align", str(folder / "clips.toml"), "--json"])
    assert answer.exit_code == 0, answer.output
    found = {(o["recording"], o["stream"]): o for o in json.loads(answer.stdout)["offsets"]}
    assert set(found) == {(clip, stream) for clip in true for stream in ("speech", "viewer")}
    for (clip, stream), one in found.items():
        assert one["seconds"] == pytest.approx(getattr(true[clip], stream), abs=FRAME_SECONDS)
        assert one["doubt"] == ""


def test_each_step_has_its_words_its_frame_and_its_reaction(
    clip_folder: tuple[Path, dict[str, clips.TrueOffsets]],
) -> None:
    folder, _ = clip_folder
    settings = AlignConfig.read({"reference": "clip", "step_seconds": 0.5, "streams": STREAMS}, where="test")
    table = align_streams(settings, folder).table
    assert table["group"].unique().sort().to_list() == ["clip0", "clip1"]
    blue = np.array([frame is not None and _is_blue(folder / frame) for frame in table["frame"]])
    only = {word for text in clips.LIKED for word in text.split()} ^ {
        word for text in clips.DISLIKED for word in text.split()
    }
    sea = {word for text in clips.LIKED for word in text.split()} & only
    words = [set((text or "").split()) & only for text in table["text"]]
    telling = np.array([bool(found) for found in words])
    told = np.array([bool(found & sea) for found in words])
    assert telling.sum() >= 60
    assert (told == blue)[telling].mean() >= 0.95  # a step at the edge of two sentences may show the other's frame
    reacted = table["reaction"].is_not_null().to_numpy()[:-1]
    assert reacted.sum() >= 16
    liked = (table["reaction"] == "like").fill_null(False).to_numpy()[:-1]
    assert (blue[1:] == liked)[reacted].mean() >= 0.9  # the next step: a reaction may come a little early


def test_aligned_table_is_written(clip_folder: tuple[Path, dict[str, clips.TrueOffsets]], tmp_path: Path) -> None:
    output = tmp_path / "aligned.csv"
    answer = CliRunner().invoke(app, ["align", str(clip_folder[0] / "clips.toml"), "--output", str(output)])
    assert answer.exit_code == 0, answer.output
    assert "clip1 viewer: offset" in answer.stdout
    assert pl.read_csv(output).columns == [
        "sample_id",
        "group",
        "seconds",
        "loudness",
        "frame",
        "text",
        "heard",
        "reaction",
    ]


def test_a_labelled_task_reads_the_aligned_rows(clip_folder: tuple[Path, dict[str, clips.TrueOffsets]]) -> None:
    folder, _ = clip_folder
    checked = CliRunner().invoke(app, ["check", str(folder / "clips.toml")])
    assert checked.exit_code == 0, checked.output
    assert "clip0 speech: offset" in checked.stdout
    align = AlignConfig.read({"reference": "clip", "step_seconds": 2, "streams": STREAMS}, where="test")
    samples = read_samples(
        SamplesConfig(path=folder, align=align, text=["text"], media={"image": "frame"}, columns={"label": "reaction"})
    )
    assert samples.classes == ("dislike", "like")
    assert samples.text_columns == ("text",)
    assert "group" in samples.table.columns
    (finding,) = [one for one in samples.findings if one.check == "align.offset"]
    assert finding.count == 4
    assert "correlation" in finding.examples[0]


def _is_blue(path: Path) -> bool:
    red, _, blue = np.asarray(Image.open(path)).reshape(-1, 3).mean(axis=0)
    return bool(blue > red + 40)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng")
def test_clips_are_spoken() -> None:
    voice = clips._spoken("We swim out to the island.", np.random.default_rng(0))
    assert 1 < len(voice) / clips.RATE < 4


def test_a_stream_that_recorded_something_else_is_left_out_and_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    at = np.arange(0, 60, 0.1)
    found = align_tables(
        tmp_path,
        {
            "reference": "one",
            "streams": {"one": {"path": "one.csv"}, "other": {"path": "other.csv"}},
        },
        one={"seconds": at, "level": rng.normal(size=600)},
        other={"seconds": at, "noise": rng.normal(size=600)},
    )
    assert found.table["noise"].null_count() == found.table.height
    assert found.table["level"].null_count() == 0
    (warning,) = [one for one in found.findings if one.severity == "warning"]
    assert warning.check == "align.untrusted"
    assert "other: offset" in warning.examples[0]


def test_given_offsets_move_words_numbers_and_events_to_their_steps(tmp_path: Path) -> None:
    found = align_tables(
        tmp_path,
        {
            "reference": "axis",
            "streams": {
                "axis": {"path": "axis.csv"},
                "said": {"path": "said.csv", "offset_seconds": 2},
                "pressed": {"path": "pressed.csv", "offset_seconds": -1, "missing": "none"},
                "state": {"path": "state.csv", "offset_seconds": 0, "how": "hold"},
                "late": {"path": "late.csv", "offset_seconds": 0, "delay_seconds": 1},
            },
        },
        axis={"t": [0.0, 1.0, 2.0, 3.0, 4.0], "level": [0.0, 10.0, 20.0, 30.0, 40.0]},
        said={"start": [-1.0, 1.0], "end": [1.0, 2.0], "text": ["good day", "你好吗"]},
        pressed={"time": [2.2, 2.4, 2.6, 4.5], "key": ["a", "b", "b", "a"]},
        state={"time": [1.2], "mode": ["on"]},
        late={"time": [2.5], "answer": ["yes"]},
    )
    table = found.table
    assert table["seconds"].to_list() == [0, 1, 2, 3]
    assert table["level"].to_list() == [5, 15, 25, 35]  # in the middle of each step
    assert table["text"].to_list() == [None, "good", "day", "你好吗"]
    assert table["key"].to_list() == ["none", "b", "none", "a"]
    assert table["answer"].to_list() == [None, "yes", None, None]
    assert table["mode"].to_list() == [None, "on", "on", "on"]
    assert found.findings == ()


def test_dates_of_one_clock_start_together(tmp_path: Path) -> None:
    found = align_tables(
        tmp_path,
        {
            "reference": "steps",
            "step_seconds": 60,
            "streams": {"steps": {"path": "steps.csv"}, "pill": {"path": "pill.csv", "clock": "steps"}},
        },
        steps={"time": ["2026-01-01 08:00:00", "2026-01-01 08:01:00", "2026-01-01 08:04:00"], "count": [5.0, 7.0, 9.0]},
        pill={"time": ["2026-01-01 08:02:30"], "taken": ["yes"]},
    )
    assert found.table["taken"].to_list() == [None, None, "yes", None]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"reference": "nothing"}, "names the stream 'nothing'"),
        ({"step_seconds": 0}, "greater than 0"),
        ({"streams": {}}, "at least 1"),
        ({"offset": {"max_drift": 1}}, "less than or equal to 0.05"),
        (
            {"streams": {"one": {"path": "one.csv", "clock": "two"}, "two": {"path": "one.csv", "clock": "one"}}},
            "in a circle",
        ),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], told: str) -> None:
    settings = {"reference": "one", "streams": {"one": {"path": "one.csv"}}, **change}
    with pytest.raises(ConfigError) as caught:
        AlignConfig.read(settings, where="test")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("streams", "told"),
    [
        ({"one": {"path": "absent.csv"}}, "There is no file 'absent.csv'"),
        ({"one": {"path": "one.csv", "values": ["levl"]}}, "Did you mean 'level'?"),
        ({"one": {"path": "one.csv"}, "two": {"path": "two.csv", "activity": "c"}}, "no column of numbers 'c'"),
        ({"one": {"path": "one.csv"}, "two": {"path": "two.csv"}}, "several columns of numbers"),
        ({"one": {"path": "one.csv"}, "two": {"path": "timeless.csv"}}, "has no column of times"),
        ({"one": {"path": "../one.wav"}}, "leads out of the media folder"),
    ],
)
def test_streams_that_cannot_be_read_are_named(tmp_path: Path, streams: dict[str, Any], told: str) -> None:
    at = np.arange(0, 10, 0.5)
    with pytest.raises(PenchantError) as caught:
        align_tables(
            tmp_path,
            {"reference": "one", "streams": streams},
            one={"seconds": at, "level": at},
            two={"seconds": at, "a": at, "b": -at},
            timeless={"a": at},
        )
    assert told in str(caught.value)


def test_check_names_every_stream_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(
        'task = "classification"\nname = "two"\n[data.align]\nreference = "a"\n'
        '[data.align.streams.a]\npath = "a.csv"\n[data.align.streams.b]\npath = "b.csv"\n'
    )
    answer = CliRunner().invoke(app, ["check", str(tmp_path / "two.toml"), "--json"])
    assert answer.exit_code == 1
    assert [problem["message"] for problem in json.loads(answer.stdout)["problems"]][-2:] == [
        "There is no file 'a.csv'.",
        "There is no file 'b.csv'.",
    ]


def test_a_reference_of_no_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lasts 0 seconds"):
        align_tables(
            tmp_path, {"reference": "one", "streams": {"one": {"path": "one.csv"}}}, one={"seconds": [0.0], "a": [1.0]}
        )


def test_documented_settings_are_those_of_the_example() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")
    shown = page.split("`clips/clips.toml`, complete:")[1].split("- **Offset.**")[0]
    assert tomllib.loads(textwrap.dedent(shown)) == tomllib.loads(clips.SETTINGS)
