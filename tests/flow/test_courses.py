"""From readings to courses: a person who changes on a known day is warned of within days, one who does not is not."""

import base64
import json
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from penchant import cli
from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.course import read_courses
from penchant.client import Client
from penchant.data.read.samples import SamplesConfig, read_samples
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.studio.pages import add_studio
from penchant.world.readings import CHANGED, FIRST, SETTINGS, draw_readings, write_readings


def invoke(*words: object) -> Any:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("health")
    write_readings(folder)
    text = f'output = "{folder}/bundle"\ncache = "{folder}/cache"\n' + SETTINGS
    (folder / "health.toml").write_text(text)
    answer = invoke("run", folder / "health.toml")
    assert answer.exit_code == 0, answer.output
    return folder


def test_run_measures_false_alarms_on_left_out_people(trained: Path) -> None:
    found = json.loads((trained / "bundle" / "report" / "courses.json").read_text())
    assert found["rule"]["days"] == 20 * 9
    assert found["days"] == {"ill": 90, "well": 180}
    assert len(found["courses"]) == 30
    assert found["alarms_per_day"]["well"][0] <= 0.05
    page = (trained / "bundle" / "report" / "courses.html").read_text()
    assert page.count("<svg") == 30
    assert "not a diagnosis" in page
    assert "p12" not in page  # people are numbered


def test_a_person_who_changes_is_warned_of_and_a_steady_one_is_not(trained: Path) -> None:
    brief = draw_readings("brief", np.zeros(1, bool), np.random.default_rng(5)).head(10)
    pl.concat([pl.read_csv(trained / "new.csv"), brief]).write_csv(trained / "newer.csv")
    plot = trained / "anna.html"
    answer = invoke("course", trained / "bundle", "--table", trained / "newer.csv", "--json", "--plot", plot)
    assert answer.exit_code == 0, answer.output
    plain = json.loads(answer.stdout)
    assert "not a diagnosis" in plain["notes"][0]
    found = {one["person"]: one for one in plain["courses"]}
    assert CHANGED <= found["anna"]["alarms"][0] <= CHANGED + 3
    assert any(abs(one - CHANGED) <= 1 for one in found["anna"]["changes"])
    assert found["anna"]["level"][-1] > 0.5 > found["anna"]["level"][0]
    assert found["ben"]["alarms"] == []
    assert found["brief"]["start"] == []
    assert plot.read_text().count("<svg") == 2
    answer = invoke("course", trained / "bundle", "--table", trained / "newer.csv", "--user", "anna")
    assert "early warning" in answer.stdout
    assert "2025-06-28" in answer.stdout
    everybody = invoke("course", trained / "bundle", "--table", trained / "newer.csv")
    assert "ben" in everybody.stdout


@pytest.fixture(scope="module")
def served(trained: Path, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    config = ServiceConfig(
        bundle=shop,
        tasks={"days": trained / "bundle"},
        folder=tmp_path_factory.mktemp("state"),
        watch_seconds=60,
        host_names=["testserver"],
    )
    app = create_app(config)
    add_studio(app)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_service_gives_the_courses_of_the_command_line_and_keeps_nothing(served: TestClient, trained: Path) -> None:
    file = trained / "new.csv"
    readings = {"data": base64.b64encode(file.read_bytes()).decode(), "ending": ".csv"}
    found = Client(http=served).courses("days", readings)
    expected = read_courses(TrainedClassifier.load(trained / "bundle"), file)
    assert found["courses"] == [one.as_dict() for one in expected.values()]
    assert "not a diagnosis" in found["notes"][0]
    assert [one["person"] for one in Client(http=served).courses("days", readings, "ben")["courses"]] == ["ben"]
    wrong = served.post("/v1/courses/days", json={"readings": readings, "person": "bem"})
    assert (wrong.status_code, "'ben'" in wrong.json()["fix"]) == (404, True)
    broken = served.post(
        "/v1/courses/days", json={"readings": {"data": base64.b64encode(b"a,b").decode(), "ending": ".csv"}}
    )
    assert broken.status_code == 422
    service = served.app.state.service  # type: ignore[attr-defined]
    assert str(service.config.state_folder) not in broken.text
    assert not list(service.config.state_folder.rglob("*.csv"))


def test_studio_plots_the_courses_of_an_uploaded_table(served: TestClient, trained: Path) -> None:
    page = served.get("/studio/tasks", params={"lang": "zh"})
    assert page.status_code == 200
    assert 'aria-current="page"' in page.text
    files = {"file": ("new.csv", (trained / "new.csv").read_bytes(), "text/csv")}
    sent = {"headers": {"HX-Request": "true"}, "files": files, "data": {"task": "days"}}
    answer = served.post("/studio/tasks", **sent)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    assert answer.text.count('class="course"') == 2
    assert 'class="alarm"' in answer.text.split("<bdi>ben</bdi>")[0].split("<bdi>anna</bdi>")[1]
    other = served.post("/studio/tasks", **{**sent, "headers": {"origin": "https://evil.example"}})  # type: ignore[arg-type]
    assert other.status_code == 403
    none = served.post("/studio/tasks?lang=en", data={"task": "days"}, headers={"HX-Request": "true"})
    assert "No table of readings was given." in none.text


def test_unknown_people_and_bundles_without_a_rule_are_told(trained: Path) -> None:
    draw_readings("somebody", np.zeros(3, bool), np.random.default_rng(0)).write_csv(trained / "some.csv")
    answer = invoke("course", trained / "bundle", "--table", trained / "some.csv", "--user", "some", "--json")
    assert answer.exit_code == 1
    told = json.loads(answer.stdout)
    assert told["message"] == "There are no readings of 'some'."
    assert "'somebody'" in told["fix"]
    assert TrainedClassifier.load(trained / "bundle").warning is not None


def test_course_without_windows_is_told_by_check(trained: Path) -> None:
    text = (
        (trained / "health.toml")
        .read_text()
        .replace("window_hours = 24", "# none")
        .replace('steady = "well"', 'steady = "wel"')
    )
    (trained / "wrong.toml").write_text(text)
    answer = invoke("check", trained / "wrong.toml", "--json")
    assert answer.exit_code == 1
    assert "A course over time needs samples in windows." in [
        p["message"] for p in json.loads(answer.stdout)["problems"]
    ]


def test_windows_keep_people_together_and_leave_sparse_days_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pl.concat(
        [draw_readings("a", np.zeros(4, bool), rng).head(4 * 48 - 20), draw_readings("b", np.ones(3, bool), rng)]
    )
    table.write_csv(tmp_path / "readings.csv")
    pl.DataFrame({"sample_id": ["a", "b"], "label": ["x", "y"]}).write_csv(tmp_path / "people.csv")
    samples = read_samples(
        SamplesConfig(path=tmp_path / "people.csv", signals="readings.csv", window_hours=24, text=[])
    )
    assert samples.table["group"].to_list() == ["a"] * 3 + ["b"] * 3
    assert samples.sample_ids[0] == f"a@{FIRST}+86400"
    assert [f.count for f in samples.findings if f.check == "samples.sparse_window"] == [1]


def test_settings_of_the_example_are_settings() -> None:
    config = tomllib.loads((Path(__file__).parents[2] / "configs" / "depresjon-course.toml").read_text())
    assert config["course"] == {"steady": "control", "alarms_per_day": 0.02}


def test_documented_settings_are_those_of_the_example() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    shown = page.split("`health/course.toml`, complete:")[1].split("`penchant run health/course.toml`")[0]
    assert tomllib.loads(textwrap.dedent(shown)) == tomllib.loads(SETTINGS)
