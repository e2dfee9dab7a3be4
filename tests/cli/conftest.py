import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from batchexport.cli.program import app


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder, no variable that a command reads, and no cloud of this machine's user."""
    for name in list(os.environ):
        if name.startswith(("OS_", "BATCHEXPORT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BATCHEXPORT_SIGN_IN_TIMEOUT", "0")
    (tmp_path / "no-clouds.yaml").write_text("clouds: {}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "no-clouds.yaml"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[Any]:
    """The program sets its log up for good; other tests want theirs."""
    logger = logging.getLogger("batchexport")
    handlers, level = logger.handlers, logger.level
    yield
    logger.handlers, logger.level = handlers, level


@pytest.fixture
def batchexport() -> Callable[..., Result]:
    """The program, called in this process: `batchexport("run", "list.csv").exit_code`."""

    def call(*words: Path | str, **options: Any) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], **options)

    return call
