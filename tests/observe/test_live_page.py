"""The live page over real HTTP, and in a real browser."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from batchexport.errors import ConfigError
from batchexport.observe.live_page import is_loopback, is_own_host, serve_page
from batchexport.observe.metrics_server import Address
from tests.report.browser import chromium, needs_chromium
from tests.report.runs import make_run

HERE = Address("127.0.0.1", 0)


async def test_page_and_status_are_served_read_only(tmp_path: Path) -> None:
    path = await make_run(tmp_path / "a.state", 30)
    async with serve_page(HERE, lambda: path) as address, aiohttp.ClientSession() as http:
        async with http.get(f"http://{address}/") as answer:
            page = await answer.text()
            assert answer.status == 200 and answer.content_type == "text/html"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Server"] == "batchexport"
        async with http.get(f"http://{address}/status.json") as answer:
            assert json.loads(await answer.text())["rows"] == 30
        for method in ("POST", "PUT", "DELETE"):
            async with http.request(method, f"http://{address}/") as answer:
                assert answer.status == 405
        async with http.get(f"http://{address}/../etc/passwd") as answer:
            assert answer.status == 404
    assert "nightly.csv" in page


async def test_a_foreign_name_is_refused(tmp_path: Path) -> None:
    """A web page of somebody else's that has its name point to this machine reads nothing."""
    path = await make_run(tmp_path / "a.state", 3)
    async with serve_page(HERE, lambda: path) as address, aiohttp.ClientSession() as http:
        headers = {"Host": f"rebound.example:{address.port}"}
        async with http.get(f"http://{address}/", headers=headers) as answer:
            assert answer.status == 403 and "nightly" not in await answer.text()


async def test_a_run_that_cannot_be_read_is_told_and_may_come_back(tmp_path: Path) -> None:
    paths = [tmp_path / "none.state"]
    async with (
        serve_page(HERE, lambda: paths[0], every_s=0.01) as address,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"http://{address}/") as answer:
            assert answer.status == 503 and "none.state" in await answer.text()
        paths[0] = await make_run(tmp_path / "a.state", 3)
        async with http.get(f"http://{address}/") as answer:
            assert answer.status == 200


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    async with serve_page(HERE, lambda: tmp_path) as address:
        with pytest.raises(ConfigError, match="cannot listen"):
            async with serve_page(address, lambda: tmp_path):
                pass


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:9106", True),
        ("[::1]:9106", True),
        ("localhost", True),
        ("10.0.0.7:80", True),
        ("evil.example", False),
        ("localhost.evil.example:9106", False),
        ("", False),
    ],
)
def test_names_of_this_machine(host: str, own: bool) -> None:
    assert is_own_host(host, HERE) is own


def test_only_loopback_is_private() -> None:
    assert is_loopback(HERE) and is_loopback(Address("::1", 1)) and is_loopback(Address("localhost", 1))
    assert not is_loopback(Address("0.0.0.0", 1)) and not is_loopback(Address("host.example", 1))


@needs_chromium
async def test_the_page_follows_the_run_in_a_browser(tmp_path: Path) -> None:
    first = await make_run(tmp_path / "first.state", 40, until_s=1200)
    later = await make_run(tmp_path / "later.state", 60)
    shown = [first]
    script = "document.querySelector('.cards, header').textContent + document.body.textContent.length"
    async with (
        serve_page(HERE, lambda: shown[0], every_s=0.2) as address,
        chromium(tmp_path / "profile") as page,
    ):
        await page.open(f"http://{address}/")
        before = await page.ask(script)
        await page.ask("document.querySelectorAll('details').forEach(each => { each.open = true })")
        shown[0] = later
        changed = (
            "new Promise(done => { const look = () => (document.querySelector('.cards, header').textContent"
            f" + document.body.textContent.length) !== {json.dumps(before)} ? done(true)"
            " : setTimeout(look, 50); look() })"
        )
        assert await asyncio.wait_for(page.ask(changed), 30)
        assert await page.ask("document.querySelector('details').open")
        for width, scheme in ((1100, "light"), (390, "dark")):
            await page.look_like(width=width, scheme=scheme)
            assert await page.ask("document.documentElement.scrollWidth <= window.innerWidth")
        assert all(request.startswith(f"http://{address}/") for request in page.requests)
        assert page.complaints == []
