"""The process that runs `before` and `after` around snapshots: it outlives the run if that is killed.

`before` is run at once. `after` is run when stdin ends, which it does when the run is through, or dead; or
when the run takes longer than a server may be held.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import msgspec

from batchexport.host_command import HostCommand, run_command
from batchexport.quiesce import GuardOrder, GuardReport

#: The run ends in order on these, and then closes stdin. A service manager sends them to every process.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


async def guard() -> None:
    """Run the commands of the order on stdin; report each on stdout, if anybody still reads it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    line = await reader.readline()
    if not line:  # the run ended before it began
        return
    order = msgspec.json.decode(line, type=GuardOrder)
    is_ready = await _run(order.commands.before, order)
    overran = False
    if is_ready:
        try:
            await asyncio.wait_for(reader.read(), order.commands.hold_s)
        except TimeoutError:
            overran = True
    await _run(order.commands.after, order, overran=overran)


async def _run(command: HostCommand | None, order: GuardOrder, *, overran: bool = False) -> bool:
    """Whether the command, if there is one, ended well."""
    if command is None:
        return True
    server = order.server
    result = await run_command(
        command, environment=server.environment(), document=msgspec.to_builtins(server)
    )
    report = GuardReport(exit_code=result.exit_code, output=result.output, overran=overran)
    try:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()
    except OSError:  # the run is dead
        pass
    return result.is_good


if __name__ == "__main__":
    for number in _IGNORED:  # not SIG_IGN, which the commands would inherit
        signal.signal(number, lambda *_: None)
    asyncio.run(guard())
