"""The account of a target, and its configuration by `OS_…` variables and flags alone.

Importing openstacksdk costs a third of a second of CPU, more than the first thousand exports. It is needed
only for a clouds.yaml, and for settings that are not read here: see `clouds_yaml`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from batchexport.cloud.auth.keystone import SILENCE_TIMEOUT_S, Principal, sign_in_by_post
from batchexport.cloud.auth.sign_in_pacing import SignIns
from batchexport.cloud.catalog import EndpointPreferences, with_dialect
from batchexport.cloud.http.authenticator import Authenticator
from batchexport.cloud.http.transport import TlsConfig
from batchexport.config.settings import CloudSettings
from batchexport.model import TargetKey

#: What signs in, by the value of `auth_type`. All values of one kind are required.
_PASSWORD = ("username", "password")
_APPLICATION_CREDENTIAL = ("application_credential_id", "application_credential_secret")
_CREDENTIALS = {
    None: _PASSWORD,
    "password": _PASSWORD,
    "v3password": _PASSWORD,
    "v3applicationcredential": _APPLICATION_CREDENTIAL,
}
_SCOPE = (
    "user_domain_id",
    "user_domain_name",
    "project_id",
    "project_name",
    "project_domain_id",
    "project_domain_name",
)
_UNDERSTOOD = frozenset(
    {"auth_url", "auth_type", "region_name", "interface", "cacert"} | set(_PASSWORD) | set(_SCOPE)
) | set(_APPLICATION_CREDENTIAL)
#: Ignored: the catalog tells the versions.
_IGNORED = re.compile(r"(volume|image|compute|network|object)_api_version")
#: The default of the `openstack` client, unless OS_DEFAULT_DOMAIN is set.
DEFAULT_DOMAIN = "default"
_FILES = [f"{name}.{kind}" for name in ("clouds", "secure") for kind in ("yaml", "yml", "json")]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """How to sign in, and what the configuration says about the services."""

    authenticator: Authenticator
    #: Whether the credentials are not checked before the first request: it should be sent alone.
    unverified: bool
    preferences: EndpointPreferences
    tls: TlsConfig
    cloud: str | None = None  #: its name in clouds.yaml; None = described by variables
    identity_url: str | None = None  #: where it signs in; None = it signs requests, and none is configured
    config_files: tuple[str, ...] = ()  #: that describe it: clouds.yaml and secure.yaml
    notes: tuple[str, ...] = ()  #: warnings about the configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentAccount:
    """Where to sign in and with what, complete by variables and flags."""

    auth_url: str
    credentials: Mapping[str, str] = field(repr=False)  #: by the names of keystoneauth, with secrets
    region: str | None
    interface: str
    cacert: str | None


def plain_account(
    key: TargetKey,
    settings: CloudSettings,
    environment: Mapping[str, str],
    *,
    home: Path | None,
    folder: Path,
) -> EnvironmentAccount | None:
    """The account, or None where openstacksdk is needed. Checks which files exist; reads none."""
    if key.cloud or key.project or settings.cloud or not sys.platform.startswith("linux"):
        return None
    values = {
        name[3:].lower(): text for name, text in environment.items() if name.startswith("OS_") and text
    } | {name: text for name, text in settings.options.items() if text}
    values = {name: text for name, text in values.items() if not _IGNORED.fullmatch(name)}
    version = values.pop("identity_api_version", None)
    if version not in (None, "3") or not values.keys() <= _UNDERSTOOD:
        return None
    if version is not None and values.get("auth_type", "password") in ("password", "v3password"):
        values = _with_default_domain(values)
    account = _plain_of(values, key)
    return None if account is None or _has_files(environment, home, folder) else account


def _with_default_domain(values: dict[str, str]) -> dict[str, str]:
    """As the `openstack` client: with a version, a domain that is not set is the default one."""
    missing = [
        f"{whose}_domain_id"
        for whose in ("user", "project")
        if f"{whose}_domain_id" not in values and f"{whose}_domain_name" not in values
    ]
    return values | dict.fromkeys(missing, DEFAULT_DOMAIN)


def _plain_of(values: Mapping[str, str], key: TargetKey) -> EnvironmentAccount | None:
    names = _CREDENTIALS.get(values.get("auth_type"))
    auth_url = values.get("auth_url", "").rstrip("/")
    # Only for version 3 the service need not be asked for its versions.
    if not auth_url.startswith(("http://", "https://")) or not auth_url.endswith("/v3"):
        return None
    if names is None or any(name not in values for name in names):
        return None
    # An application credential belongs to one project and user, and must not name them.
    wanted = (*names, *_SCOPE) if names is _PASSWORD else names
    return EnvironmentAccount(
        auth_url=auth_url,
        credentials={name: values[name] for name in wanted if name in values},
        region=key.region or values.get("region_name"),
        interface=values.get("interface", "public"),
        cacert=values.get("cacert"),
    )


def _has_files(environment: Mapping[str, str], home: Path | None, folder: Path) -> bool:
    """Whether openstacksdk would find a clouds.yaml or secure.yaml."""
    if environment.get("SNAP_REAL_HOME"):
        return True
    shared = (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    own = environment.get("XDG_CONFIG_HOME") or (home and home / ".config")
    folders = [
        folder,
        *([Path(own) / "openstack"] if own else []),
        *([home / ".config" / "openstack"] if home else []),
        *(Path(each) / "openstack" for each in shared),
        Path("/etc/openstack"),
    ]
    return any((place / name).exists() for place in folders for name in _FILES)


def environment_account(plain: EnvironmentAccount, settings: CloudSettings, sign_ins: SignIns) -> Account:
    """The account that signs in with one POST."""
    cacert = None if plain.cacert is None else os.path.expanduser(plain.cacert)  # noqa: PTH111 - as openstacksdk
    tls, identity = TlsConfig.of(cacert or True, None), Principal.of(plain.credentials)
    interfaces = (plain.interface.removesuffix("URL"),)
    return Account(
        authenticator=sign_ins.tokens(
            (plain.auth_url, tuple(sorted(plain.credentials.items())), tls),
            plain.auth_url,
            lambda: sign_in_by_post(
                plain.auth_url, plain.credentials, tls, identity, silence_s=SILENCE_TIMEOUT_S
            ),
        ),
        unverified=False,
        preferences=with_dialect(
            EndpointPreferences(region=plain.region, interfaces=interfaces), settings.dialect
        ),
        tls=tls,
        identity_url=plain.auth_url,
    )
