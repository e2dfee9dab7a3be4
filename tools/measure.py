"""Measures how the package is built: `python -m tools.measure`. Decision 0015 has the figures.

The modules that a run enters are those of which a function runs, in any thread, while the command works on a
sandbox of another process; what only importing a module runs does not count.
"""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "batchexport"
#: Where the protocols of the store are.
PORTS = ("store/back_end.py", "store/port.py", "store/work_parts.py")
VOLUMES = ("16369c5d-384d-4e64-b37a-56d898769362", "9d6e7f80-0a1b-4c2d-8e3f-405162738495")
#: Runs a command under a profiler, and prints the modules of the package that it enters, on stdout.
ENTERED = """
import sys, threading
from inspect import CO_OPTIMIZED
from pathlib import Path
entered, package = set(), sys.argv.pop(1)
def look(frame, event, _):
    name = frame.f_code.co_filename
    if event == "call" and name not in entered and name.startswith(package):
        while frame.f_code.co_flags & CO_OPTIMIZED:
            frame = frame.f_back
            if frame is None or frame.f_code.co_filename == "<string>":
                entered.add(name)
                return
threading.setprofile(look)
sys.setprofile(look)
from batchexport.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    sys.setprofile(None)
print(*sorted(str(Path(each).relative_to(package)) for each in entered), file=sys.__stdout__)
"""
NIGHT = """
[job]
list = "volumes.csv"
state_dir = "nights"
[cloud]
name = "sandbox"
[report]
folder = "reports"
"""


def main() -> None:
    """Print the figures."""
    modules = {path: len(path.read_text("utf-8").splitlines()) for path in sorted(PACKAGE.rglob("*.py"))}
    sizes = sorted(modules.values())
    print(f"modules, with __init__: {len(modules)}; lines: median {statistics.median(sizes):.0f}", end="")
    print(f", largest {sizes[-1]}; above 350: {sum(size > 350 for size in sizes)}")
    arguments = list(_parameters())
    print(f"parameters of a function: mean {statistics.mean(arguments):.2f}, most {max(arguments)}")
    for name, calls in _port_calls():
        print(f"calls of {name}: {len(calls)}: {', '.join(calls)}")
    with tempfile.TemporaryDirectory() as folder:
        for name, entered in _entered(Path(folder)):
            lines = sum(modules[PACKAGE / each] for each in entered)
            print(f"modules that {name} enters: {len(entered)}, of {lines} lines")
            if "-v" in sys.argv:
                print(*entered, sep="\n")


def _parameters() -> Iterator[int]:
    """How many parameters each function takes, `self` among them."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])


def _port_calls() -> Iterator[tuple[str, list[str]]]:
    """The public calls of each protocol of the store; those of `with`, and values, left out."""
    for name in PORTS:
        for node in ast.parse((PACKAGE / name).read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                functions = (
                    each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                )
                calls = (each for each in functions if not each.decorator_list)  # a property is a value
                yield node.name, [each.name for each in calls if not each.name.startswith("_")]


def _entered(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What the exports of one row, of a night and of a row whose server is stopped enter."""
    (folder / "volumes.csv").write_text(f"volume_id\n{VOLUMES[0]}\n")
    (folder / "night.toml").write_text(NIGHT)
    environment = {"OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml")}
    options = ["--write-clouds-yaml", "clouds.yaml", "--time-scale", "0"]
    for name, more, command in (
        ("a row", [], ["run", "volumes.csv"]),
        ("a night", [], ["run", "night.toml"]),
        ("a server stop", ["--list", "volumes.csv", "--servers", "1"], STOP),
    ):
        sandbox = subprocess.Popen(
            [sys.executable, "-m", "batchexport", "sandbox", *options, *more],
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        try:
            while not (folder / "clouds.yaml").exists():
                assert sandbox.poll() is None
            yield name, _modules_of(folder, command, environment)
        finally:
            sandbox.terminate()
            sandbox.wait()
            (folder / "clouds.yaml").unlink()


STOP = ["run", "volumes.csv", "--state", "stop.state", "--again", "--in-use", "stop", "--yes"]


def _modules_of(folder: Path, command: Sequence[str], environment: dict[str, str]) -> list[str]:
    cloud = [] if command[1].endswith(".toml") else ["--os-cloud", "sandbox"]
    run = subprocess.run(
        [sys.executable, "-c", ENTERED, str(PACKAGE), *command, *cloud],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [each for each in run.stdout.splitlines()[-1].split() if not each.startswith("sandbox/")]


if __name__ == "__main__":
    main()
