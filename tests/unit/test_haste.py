"""The shortened waits of the torture name attributes that the product has."""

import subprocess
import sys


def test_every_wait_that_is_shortened_exists() -> None:
    # In a process of its own, whose waits nobody else needs.
    words = "from tests.crash import haste; haste.shorten_waits(); haste.shorten_leases(3.0)"
    ended = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
