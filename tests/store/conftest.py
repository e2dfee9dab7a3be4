from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.making import make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a state file may be made."""
    return tmp_path / "march.state"


@pytest.fixture
def made(path: Path) -> Path:
    """A state file of three jobs of one target."""
    return make(path, 3)
