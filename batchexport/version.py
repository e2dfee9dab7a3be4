"""The version of this package: in reports, state files and the User-Agent."""

__version__ = "0.1.0"
