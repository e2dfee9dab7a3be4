"""What holds for every test: the clouds of whoever runs them are out of reach, but for tests/openstack."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from batchexport.redaction import forget_secrets

pytest_plugins = ["tests.store.postgres.fixtures"]

HERE = Path(__file__).parent
REAL_CLOUD = HERE / "openstack"
#: Left out unless they are asked for: `pytest -m "slow or not slow"`, as `.ci/run` does.
SLOW = [HERE / name for name in ("attack", "crash", "nights")]
SLOW += [HERE / "deliver" / "test_deliver.py", HERE / "sandbox" / "test_real_clients.py"]
SLOW += [
    HERE / "engine" / f"test_random_{what}.py" for what in ("schedules", "downtimes", "weather", "copies")
]
SLOW += [HERE / "engine" / "test_every_read.py", HERE / "store" / "test_tally.py"]

# A machine that is busy makes inputs slowly: that is no fault of what is tested.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# `nohup` and a shell's `&` have signals ignored, and so would every program that a test starts: these are
# there to be heeded.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(slow == item.path or slow in item.path.parents for slow in SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests() -> Iterator[None]:
    """A process redacts every secret that it ever knew, and a test its own."""
    yield
    forget_secrets()


@pytest.fixture(autouse=True)
def time_begins_anew() -> None:
    """Start every test at the same virtual time, however many years the tests before it let pass."""
    if virtual := sys.modules.get("tests.engine.fast_time"):
        virtual.Time.now_s = virtual.START_S


@pytest.fixture(autouse=True)
def no_cloud_from_outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away OS_… and BATCHEXPORT_… variables, which a program under test would read."""
    if REAL_CLOUD in Path(request.path).parents:
        return
    for name in list(os.environ):
        if name.startswith(("OS_", "BATCHEXPORT_")) and not name.startswith("BATCHEXPORT_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BATCHEXPORT_SIGN_IN_TIMEOUT", "0")  # a cloud that is away is away for the test
    monkeypatch.setenv("BATCHEXPORT_POLL_INTERVAL", "0.2")  # the clouds of tests are quick
