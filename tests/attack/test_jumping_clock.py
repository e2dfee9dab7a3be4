"""The machine's clock is set during a run: no row is lost or doubled, and none waits for the hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.sandbox import SandboxSettings
from tests.attack.cloud import Cloud, Reply, cloud, some_that
from tests.attack.program import QUICK, Program, environment, write_list

ROWS = 30
JUMPS = pytest.mark.parametrize("jump_s", [3600, -3600], ids=["an hour on", "an hour back"])


class JumpAfter:
    """Sets the clock when so many exports were asked for; may refuse some of the exports."""

    def __init__(self, signal: Path, exports: int) -> None:
        self.signal, self.exports, self.asked = signal, exports, 0

    def __call__(self, kind: str, path: str) -> Reply | bytes | None:
        if kind != "export":
            return None
        self.asked += 1
        if self.asked == self.exports:
            self.signal.touch()
        return self.answer()

    def answer(self) -> Reply | bytes | None:
        return None


class JumpAmongLosses(JumpAfter):
    """Cuts every third connection around the jump, before the cloud has seen the request."""

    def answer(self) -> Reply | bytes | None:
        return b"" if abs(self.asked - self.exports) < 6 and self.asked % 3 == 0 else None


class JumpAmongRefusals(JumpAfter):
    """Answers 503 around the jump."""

    def answer(self) -> Reply | bytes | None:
        return Reply(503) if abs(self.asked - self.exports) < 3 else None


@JUMPS
@pytest.mark.parametrize(
    "jump", [JumpAfter, JumpAmongLosses, JumpAmongRefusals], ids=lambda kind: kind.__name__
)
def test_a_clock_that_is_set_in_the_middle_costs_no_row_and_no_hour(
    program: Program, quiet_cloud: Cloud, tmp_path: Path, jump: type[JumpAfter], jump_s: int
) -> None:
    volumes = write_list(program.folder / "v.csv", ROWS)
    signal = tmp_path / "jump"
    quiet_cloud.lie = jump(signal, 10)
    extra = {"JUMP_S": str(jump_s), "JUMP_WHEN": str(signal)}
    ended = program.run("run", "v.csv", *QUICK, "-j", "3", driver="jumping_clock.py", extra=extra, within_s=8)
    ended.check(0)
    assert quiet_cloud.exports == dict.fromkeys(volumes, 1)


@JUMPS
def test_a_clock_that_was_wrong_before_the_token_came_does_not_hurt(
    program: Program, quiet_cloud: Cloud, tmp_path: Path, jump_s: int
) -> None:
    volumes = write_list(program.folder / "v.csv", 5)
    (tmp_path / "jump").touch()
    extra = {"JUMP_S": str(jump_s), "JUMP_WHEN": str(tmp_path / "jump")}
    program.run("run", "v.csv", *QUICK, driver="jumping_clock.py", extra=extra).check(0)
    assert quiet_cloud.exports == dict.fromkeys(volumes, 1)


def test_an_export_whose_answer_is_lost_after_a_jump_is_found_again(tmp_path: Path) -> None:
    volumes = write_list(tmp_path / "v.csv", ROWS)
    with cloud(some_that(SandboxSettings(time_scale=0), drop_share=0.5)) as forgetful:
        (tmp_path / "clouds.yaml").write_text(forgetful.clouds_yaml())
        forgetful.lie = JumpAfter(tmp_path / "jump", 5)
        program = Program(folder=tmp_path, env=environment(tmp_path, OS_CLOUD="one"))
        extra = {"JUMP_S": "3600", "JUMP_WHEN": str(tmp_path / "jump")}
        program.run("run", "v.csv", *QUICK, "-j", "3", driver="jumping_clock.py", extra=extra).check(0)
        assert forgetful.exports == dict.fromkeys(volumes, 1)


@pytest.mark.parametrize("ahead_s", [-5, 5], ids=["behind", "ahead"])
def test_services_whose_clocks_differ_by_seconds_do_not_cost_a_second_image(
    tmp_path: Path, ahead_s: float
) -> None:
    volumes = write_list(tmp_path / "v.csv", ROWS)
    with cloud(some_that(SandboxSettings(time_scale=0), drop_share=0.3)) as forgetful:
        (tmp_path / "clouds.yaml").write_text(forgetful.clouds_yaml())
        forgetful.date_off_s = ahead_s
        program = Program(folder=tmp_path, env=environment(tmp_path, OS_CLOUD="one"))
        program.run("run", "v.csv", *QUICK, driver="hurry.py").check(0)
        assert forgetful.exports == dict.fromkeys(volumes, 1)
