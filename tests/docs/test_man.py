import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.man import shared_files

SHARE = Path(__file__).parents[2] / "share"


def test_man_pages_and_completion_are_up_to_date() -> None:
    there = {str(path.relative_to(SHARE)): path.read_text() for path in SHARE.rglob("*") if path.is_file()}
    assert there == shared_files(), "python -m tools.reference"


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_man_pages_are_read_without_complaint() -> None:
    pages = {path: text for path, text in shared_files().items() if path.startswith("man/")}
    for path, text in pages.items():
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8"], input=text, capture_output=True, text=True, check=True
        )
        assert done.stderr == "", path
    assert {
        "man/man1/batchexport.1",
        "man/man1/batchexport-run.1",
        "man/man1/batchexport-schedule-emit.1",
    } <= set(pages)


def test_a_man_page_holds_every_option() -> None:
    text = shared_files()["man/man1/batchexport-run.1"].replace("\\-", "-")
    assert {"--os-cloud", "--in-use", "--log-file"} <= set(re.findall(r"--[a-z-]+", text))
