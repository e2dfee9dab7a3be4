"""A small local cloud with the APIs that exports use: sign-in, volumes, snapshots, images and servers.

Use it to try batchexport, to rehearse a night, and to prove what no real cloud does on demand. Its images
hold no data. `SandboxSettings` has the faults that it can be asked for.
"""

from __future__ import annotations

from batchexport.sandbox.server import Sandbox, serve
from batchexport.sandbox.settings import (
    Faults,
    Profile,
    SandboxServer,
    SandboxSettings,
    SandboxVolume,
    clouds_yaml,
)
from batchexport.sandbox.weather import Weather

__all__ = [
    "Faults",
    "Profile",
    "Sandbox",
    "SandboxServer",
    "SandboxSettings",
    "SandboxVolume",
    "Weather",
    "clouds_yaml",
    "serve",
]
