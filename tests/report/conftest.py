import pytest

from batchexport.store import StateReader
from tests.report.state_files import build_mixed


@pytest.fixture
async def mixed(tmp_path):
    path = tmp_path / "mixed.state"
    await build_mixed(path)
    return path


@pytest.fixture
def reader(mixed):
    with StateReader(mixed) as reader:
        yield reader
