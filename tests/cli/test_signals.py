import asyncio
import os
import signal
import subprocess
import sys

import pytest

from batchexport.cli.signals import stop_on_signals

CHILD = """
import asyncio, sys
from batchexport.cli.signals import stop_on_signals
async def main():
    with stop_on_signals(lambda text: print(text, flush=True)):
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_the_first_signal_asks_to_stop_and_says_what_happens(number, code):
    said = []
    with stop_on_signals(said.append) as stop:
        assert stop.exit_code is None
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.event.wait(), 5)
    assert stop.exit_code == code
    assert said == [f"{number.name}: finishing the requests under way; once more leaves at once"]


async def test_the_second_signal_leaves_whichever_came_first():
    left = asyncio.get_running_loop().create_future()
    with stop_on_signals(lambda _: None, leave=left.set_result) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.event.wait(), 5)
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(left, 5) == 130
    assert stop.exit_code == 143


async def test_afterwards_signals_do_what_they_did_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals(lambda _: None):
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_that_is_told_twice_is_gone_at_once(number, code):
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert "finishing" in child.stdout.readline()
        child.send_signal(number)
        assert "leaving now" in child.stdout.readline()
        assert child.wait(10) == code
