from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.store import StateReader
from tests.report.state_files import build_mixed


@pytest.fixture
async def mixed(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.state"
    await build_mixed(path)
    return path


@pytest.fixture
def reader(mixed: Path) -> Iterator[StateReader]:
    with StateReader(mixed) as reader:
        yield reader
