"""The same settings mean the same to us and to the `openstack` client: sign-in, endpoints, trust, failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.cloud.settings_table import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
#: Where we do otherwise, and why.
OTHERWISE = {
    "entry: no region": "of several regions the client takes the first; we ask which one is meant",
    "no file: variables without a region": "the same",
    "entry: client certificate": "a certificate that is not there is missed where https needs it",
    "over the entry: OS_CERT=/etc/ssl/me.pem": "the same",
    "files: one cloud, not named": "openstacksdk takes the only cloud there is; the client wants it named",
}


@cache
def results() -> dict[str, Any]:
    """What both make of every setting, found out in one process of its own."""
    with TemporaryDirectory() as folder, TemporaryDirectory() as home:
        variables = {"PATH": os.environ["PATH"], "HOME": home, "PYTHONPATH": str(ROOT), "no_proxy": "*"}
        ended = subprocess.run(
            [sys.executable, "-m", "tests.cloud.both_clients", folder],
            cwd=folder,
            env=variables | {"XDG_CONFIG_DIRS": home},
            capture_output=True,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_means_the_same(name: str) -> None:
    theirs, ours = results()[name]["theirs"], results()[name]["ours"]
    if name in OTHERWISE:
        assert theirs != ours
        return
    assert ("error" in theirs) == ("error" in ours), (theirs.get("error"), ours.get("error"))
    assert theirs["asked"] == ours["asked"] or "error" in theirs
    for name in ("trust", "block-storage", "image", "compute"):
        assert theirs.get(name) == ours.get(name)


def test_no_failure_of_ours_is_without_words_or_of_another_library() -> None:
    errors = {name: result["ours"].get("error") for name, result in results().items()}
    assert not [
        (name, error)
        for name, error in errors.items()
        if error and not error.startswith(("ConfigError", "AuthenticationError"))
    ]
