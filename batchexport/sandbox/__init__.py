"""A small local cloud that speaks the API the exports go through: sign-in, volumes, images and servers.

It is there to try batchexport on, to rehearse a night, and to prove things that no real cloud does on
demand. Its images hold no data. See `SandboxSettings` for what it can be told to do wrong.
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
