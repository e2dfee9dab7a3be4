"""What a sandbox is told before it starts: its volumes, its pace, its limits and its faults."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from batchexport.sandbox.weather.settings import Weather

# The one account of the sandbox. None of it is secret: the server listens on the loopback address.
USER_NAME = "demo"
PASSWORD = "sandbox"
DOMAIN_NAME = "Default"
PROJECT_NAME = "demo"
REGION = "sandbox"
APPLICATION_CREDENTIAL_ID = "5d1c7a0e94c34b3f8d2a6be07f15c920"
APPLICATION_CREDENTIAL_NAME = "sandbox"
APPLICATION_CREDENTIAL_SECRET = "sandbox"
USER_ID = "0f6b8ad37c5e4f0c9a41d2e7b3586c14"
PROJECT_ID = "7e3f1d5b90a84c62b7d0c8f4a1e69325"
# Its access keys, for the evs profile: a permanent one, and a temporary one that needs the security token.
ACCESS_KEY = "SANDBOXACCESSKEY0001"
SECRET_KEY = "sandbox-secret-of-the-permanent-key"
TEMPORARY_ACCESS_KEY = "SANDBOXACCESSKEY0002"
TEMPORARY_SECRET_KEY = "sandbox-secret-of-the-temporary-key"
SECURITY_TOKEN = "sandbox-security-token"


class Profile(StrEnum):
    """Which family of clouds the sandbox is one of."""

    CINDER = "cinder"  #: OpenStack: Cinder v3, with EVS's v2 beside it, and Glance
    EVS = "evs"  #: Huawei Cloud and its kin: EVS v2 and IMS behind an API gateway, tokens and access keys


class SandboxVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that is there from the start. `status` is its status whenever it is not being exported."""

    volume_id: str
    name: str
    size_gib: int = 10
    status: str = "available"


class SandboxServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is there from the start, with its volumes. Several may hold the same volume."""

    server_id: str
    name: str
    volume_ids: Sequence[str] = ()
    status: str = "ACTIVE"
    locked: bool = False  #: refuses to be stopped and started
    deaf: bool = False  #: ignores a soft stop: on ECS it fails, with Nova it takes a minute longer


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong, each as a share from 0 to 1. The same seed chooses the same victims.

    Requests are chosen by their number since the start; exports by their volume and by how many exports of it
    came before, so that a second try can end otherwise.
    """

    error_share: float = 0.0  #: requests answered 503 or 500 before anything is done; sign-in is spared
    drop_share: float = 0.0  #: exports that are accepted while the connection closes without an answer
    fail_share: float = 0.0  #: exports that fail half-way, after the 202
    slow_share: float = 0.0  #: exports that take `slow_factor` times as long
    slow_factor: float = 10.0
    cut_share: float = 0.0  #: images whose first download breaks off halfway
    wrong_byte_share: float = 0.0  #: images of whose first upload one byte arrives changed
    seed: int = 0


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """The quotas of the project; -1 = none."""

    volumes: int = -1
    snapshots: int = -1
    gigabytes: int = -1  #: of volumes and snapshots together


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox. As it stands: any volume exists, 100 GiB take 4 s, nothing goes wrong, nothing is kept."""

    profile: Profile = Profile.CINDER
    #: File of the accepted requests: a sandbox started on it again has the same images. None = no file.
    journal: Path | None = None
    volumes: Sequence[SandboxVolume] = ()
    #: Their volumes are in use.
    servers: Sequence[SandboxServer] = ()
    #: Every valid id is that of a volume: available, 10 to 500 GiB by a hash of the id. Lists show it once it
    #: was exported.
    synthetic_volumes: bool = True
    #: An export of S GiB takes (seconds_base + seconds_per_gib x S) x time_scale seconds. The first two make
    #: the pace of a real cloud (0.5 GiB/s); the scale shortens a night to minutes. 0 = at once.
    seconds_base: float = 20.0
    seconds_per_gib: float = 1.8
    time_scale: float = 0.02
    #: What a server takes to go down and to come up, before the scale.
    server_stop_s: float = 20.0
    server_start_s: float = 10.0
    #: What a snapshot takes, a volume made of one or of another volume, and a deletion, before the scale.
    snapshot_s: float = 2.0
    copy_s_per_gib: float = 0.2
    removal_s: float = 2.0
    #: Bytes of an image's file for each GiB of its volume, made up from the id, so that hashes are those of
    #: the data. 0 = images hold no data, and tell the sizes of real ones. Not for raw images, whose size is
    #: that of the volume.
    image_bytes_per_gib: int = 0
    quotas: Quotas = msgspec.field(default_factory=Quotas)
    token_life_s: float = 3600.0
    page_limit: int = 1000
    #: Whether `force` exports a volume that is in use. Cinder ignores it by default; EVS always honours it.
    force_upload: bool = False
    #: Whether EVS exports the volume of a server only once that is stopped, as some of its regions document.
    stopped_servers_only: bool = False
    #: Actions per second beyond which they are refused, after a first `burst`. None = no limit.
    rate: float | None = None
    burst: int = 10
    retry_after_s: float = 1.0
    #: How they are refused: 429 as an API gateway does, or 413 as Cinder's own limiter does.
    rate_status: int = 429
    faults: Faults = msgspec.field(default_factory=Faults)
    #: What real clouds do besides: see `weather/settings.py`.
    weather: Weather = msgspec.field(default_factory=Weather)


def sign_in_values(url: str) -> dict[str, str]:
    """What a client needs to sign in to the sandbox at `url`, by the names that openstacksdk gives them."""
    return {
        "auth_url": f"{url}/identity/v3",
        "username": USER_NAME,
        "password": PASSWORD,
        "project_name": PROJECT_NAME,
        "user_domain_name": DOMAIN_NAME,
        "project_domain_name": DOMAIN_NAME,
        "region_name": REGION,
    }


def clouds_yaml(url: str, profile: Profile = Profile.CINDER) -> str:
    """The text of a clouds.yaml whose cloud `sandbox` is the sandbox at `url`.

    For the evs profile it has a second one, `sandbox-key`: by access key, and so without a catalog.
    """
    values = sign_in_values(url)
    region = values.pop("region_name")
    lines = ["clouds:", "  sandbox:", f"    region_name: {region}", "    auth:"]
    lines += [f"      {name}: {value}" for name, value in values.items()]
    if profile is Profile.EVS:
        lines += ["  sandbox-key:", f"    region_name: {region}"]
        lines += [f"    {name}: {value}" for name, value in _access_key_values(url).items()]
    return "\n".join(lines) + "\n"


def _access_key_values(url: str) -> dict[str, str]:
    return {
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "evs_endpoint_override": f"{url}/evs/v2",
        "ims_endpoint_override": f"{url}/ims",
        "ecs_endpoint_override": f"{url}/ecs",
        "auth": f"{{project_id: {PROJECT_ID}}}",
    }
