"""Blocks of the pages that follow ``<!-- try -->`` run as they stand, in a folder with the samples."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.reference import ROOT, pages

_TRIED = re.compile(r"<!-- try -->\n```(sh|python)\n(.*?)```", re.DOTALL)
TRIED = {page: blocks for page in pages() if (blocks := _TRIED.findall(page.read_text(encoding="utf-8")))}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", TRIED, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_work(page: Path, tmp_path: Path) -> None:
    for folder in ("samples", "jobs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "BATCHEXPORT_"))}
    environment = kept | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "BATCHEXPORT_POLL_INTERVAL": "1s",
    }
    for language, block in TRIED[page]:
        interpreter = ["sh", "-e", "-c"] if language == "sh" else [sys.executable, "-c"]
        ran = subprocess.run(
            [*interpreter, block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
