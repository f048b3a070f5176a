import base64
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from PIL import Image

from penchant.core.errors import ConfigError
from penchant.core.messages import Translator
from penchant.core.schema import Finding
from penchant.data.doctor.warnings import DataWarning
from penchant.metrics.ablation import Arm, ablate, gains_by_group
from penchant.metrics.beyond_accuracy import BeyondAccuracy
from penchant.metrics.comparison import Cost, compare
from penchant.metrics.interest import evaluate_answers
from penchant.metrics.intervals import Interval, IntervalConfig
from penchant.metrics.slices import GroupLabels, slice_users
from penchant.reporting.first_screen import TIME_SINCE
from penchant.reporting.report import (
    ChannelCoverage,
    FirstScreen,
    FlowStep,
    ReportData,
    ShownItem,
    StepTime,
    UserExample,
    first_screen,
    write_report,
)
from penchant.reporting.written import WrittenReport

USERS = 60
IDS = [f"u{n}" for n in range(USERS)]
FAST = IntervalConfig(resamples=200)
HOSTILE = "<script>alert(1)</script>\u202e|`x`\n# \"'&"


def table(lift: float) -> pl.DataFrame:
    base = np.random.default_rng(0).uniform(0.05, 0.2, USERS)
    return pl.DataFrame({"user_id": IDS, "recall@20": base + lift, "ndcg@20": base / 2 + lift})


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (900, 600), (200, 30, 30, 128)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def everything() -> ReportData:
    roles = {HOSTILE: "ours", "EASE": "baseline", "popularity": "baseline"}
    tables = {HOSTILE: table(0.012), "EASE": table(0), "popularity": table(-0.03)}
    whole = frozenset({"behaviour", "text", "poster"})
    arms = [
        Arm(whole, table(0.02), Cost(3, 1)),
        Arm(whole - {"text"}, table(0.01), Cost(1, 1)),
        Arm(whole - {"poster"}, table(0.025)),
        Arm(frozenset({"behaviour"}), table(0)),
        Arm(frozenset({"poster"}), table(-0.02)),
    ]
    labels = GroupLabels(("short", HOSTILE), np.arange(USERS) % 2)
    rng = np.random.default_rng(0)
    label = rng.uniform(size=300) < 0.4
    probability = np.clip(label * 0.3 + rng.uniform(0, 0.7, 300), 0, 1)
    return ReportData(
        HOSTILE,
        datetime(2026, 1, 2, tzinfo=UTC),
        7,
        hardware=HOSTILE,
        versions={"penchant": "0.1.0"},
        protocol=(HOSTILE,),
        sizes={"users": 6040, HOSTILE: 3},
        findings=(Finding("text.empty", 12, 3614, "kept", (HOSTILE,), HOSTILE, "warning"),),
        coverage=(ChannelCoverage("poster", "image", 10, 7, 2),),
        concerns=(DataWarning(0.5, HOSTILE, HOSTILE), DataWarning(0.1, "hardly matters", "leave it")),
        encoding={"poster": 61.0},
        flow=(FlowStep("read", {"items": 12, HOSTILE: 3}), FlowStep("encode", {"poster": 7})),
        by_request=table(0.012).drop("user_id"),
        leaderboard=compare(tables, roles, metric="ndcg@20", config=FAST, costs={"EASE": Cost(65, 0.2)}),
        ablation=ablate(arms, metric="ndcg@20", config=FAST),
        group_gains=tuple(gains_by_group(arms, labels, metric="ndcg@20", config=FAST)),
        slices=tuple(slice_users(table(0.1), table(0), {HOSTILE: labels}, metric="ndcg@20", config=FAST)),
        classified=(evaluate_answers(HOSTILE, label, probability, np.arange(300) % 40, config=FAST),),
        variety=(BeyondAccuracy("EASE", 20, 0.4, 2.0, float("nan"), 0.8),),
        weights={HOSTILE: 0.5, "EASE": 0.0},
        stages=(StepTime(HOSTILE, 200.0, 1_900_000_000), StepTime("fit", 0.01, None, True)),
        examples=(
            UserExample(
                HOSTILE,
                (ShownItem(""),),
                (ShownItem(HOSTILE, picture(), None, HOSTILE, 1.5, True), ShownItem("重庆森林")),
            ),
        ),
    )


class Page(HTMLParser):
    """Collects what a browser would act on."""

    void = {"meta", "img", "br", "link"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module", params=["en", "zh"])
def folder(request, everything, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "report"
    write_report(replace(everything, language=request.param), folder)
    return folder


def test_page_closes_every_tag_and_runs_no_hostile_text(folder):
    text = (folder / "report.html").read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "\u202e" not in text


def test_page_asks_nothing_of_the_network(folder):
    text = (folder / "report.html").read_text("utf-8")
    addresses = [
        v for _, a in Page(text).tags for k, v in a.items() if k in ("src", "href", "data", "poster", "action")
    ]
    assert addresses
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in addresses)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_page_describes_every_picture_and_names_every_column(folder):
    tags = Page((folder / "report.html").read_text("utf-8")).tags
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    assert pictures
    assert all(attributes.get("alt") for attributes in pictures)
    drawings = [attributes for tag, attributes in tags if tag == "svg"]
    assert all(a.get("aria-hidden") or a.get("aria-label") for a in drawings)
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in tags if tag == "th")


def test_links_of_the_contents_lead_somewhere(folder):
    tags = Page((folder / "report.html").read_text("utf-8")).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert {a["href"][1:] for tag, a in tags if tag == "a"} <= ids


def test_pictures_become_small_jpegs(folder):
    tags = Page((folder / "report.html").read_text("utf-8")).tags
    (source,) = [a["src"] for tag, a in tags if tag == "img"]
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        assert (image.format, image.size) == ("JPEG", (192, 128))


def test_json_is_strict_and_holds_no_picture(folder):
    def refuse(name: str) -> None:
        raise AssertionError(name)

    plain = json.loads((folder / "report.json").read_text("utf-8"), parse_constant=refuse)
    assert plain["variety"][0]["diversity"] is None
    assert plain["leaderboard"]["best_baseline"] == "EASE"
    assert plain["leaderboard"]["rows"][0]["scores"]["ndcg@20"]["num_users"] == USERS
    assert set(plain["examples"][0]["recommended"][0]) == {"title", "reason", "score", "is_hit", "item_id"}


def test_markdown_keeps_tables_whole(folder):
    lines = (folder / "report.md").read_text("utf-8").splitlines()
    cells = 0
    for line in lines:
        count = len(re.findall(r"(?<!\\)\|", line))
        if line.startswith("|---"):
            cells = count
        elif line.startswith("|") and cells:
            assert count == cells, line
        elif not line.startswith("|"):
            cells = 0
    assert not any("<script" in line for line in lines)


def test_summary_says_it_in_plain_words(everything):
    found = first_screen(everything, Translator("en"))
    verdict, first, second, third = found.results
    rest = found.modalities
    assert verdict == "Yes: it recommends better than the best baseline, EASE. NDCG@20 is higher by 19 %."
    assert "of what users chose next within 20 recommendations; EASE finds 12.6 %: better, +1.2 [" in first
    assert first.endswith("] points, relatively +10 %.")
    assert second.startswith("NDCG@20: ")
    assert "puts a liked item above a disliked one" in third
    assert rest[0].startswith("Text: pays; without it, NDCG@20 is lower by 0.0100 [0.0100, 0.0100]")
    assert rest[0].endswith("It costs 2.0 s once and nothing measurable per user.")
    assert rest[1].startswith("Poster: does not pay; without it, NDCG@20 is higher by 0.0050 [")


def test_first_screen_divides_a_lead_by_requests_where_users_have_several(everything: ReportData):
    gaps = {TIME_SINCE: GroupLabels(("within an hour",), np.zeros(USERS, int))}
    data = replace(everything, slices=tuple(slice_users(table(0.1), table(0), gaps, metric="ndcg@20", config=FAST)))
    assert any("within an hour (100 % of users)" in said for said in first_screen(data, Translator("en")).results)
    rolling = replace(data, leaderboard=replace(data.leaderboard, num_requests=2 * USERS))
    assert any("within an hour (100 % of requests)" in said for said in first_screen(rolling, Translator("en")).results)


def test_an_empty_run_still_makes_a_page(tmp_path):
    data = ReportData("empty", datetime(2026, 1, 2, tzinfo=UTC), 0)
    write_report(data, tmp_path)
    assert "empty" in (tmp_path / "report.html").read_text("utf-8")
    assert first_screen(data, Translator("en")) == FirstScreen((), (), (), ())


def test_findings_that_count_nothing_are_no_noise(everything, tmp_path):
    found = (
        Finding("nothing.found", 0, 10, "kept"),
        Finding("events.recognised_time", 3, 14, "kept", advice="read as at"),
    )
    write_report(replace(everything, findings=found), tmp_path)
    for page in ("report.html", "report.md"):
        text = (tmp_path / page).read_text("utf-8")
        assert "nothing.found" not in text
        assert "3 of 14" not in text
        assert "read as at" in text


def test_a_lone_baseline_makes_a_page_without_an_outcome(tmp_path):
    leaderboard = compare({"popularity": table(0)}, {"popularity": "baseline"}, metric="ndcg@20", config=FAST)
    data = ReportData("lone", datetime(2026, 1, 2, tzinfo=UTC), 0, leaderboard=leaderboard)
    write_report(data, tmp_path)
    assert first_screen(data, Translator("en")) == FirstScreen((), (), (), ())


def test_an_unknown_language_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="There is no report in 'fr'"):
        write_report(ReportData("x", datetime(2026, 1, 2, tzinfo=UTC), 0, language="fr"), tmp_path)


def test_warnings_of_the_data_stand_before_the_results(folder):
    page = (folder / "report.html").read_text("utf-8")
    assert page.index('class="box warnings"') < page.index('id="in-short"') < page.index('class="flow"')
    assert "hardly matters" not in page[: page.index('id="in-short"')]


def test_pipeline_shows_what_leaves_each_step_in_both_forms(folder):
    page, plain = ((folder / f"report.{form}").read_text("utf-8") for form in ("html", "md"))
    flow = page[page.index('class="flow"') : page.index("</ol>", page.index('class="flow"'))]
    assert re.findall(r"<span>(\d+) ", flow) == ["12", "3", "7"]
    assert re.search(r"→ 12 .*→ .*→ 7 poster →", plain)


def test_metrics_of_single_lists_hold_no_id_and_are_not_copied_after_an_erasure(folder, tmp_path):
    assert pl.read_parquet(folder / "by_request.parquet").columns == ["recall@20", "ndcg@20"]
    WrittenReport(folder).copy_without_examples(tmp_path)
    assert (tmp_path / "report.json").exists()
    assert not (tmp_path / "by_request.parquet").exists()


def test_rows_of_equal_names_are_told_apart_by_their_role(tmp_path):
    roles = {"Penchant": "ours", "EASE": "baseline", "ease": "member", "popularity": "baseline"}
    tables = {name: table(0.01 * n) for n, name in enumerate(roles)}
    leaderboard = compare(tables, roles, metric="ndcg@20", config=FAST)
    write_report(ReportData("roles", datetime(2026, 1, 2, tzinfo=UTC), 0, leaderboard=leaderboard), tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert re.search(r"<bdi>ease</bdi> <small>member</small>", page)
    assert re.search(r"<bdi>EASE</bdi> <small>baseline</small>", page)


def test_curves_show_the_strongest_of_the_others(everything, tmp_path):
    def interest(name: str, auc: float):
        first = everything.classified[0]
        return replace(first, name=name, auc=Interval(auc, auc, auc, 40))

    classified = tuple(interest(n, a) for n, a in (("ours", 0.7), ("weak", 0.5), ("strong", 0.9), ("middle", 0.8)))
    write_report(replace(everything, classified=classified, language="en"), tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    shown = re.findall(r'<span class="key (\w+)" aria-hidden="true"></span><bdi>(\w+)</bdi>', page)
    assert shown == [("ours", "ours"), ("member", "strong"), ("baseline", "middle"), ("none", "weak")]
