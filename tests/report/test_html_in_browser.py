"""The page in a real browser: it asks for nothing, complains of nothing, and everybody can read it."""

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from batchexport.report.history import earlier_runs
from batchexport.report.html import html_report
from batchexport.report.run_report import collect_report
from batchexport.store import StateReader
from tests.report.browser import Page, axe_source, chromium, needs_chromium
from tests.report.runs import EVENING, make_run

pytestmark = needs_chromium

LOOKS = [
    (1100, "light", "screen"),
    (1100, "dark", "screen"),
    (390, "light", "screen"),
    (720, "dark", "print"),
]
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
FAULTS = (
    "axe.run(document).then(found => JSON.stringify({passes: found.passes.length, faults: found.violations"
    ".map(each => [each.impact, each.id, each.nodes.map(node => node.html).slice(0, 3)])}))"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("nights")
    asyncio.run(make_run(folder / "first.state", 20, seed=3, begins_at=EVENING - 86400))
    path = asyncio.run(make_run(folder / "second.state", 90, seed=6, until_s=2900))
    with StateReader(path) as reader:
        report = collect_report(reader, now=EVENING + 86400, earlier=earlier_runs(path, reader.run))
    (folder / "report.html").write_text(html_report(report, zone=UTC), encoding="utf-8")
    return (folder / "report.html").as_uri()


@pytest.fixture
async def page(tmp_path: Path, address: str) -> AsyncIterator[Any]:
    async with chromium(tmp_path) as page:
        await page.open(address)
        yield page


async def test_it_asks_for_nothing_complains_of_nothing_and_fits(page: Page, address: str) -> None:
    colours, widths = [], []
    for width, scheme, media in LOOKS:
        await page.look_like(width=width, scheme=scheme, media=media)
        assert await page.ask(FITS), (width, scheme, media)
        assert (await page.picture()).startswith(b"\x89PNG")
        colours.append(await page.ask("getComputedStyle(document.body).backgroundColor"))
        widths.append(
            await page.ask("document.querySelector('figure rect.ok').getBoundingClientRect().width")
        )
    assert page.requests == [address]
    assert page.complaints == []
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 24, 29)", "rgb(255, 255, 255)", "rgb(255, 255, 255)"]
    assert 0 < widths[2] < widths[0], "bars get narrower with the page"


@pytest.mark.skipif(
    axe_source() is None, reason="needs axe-core: npm install axe-core, or AXE_CORE=…/axe.min.js"
)
async def test_axe_finds_no_fault(page: Any) -> None:
    await page.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
    await page.ask(f"{axe_source()}; true")
    for width, scheme, media in LOOKS:
        await page.look_like(width=width, scheme=scheme, media=media)
        found = json.loads(await page.ask(FAULTS))
        assert found["faults"] == [], (width, scheme, media)
        assert found["passes"] > 20


async def test_the_list_of_images_is_saved_from_the_page_itself(page: Page, tmp_path: Path) -> None:
    name = await page.save("a[download]", tmp_path)
    rows = list(csv.DictReader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
    assert rows[0].keys() >= {"volume_id", "volume_name", "image_id", "image_name"}
    assert name == "nightly.csv-images.csv"
    assert len(rows) > 20
    assert page.complaints == []
