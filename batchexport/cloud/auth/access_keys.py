"""Access keys (AK/SK): where they are configured, and the endpoints that go with them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from batchexport.cloud.catalog import CatalogEntry
from batchexport.errors import ConfigError

#: The value of `auth_type` for access keys.
AUTH_TYPE = "aksk"
#: Names of key, secret and security token, by where they are configured. A pair always comes from one place.
_IN_CONFIG = (("access_key", "ak"), ("secret_key", "sk"), ("security_token",))
_IN_ENVIRONMENT = (
    (("OS_ACCESS_KEY",), ("OS_SECRET_KEY",), ("OS_SECURITY_TOKEN",)),
    (("HUAWEICLOUD_SDK_AK",), ("HUAWEICLOUD_SDK_SK",), ("HUAWEICLOUD_SDK_SECURITY_TOKEN",)),
)
#: Other secrets: beside one of these, keys are for something else, such as object storage.
_OTHER_SECRETS = ("password", "token", "application_credential_secret")
#: Domains by region, where no `auth_url` tells. All others are Huawei Cloud's own.
_DOMAIN_OF_REGION = {
    "eu-de": "otc.t-systems.com",
    "eu-nl": "otc.t-systems.com",
    "eu-west-0": "prod-cloud-ocb.orange-business.com",
}
_DOMAIN = "myhuaweicloud.com"
_PROJECT_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key and its secret (AK/SK). Temporary ones come with a security token."""

    access: str
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)


def find_access_key(config: Mapping[str, object], environment: Mapping[str, str]) -> AccessKey | None:
    """The key for this entry of clouds.yaml; None = it signs in in another way.

    Raises ConfigError if half of a pair is missing, or `auth_type: aksk` has no key.
    """
    auth = _auth_of(config)
    asked_for = config.get("auth_type") == AUTH_TYPE
    if not asked_for and _signs_in_otherwise(str(config.get("auth_type") or "password"), {**config, **auth}):
        return None
    places = [(auth, _IN_CONFIG), (config, _IN_CONFIG)] + [(environment, names) for names in _IN_ENVIRONMENT]
    for place, names in places:
        found = [_first(place, choices) for choices in names]
        if found[0] or found[1]:
            return _pair(found, names)
    if asked_for:
        raise ConfigError(
            "auth_type aksk needs an access key",
            hint="set access_key and secret_key in clouds.yaml, or HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK",
        )
    return None


def project_of(config: Mapping[str, object], environment: Mapping[str, str], *, wanted: str | None) -> str:
    """The id of the project to sign for. Raises ConfigError if there is none: a name is not enough."""
    auth = _auth_of(config)
    configured = auth.get("project_id") or environment.get("HUAWEICLOUD_SDK_PROJECT_ID")
    wanted_by_name = wanted is not None and wanted == auth.get("project_name")
    project = str((configured if wanted_by_name else wanted or configured) or "")
    if not _PROJECT_ID.fullmatch(project):
        found = f"{wanted or project!r} is not one" if wanted or project else "none is set"
        raise ConfigError(
            f"an access key needs the project's id of 32 hexadecimal digits; {found}",
            hint="set project_id in clouds.yaml, OS_PROJECT_ID or HUAWEICLOUD_SDK_PROJECT_ID, and use"
            " the id in the list",
        )
    return project


def service_entries(region: str | None, auth_url: str | None, *, interface: str) -> tuple[CatalogEntry, ...]:
    """The endpoints of a region by the clouds' naming rule; empty where it does not apply."""
    rule = _rule(region, auth_url)
    if rule is None:
        return ()
    return tuple(
        CatalogEntry(service_type=name, interface=interface, region=region, url=rule.format(name))
        for name in ("evs", "ims", "ecs")
    )


def _rule(region: str | None, auth_url: str | None) -> str | None:
    if not region:
        return None
    if not auth_url:
        return f"https://{{}}.{region}.{_DOMAIN_OF_REGION.get(region, _DOMAIN)}"
    # `iam.eu-de.otc.t-systems.com`, `iam.myhuaweicloud.com`: others differ only in the first part.
    name, _, domain = (urlsplit(auth_url).hostname or "").partition(".")
    if not name.startswith("iam"):
        return None
    return f"https://{{}}{name.removeprefix('iam')}.{region}.{domain.removeprefix(region + '.')}"


def _auth_of(config: Mapping[str, object]) -> Mapping[str, object]:
    inside = config.get("auth")
    return inside if isinstance(inside, Mapping) else {}


def _signs_in_otherwise(auth_type: str, auth: Mapping[str, object]) -> bool:
    return auth_type != "password" or any(auth.get(name) for name in _OTHER_SECRETS)


def _first(place: Mapping[str, object], names: Sequence[str]) -> str | None:
    return next((str(place[name]) for name in names if place.get(name)), None)


def _pair(found: Sequence[str | None], names: Sequence[Sequence[str]]) -> AccessKey:
    access, secret, security_token = found
    if access is None or secret is None:
        there, missing = (names[1][0], names[0][0]) if access is None else (names[0][0], names[1][0])
        raise ConfigError(
            f"{there} is set, {missing} is not", hint="set both: a key works only with its secret"
        )
    return AccessKey(access=access, secret=secret, security_token=security_token)
