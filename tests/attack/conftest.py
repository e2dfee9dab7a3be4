from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.cloud import Cloud, cloud
from tests.attack.program import Inside, Program, environment


@pytest.fixture
def quiet_cloud() -> Iterator[Cloud]:
    """A cloud that copies at once and does nothing wrong."""
    with cloud() as one:
        yield one


@pytest.fixture
def program(tmp_path: Path, quiet_cloud: Cloud) -> Program:
    """The program in an empty folder, with `one` in clouds.yaml."""
    (tmp_path / "clouds.yaml").write_text(quiet_cloud.clouds_yaml())
    return Program(folder=tmp_path, env=environment(tmp_path, OS_CLOUD="one"))


@pytest.fixture
def inside(program: Program) -> Inside:
    """The same without a process of its own."""
    return Inside(folder=program.folder, env=program.env)
