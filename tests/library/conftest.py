import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder, no variable that signs in, and no cloud of this machine's user."""
    for name in list(os.environ):
        if name.startswith(("OS_", "BATCHEXPORT_")):
            monkeypatch.delenv(name)
    (tmp_path / "no-clouds.yaml").write_text("clouds: {}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "no-clouds.yaml"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
