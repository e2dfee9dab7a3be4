"""The clouds.yaml that the program finds."""

import os
from pathlib import Path


def define(text: str) -> None:
    Path(os.environ["OS_CLIENT_CONFIG_FILE"]).write_text(text)


def defined() -> str:
    return Path(os.environ["OS_CLIENT_CONFIG_FILE"]).read_text()
