"""The last words on an error that nobody foresaw, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys

from batchexport.cli.error_output import only_error


def test_the_one_error_inside_groups_is_the_one_to_tell() -> None:
    inner = RuntimeError("no home")
    assert only_error(ExceptionGroup("g", [ExceptionGroup("h", [inner])])) is inner
    assert only_error(inner) is inner
    same = ExceptionGroup("g", [OSError(5, "x"), OSError(5, "x")])
    assert isinstance(only_error(same), OSError)
    several = ExceptionGroup("g", [RuntimeError("a"), RuntimeError("b")])
    assert only_error(several) is several


async def test_what_was_only_cancelled_beside_it_does_not_count() -> None:
    async def fail() -> None:
        raise ValueError("this one")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(asyncio.sleep(60))
    except ExceptionGroup as error:
        assert str(only_error(error)) == "this one"


def test_the_program_leaves_no_core_file() -> None:
    script = (
        "import sys, resource\n"
        "sys.argv = ['batchexport', '--version']\n"
        "from batchexport.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print(resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "(0, 0)"
    assert resource.RLIMIT_CORE is not None
