"""How a submitted run is kept: whole, without credentials, and read by older and newer programs."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from batchexport.config import CloudSettings, Limits, Settings
from batchexport.config.hooks import Hooks
from batchexport.config.run_plan import plan_of, read_plan
from batchexport.config.settings import DeliverySettings, MaxFailures
from batchexport.errors import ConfigError, StateVersionError
from batchexport.host_command import HostCommand
from batchexport.quiesce import QuiesceCommands

ACCESS = CloudSettings(cloud="prod", options={"region_name": "eu-1"}, dialect="evs", sign_in_timeout_s=3.0)


def test_a_plan_is_read_as_it_was_written() -> None:
    limits = Limits(requests_per_second=2.0, max_failures=MaxFailures(percent=5.0))
    plan = read_plan(plan_of(Settings(limits=limits), ACCESS, default_cloud=None).encode())
    assert plan.settings.limits == limits
    assert plan.access == ACCESS


def test_the_cloud_of_the_environment_is_taken_along_by_its_name() -> None:
    assert plan_of(Settings(), CloudSettings(), default_cloud="prod").cloud == "prod"


def test_a_plan_of_a_newer_program_is_read_where_it_only_has_more() -> None:
    text = plan_of(Settings(), ACCESS, default_cloud=None).encode()
    content = json.loads(text)
    more = content | {"new": 1, "settings": content["settings"] | {"newer": 2}}
    assert read_plan(json.dumps(more)) == read_plan(text)
    with pytest.raises(StateVersionError, match="cannot be read"):
        read_plan(json.dumps(content | {"settings": "elsewhere"}))


@pytest.mark.parametrize("name", ["password", "token", "application_credential_secret", "auth_url"])
def test_credentials_are_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError, match="takes no credentials along") as refused:
        plan_of(Settings(), CloudSettings(cloud="prod", options={name: "hush"}), default_cloud=None)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (Settings(limits=Limits(max_gib=3)), "--max-gib"),
        (Settings(limits=Limits(max_duration_s=3.0)), "--max-duration"),
        (Settings(wait=False), "--no-wait"),
        (Settings(deliveries=DeliverySettings(deliver=("cloud:other",))), "deliveries"),
        (Settings(hooks=Hooks(before_row=("true",))), "hooks"),
        (
            replace(Settings(), quiesce=QuiesceCommands(before=HostCommand(arguments=("true",)))),
            "commands around snapshots",
        ),
    ],
)
def test_what_belongs_to_one_process_or_machine_is_refused(settings: Settings, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        plan_of(settings, ACCESS, default_cloud=None)
