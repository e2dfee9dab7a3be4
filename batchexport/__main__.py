"""`python -m batchexport` and the `batchexport` program."""

from __future__ import annotations

from batchexport.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
