"""The clouds.yaml that the program finds."""

import os
from pathlib import Path


def define(text):
    Path(os.environ["OS_CLIENT_CONFIG_FILE"]).write_text(text)


def defined():
    return Path(os.environ["OS_CLIENT_CONFIG_FILE"]).read_text()
