import asyncio
import itertools
import re
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.model import JobState
from batchexport.report import run_report as module
from batchexport.report.history import earlier_runs
from batchexport.report.html import html_report
from batchexport.report.html import page as page_module
from batchexport.report.html.markup import Markup, percent, tag
from batchexport.report.run_report import RunReport, collect_report
from batchexport.store import StateReader
from tests.report.pages import Page
from tests.report.runs import EVENING, make_run
from tests.report.state_files import AT, build, build_mixed, build_succeeded

NEXT_DAY = EVENING + 86400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of one list, the second with failures, throttling and rows left to do."""
    folder = tmp_path_factory.mktemp("nights")
    asyncio.run(make_run(folder / "first.state", 30, seed=3, begins_at=EVENING - 86400))
    asyncio.run(make_run(folder / "second.state", 90, seed=6, until_s=2900))
    return folder


def report_on(path: Path, **changes: Any) -> RunReport:
    with StateReader(path) as reader:
        found = collect_report(reader, now=NEXT_DAY, earlier=earlier_runs(path, reader.run))
    return replace(found, **changes)


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(html_report(report_on(folder / "second.state"), zone=UTC))


def test_the_page_loads_nothing_and_runs_nothing(folder: Path) -> None:
    text = html_report(report_on(folder / "second.state"), zone=UTC)
    page = Page(text)
    assert not page.all("script") and not page.all("img")
    addresses = [
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key in ("href", "src")
    ]
    saved = {
        each["href"] for each in page.all("a") if each.get("download")
    }  # a click saves what the page holds
    assert all(address.startswith("data:text/csv;charset=utf-8;base64,") for address in saved)
    assert {address for address in addresses if not address.startswith("#")} - saved == {"data:,"}
    assert set(re.findall(r"url\((.*?)\)", text)) == {"#hatch-bad", "#hatch-again"}
    policy = next(each for each in page.all("meta") if each.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_headings_go_down_step_by_step(page: Page) -> None:
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_whoever_does_not_see_the_charts_is_told_of_them(page: Page) -> None:
    for attributes in page.all("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]


def test_every_table_has_a_caption_and_heads_with_a_scope(page: Page) -> None:
    assert len(page.all("caption")) == len(page.all("table")) > 3
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))


def test_ids_are_unique_and_the_language_is_told(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.all("html") == [{"lang": "en"}]


def test_headline_and_cards_say_what_came_of_the_rows(folder: Path, page: Page) -> None:
    totals = report_on(folder / "second.state").totals
    assert page.texts["h1"] == ["nightly.csv unfinished"]
    assert f"{totals.rows[JobState.SUCCEEDED]} of 90 volumes exported" in page.texts["main"][0]
    assert f"{totals.to_do} to do." in page.texts["main"][0]


def test_causes_come_with_the_clouds_words_request_ids_and_what_to_do(page: Page) -> None:
    cause = next(text for text in page.texts["article"] if "in-use" in text)
    assert "What to do (operator): Let the run stop its servers" in cause
    assert "HTTP 400, in_use" in cause
    assert re.search(r"line \d+, volume [0-9a-f-]{36}, request req-[0-9a-f-]{36}", cause)


def test_the_night_shows_throttling_bars_and_columns(page: Page) -> None:
    captions = page.texts["figcaption"]
    assert captions[0] == "What held up the run"
    assert [caption.split(",")[0] for caption in captions[2:]] == [
        "GiB exported",
        "Exports under way",
        "Rows failed",
    ]
    labels = [attributes.get("aria-label", "") for attributes in page.all("svg")]
    assert any(label.startswith("throttled ") for label in labels)
    assert any("tried again" in text for text in page.texts["title"])


def test_the_night_before_stands_above_this_one(page: Page) -> None:
    rows = page.texts["tr"]
    before = next(place for place, row in enumerate(rows) if row.startswith("2026-09-20 22:00"))
    assert rows[before + 1].startswith("2026-09-21 22:00 (this one)")


def test_times_are_those_of_the_zone(folder: Path) -> None:
    text = html_report(report_on(folder / "second.state"))
    assert re.search(r"2026-09-2[12] \d\d:\d\d to 2026-09-2[12] \d\d:\d\d \S+<", text)


async def test_no_word_of_a_cloud_becomes_a_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    await build_mixed(path)
    words = "<script>alert('1')</script> & \"quoted\""
    found = report_on(path)
    cause = replace(found.causes[0], words=words)
    text = html_report(replace(found, causes=[cause]))
    assert "<script>" not in text
    assert Page(text).texts["blockquote"][0].startswith(words)


def test_what_is_too_much_for_a_page_is_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_CAUSES", 1)
    monkeypatch.setattr(module, "MAX_ROWS", 1)
    found = report_on(folder / "second.state")
    page = Page(html_report(found, zone=UTC))
    assert len(page.texts["article"]) == 1
    assert any(re.fullmatch(r"\d+ more causes?: see the rows below\.", text) for text in page.texts["p"])
    caption = next(text for text in page.texts["caption"] if "without an image" in text)
    assert caption.endswith(f"{found.unsuccessful_rows - 1} more are in the CSV report.")


async def test_a_night_in_which_all_went_well_has_nothing_to_mend(tmp_path: Path) -> None:
    path = tmp_path / "good.state"
    await build_succeeded(path)
    page = Page(html_report(report_on(path), zone=UTC))
    assert page.texts["h1"] == ["volumes.csv done"]
    assert "What went wrong, and what to do" not in page.texts["h2"]
    assert "Every export, from its acceptance to its end" in page.texts["figcaption"]


def test_a_run_that_has_not_begun_has_a_page(tmp_path: Path) -> None:
    path = tmp_path / "new.state"
    build(path, [])
    found = report_on(path)
    assert (found.timeline, found.median_s, found.figures.took_s) == (None, None, None)
    assert "The cloud has not accepted an export yet." in Page(html_report(found)).texts["p"]


async def test_a_run_with_exports_under_way_says_so_and_counts_the_stalled(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    await build_mixed(path)
    with StateReader(path) as reader:
        found = collect_report(reader, now=AT + 4000)
    assert found.stalled == 1
    page = Page(html_report(replace(found, running=True), zone=UTC))
    assert page.texts["h1"] == ["volumes.csv running"]
    assert "1 export past the deadline, still polled." in page.texts["main"][0]


def test_a_run_that_only_had_refusals_has_no_bars(tmp_path: Path, folder: Path) -> None:
    found = report_on(folder / "second.state")
    assert found.timeline is not None
    timeline = replace(found.timeline, bars=[], exports=0)
    page = Page(html_report(replace(found, timeline=timeline)))
    assert not any("export" in caption and "GiB" not in caption for caption in page.texts["figcaption"][:2])


def test_markup_leaves_out_what_is_none_and_escapes_the_rest() -> None:
    assert (
        tag("b", "a<b", class_="x", id=None, hidden=True, width=0.5)
        == '<b class="x" hidden width="0.5">a&lt;b</b>'
    )
    assert tag("b", Markup("<i></i>"), title='"') == '<b title="&quot;"><i></i></b>'
    assert tag("b", hidden=False) == "<b></b>"
    assert [percent(share) for share in (0, 0.25, 1 / 3, 1)] == ["0%", "25%", "33.333%", "100%"]
