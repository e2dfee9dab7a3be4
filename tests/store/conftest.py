from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.making import make


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
