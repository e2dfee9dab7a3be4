"""Commands that messages tell people to run: as they can be pasted into a shell. Pure."""

from __future__ import annotations

from shlex import quote


def on_state_file(name: str, state_path: object, options: str = "", *, cloud: str | None) -> str:
    """A command on a state file; `cloud` signs in to its cloud, None = by no single name."""
    sign_in = f" --os-cloud {quote(cloud)}" if cloud else ""
    return f"batchexport {name} {quote(str(state_path))}{options}{sign_in}"
