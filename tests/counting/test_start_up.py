"""What a short command loads: nothing that it does not use."""

import re
import subprocess
import sys
from typing import Any

import pytest

from batchexport.cli.commands import WORDS
from batchexport.cli.program import app

LOADED = """
import sys
from batchexport.cli.program import app
try:
    app.main(sys.argv[1:], prog_name="batchexport")
except SystemExit:
    pass
print(*sorted(name for name in sys.modules if name.startswith("batchexport.")), file=sys.stderr)
"""


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_no_command_is_loaded_for(flag: Any) -> None:
    run = subprocess.run([sys.executable, "-c", LOADED, flag], capture_output=True, text=True, check=True)
    loaded = run.stderr.split()
    assert not {f"batchexport.cli.{name}" for name in WORDS} & set(loaded)
    assert len(loaded) <= 11, loaded


@pytest.mark.parametrize("name", WORDS)
def test_the_words_on_a_command_are_the_first_sentence_of_its_help(name: str) -> None:
    sentence = re.split(r"(?<=\.)\s", " ".join((app.commands[name].help or "").split()))[0]
    assert WORDS[name] == sentence


def test_a_command_that_is_not_there_is_not_loaded() -> None:
    assert "nothing" not in app.commands
    with pytest.raises(KeyError):
        app.commands["nothing"]
    assert len(app.commands) == len(WORDS)
