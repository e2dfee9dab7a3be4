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


CODES = [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), CODES)
async def test_the_first_signal_asks_to_stop_and_says_what_happens(number: signal.Signals, code: int) -> None:
    said: list[str] = []
    with stop_on_signals(said.append) as stop:
        assert stop.exit_code is None
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.event.wait(), 5)
    assert stop.exit_code == code
    assert said == [f"{number.name}: finishing requests in flight; once more exits at once"]


async def test_the_second_signal_leaves_whichever_came_first() -> None:
    left = asyncio.get_running_loop().create_future()
    with stop_on_signals(lambda _: None, leave=left.set_result) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.event.wait(), 5)
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(left, 5) == 130
    assert stop.exit_code == 143


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
async def test_a_hangup_never_counts_as_the_second_signal(first: int) -> None:
    """A closed terminal sends it more than once, and often after another."""
    left: list[int] = []
    all_came = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, all_came.set)
    with stop_on_signals(lambda _: None, leave=left.append) as stop:
        for number in (first, signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        await asyncio.wait_for(all_came.wait(), 5)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert (stop.exit_code, left) == (128 + first, [])


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
async def test_what_was_ignored_stays_ignored(number: int) -> None:
    """`nohup` ignores SIGHUP, a shell's `&` ignores SIGQUIT."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stop_on_signals(lambda _: None) as stop:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
            assert signal.getsignal(number) is signal.SIG_IGN
        assert not stop.event.is_set()
    finally:
        signal.signal(number, before)


async def test_afterwards_signals_do_what_they_did_before() -> None:
    before = [signal.getsignal(number) for number, _ in CODES]
    with stop_on_signals(lambda _: None):
        pass
    assert [signal.getsignal(number) for number, _ in CODES] == before


@pytest.mark.parametrize(("number", "code"), [pair for pair in CODES if pair[0] is not signal.SIGHUP])
def test_a_process_that_is_told_twice_is_gone_at_once(number: signal.Signals, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert "finishing" in child.stdout.readline()
        child.send_signal(number)
        assert "exiting now" in child.stdout.readline()
        assert child.wait(10) == code
