from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.cloud import FlakyCloud, flaky_cloud
from tests.crash.site import Site


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlakyCloud]:
    """A cloud where every second export meets trouble on the wire, and every twentieth fails."""
    arguments = ("--share", "0.5", "--fail-share", "0.05", "--seed", "7")
    with flaky_cloud(tmp_path_factory.mktemp("cloud"), *arguments) as running:
        yield running


@pytest.fixture(scope="session")
def calm_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlakyCloud]:
    """A cloud in which nothing goes wrong."""
    with flaky_cloud(tmp_path_factory.mktemp("calm")) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, cloud: FlakyCloud, request: pytest.FixtureRequest) -> Site:
    """A list of 20 volumes of the flaky cloud, others for each test."""
    return Site(tmp_path, cloud, volumes=20, seed=request.node.nodeid)


@pytest.fixture
def calm_site(
    tmp_path: Path, calm_cloud: FlakyCloud, request: pytest.FixtureRequest
) -> Callable[[int], Site]:
    """A list of so many volumes of the calm cloud."""

    def made(volumes: int) -> Site:
        return Site(tmp_path, calm_cloud, volumes=volumes, seed=request.node.nodeid)

    return made


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "torture: a thousand kills, some 15 minutes; only with -m torture")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "torture" not in config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("torture")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
