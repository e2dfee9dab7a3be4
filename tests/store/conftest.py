from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.making import make

#: Modules whose tests hold for a run in a database as well; the others are about files.
ON_BOTH = {
    f"test_{name}"
    for name in (
        "changed_consent",
        "fitting",
        "history",
        "known_images",
        "order",
        "remembered",
        "removals",
        "servers",
    )
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests about files for a run in a database."""
    about_files = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and getattr(item, "callspec", None) is not None
        and item.callspec.params.get("path") == "postgres"
        and item.path.stem not in ON_BOTH
    ]
    config.hook.pytest_deselected(items=about_files)
    items[:] = [item for item in items if item not in about_files]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a state file may be made, or a run in a database."""
    if request.param == "sqlite":
        return tmp_path / "march.state"
    in_database: Path = request.getfixturevalue("run_path")
    return in_database


@pytest.fixture
def made(path: Path) -> Path:
    """A state file of three jobs of one target."""
    return make(path, 3)
