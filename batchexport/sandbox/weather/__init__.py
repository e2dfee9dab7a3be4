"""The weather of the sandbox: what real clouds do that a kind one does not, alone or all together."""

from __future__ import annotations

from batchexport.sandbox.weather.presets import FAULTS, PRESETS, read_weather, weather_from
from batchexport.sandbox.weather.settings import Weather

__all__ = ["FAULTS", "PRESETS", "Weather", "read_weather", "weather_from"]
