"""Settings of a sign-in as users have them: entries of clouds.yaml, variables, flags, and several at once.

`{url}` stands for the address of the identity service, `{elsewhere}` for another folder.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

PASSWORD = "correct-horse-battery"
PROJECT_ID = "c344706a7e90438994fbf96c2c9627bd"
AUTH: dict[str, Any] = {
    "auth_url": "{url}/v3",
    "username": "demo",
    "password": PASSWORD,
    "project_name": "demo",
    "user_domain_name": "Default",
    "project_domain_name": "Default",
}
NO_DOMAINS = {name: AUTH[name] for name in ("auth_url", "username", "password", "project_name")}
NO_SECRET = {name: value for name, value in AUTH.items() if name != "password"}
CREDENTIAL = {
    "auth_url": "{url}/v3",
    "application_credential_id": "ac1",
    "application_credential_secret": PASSWORD,
}
ENV = {f"OS_{name.upper()}": value for name, value in AUTH.items()} | {"OS_REGION_NAME": "R1"}
NAMED = {"OS_CLOUD": "c"}


@dataclass
class Setting:
    files: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)


def entry(auth: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    found = {"region_name": "R1", "auth": deepcopy(AUTH if auth is None else auth), **more}
    return {"clouds": {"c": {name: value for name, value in found.items() if value is not None}}}


def by_entry(auth: dict[str, Any] | None = None, **more: Any) -> Setting:
    return Setting({"clouds.yaml": entry(auth, **more)}, dict(NAMED))


def beside(
    env: dict[str, str], auth: dict[str, Any] | None = None, flags: dict[str, str] | None = None, **more: Any
) -> Setting:
    """Variables and flags beside an entry that is named."""
    return Setting({"clouds.yaml": entry(auth, **more)}, {**NAMED, **env}, flags or {})


def alone(env: dict[str, str | None], **flags: str) -> Setting:
    """Variables and flags without any file."""
    return Setting({}, {name: text for name, text in {**ENV, **env}.items() if text is not None}, flags)


REGIONS: dict[str, Any] = {"region_name": None, "regions": ["R1", "R2"]}
REGIONS_WITH_VALUES: dict[str, Any] = {
    "region_name": None,
    "regions": [
        {"name": "R1", "values": {"interface": "internal"}},
        {"name": "R2", "values": {"auth": {"project_name": "second"}}},
    ],
}
ENTRIES: dict[str, Setting] = {
    "plain": by_entry(),
    "auth_url without version": by_entry({**AUTH, "auth_url": "{url}"}),
    "auth_url with a slash": by_entry({**AUTH, "auth_url": "{url}/v3/"}),
    "wrong password": by_entry({**AUTH, "password": "wrong-password"}),
    "no password": by_entry(NO_SECRET),
    "no user": by_entry({name: AUTH[name] for name in AUTH if name != "username"}),
    "no auth_url": by_entry({name: AUTH[name] for name in AUTH if name != "auth_url"}),
    "no auth at all": by_entry({}),
    "user by id": by_entry({**NO_DOMAINS, "user_id": "u1", "project_domain_name": "Default"}),
    "project by id": by_entry({**AUTH, "project_id": PROJECT_ID}),
    "project by id alone": by_entry(
        {name: AUTH[name] for name in AUTH if "project" not in name} | {"project_id": PROJECT_ID}
    ),
    "domains by id": by_entry({**NO_DOMAINS, "user_domain_id": "default", "project_domain_id": "default"}),
    "one domain for both": by_entry({**NO_DOMAINS, "domain_name": "Default"}),
    "one domain by id": by_entry({**NO_DOMAINS, "domain_id": "default"}),
    "domain beside auth": by_entry(NO_DOMAINS, domain_id="default"),
    "no domains": by_entry(NO_DOMAINS),
    "no domains, version 3": by_entry(NO_DOMAINS, identity_api_version=3),
    "no domains, version 3 as text": by_entry(NO_DOMAINS, identity_api_version="3"),
    "own default domain": by_entry(NO_DOMAINS, identity_api_version=3, default_domain="corp"),
    "user domain only, version 3": by_entry({**NO_DOMAINS, "user_domain_name": "U"}, identity_api_version=3),
    "tenant": by_entry({**{n: AUTH[n] for n in AUTH if n != "project_name"}, "tenant_name": "demo"}),
    "v3password": by_entry(auth_type="v3password"),
    "v3password without domains": by_entry(NO_DOMAINS, auth_type="v3password", identity_api_version=3),
    "auth_plugin, the old word": by_entry(auth_plugin="v3password"),
    "application credential": by_entry(CREDENTIAL, auth_type="v3applicationcredential"),
    "application credential by name": by_entry(
        {
            "auth_url": "{url}/v3",
            "application_credential_name": "n",
            "application_credential_secret": PASSWORD,
            "username": "demo",
            "user_domain_name": "Default",
        },
        auth_type="v3applicationcredential",
    ),
    "application credential without auth_type": by_entry(CREDENTIAL),
    "token": by_entry(
        {
            "auth_url": "{url}/v3",
            "token": PASSWORD,
            "project_name": "demo",
            "project_domain_name": "Default",
        },
        auth_type="v3token",
    ),
    "token, any version": by_entry(
        {"auth_url": "{url}/v3", "token": PASSWORD, "project_id": PROJECT_ID}, auth_type="token"
    ),
    "passcode": by_entry({**NO_SECRET, "passcode": PASSWORD}, auth_type="v3totp"),
    "trust": by_entry(
        {n: AUTH[n] for n in AUTH if "project" not in n} | {"trust_id": "t1"}, auth_type="v3password"
    ),
    "unknown auth_type": by_entry(auth_type="v3nosuch"),
    "password beside auth": by_entry(NO_SECRET, password=PASSWORD),
    "user in and beside auth": by_entry({**AUTH, "username": "inside"}, username="beside"),
    "project in and beside auth": by_entry({**AUTH, "project_name": "inside"}, project_name="beside"),
    "braces in the password": by_entry({**AUTH, "password": "{x}-" + PASSWORD}),
    "number as password": by_entry({**AUTH, "password": 12345678}),
    "number as project": by_entry({**AUTH, "project_name": 2024}),
    "regions": by_entry(**REGIONS),
    "regions with values": by_entry(**REGIONS_WITH_VALUES),
    "no region": by_entry(region_name=None),
    "cacert": by_entry(cacert="/etc/ssl/corp.pem"),
    "cacert of the home": by_entry(cacert="~/corp.pem"),
    "verify false": by_entry(verify=False),
    "insecure": by_entry(insecure=True),
    "insecure as text": by_entry(insecure="true"),
    "insecure beside cacert": by_entry(insecure=True, cacert="/etc/ssl/corp.pem"),
    "client certificate": by_entry(cert="/etc/ssl/me.pem", key="/etc/ssl/me.key"),
    "unknown profile": by_entry(profile="no-such-vendor"),
    "unknown cloud": Setting({"clouds.yaml": entry()}, {"OS_CLOUD": "d"}),
    "empty entry": Setting({"clouds.yaml": {"clouds": {"c": {}}}}, dict(NAMED)),
    "no clouds": Setting({"clouds.yaml": {"clouds": {}}}, dict(NAMED)),
}
ENDPOINTS: dict[str, Setting] = {
    f"{name}: {value}": by_entry(None, **{name: value})
    for name, value in [
        ("interface", "internal"),
        ("interface", "internalURL"),
        ("interface", "admin"),
        ("interface", ["admin", "public"]),
        ("interface", "none-such"),
        ("endpoint_type", "internalURL"),
        ("image_interface", "internal"),
        ("image_endpoint_type", "internalURL"),
        ("volume_interface", "internal"),
        ("volumev3_interface", "admin"),
        ("block_storage_interface", "internal"),
        ("compute_interface", "internal"),
        ("volume_service_name", "cinder-two"),
        ("block_storage_service_name", "cinder-two"),
        ("block_storage_service_name", "no-such"),
        ("image_service_name", "glance-two"),
        ("volume_service_type", "volumev2"),
        ("block_storage_service_type", "volumev2"),
        ("block_storage_service_type", "my-volumes"),
        ("image_service_type", "my-images"),
        ("block_storage_region_name", "R2"),
        ("image_region_name", "R2"),
        ("block_storage_endpoint_override", "http://127.0.0.1:1/here"),
        ("volume_endpoint_override", "http://127.0.0.1:1/here"),
        ("volumev3_endpoint_override", "http://127.0.0.1:1/here"),
        ("volume_endpoint", "http://127.0.0.1:1/here"),
        ("image_endpoint_override", "http://127.0.0.1:1/here"),
        ("image_endpoint", "http://127.0.0.1:1/here"),
    ]
}
OVER_ENTRY: dict[str, Setting] = {
    f"{variable}={text}": beside({variable: text})
    for variable, text in [
        ("OS_USERNAME", "other"),
        ("OS_USER_ID", "u9"),
        ("OS_PASSWORD", "wrong-password"),
        ("OS_PROJECT_NAME", "second"),
        ("OS_PROJECT_ID", PROJECT_ID),
        ("OS_TENANT_NAME", "second"),
        ("OS_TENANT_ID", PROJECT_ID),
        ("OS_USER_DOMAIN_NAME", "corp"),
        ("OS_USER_DOMAIN_ID", "corp"),
        ("OS_PROJECT_DOMAIN_NAME", "corp"),
        ("OS_PROJECT_DOMAIN_ID", "corp"),
        ("OS_DOMAIN_NAME", "corp"),
        ("OS_SYSTEM_SCOPE", "all"),
        ("OS_TRUST_ID", "t1"),
        ("OS_REGION_NAME", "R2"),
        ("OS_INTERFACE", "internal"),
        ("OS_ENDPOINT_TYPE", "internalURL"),
        ("OS_CACERT", "/etc/ssl/corp.pem"),
        ("OS_CERT", "/etc/ssl/me.pem"),
        ("OS_AUTH_URL", "{url}/other/v3"),
        ("OS_AUTH_TYPE", "v3password"),
        ("OS_AUTH_TYPE", "v3applicationcredential"),
        ("OS_TOKEN", PASSWORD),
        ("OS_INSECURE", "true"),
        ("OS_IDENTITY_API_VERSION", "3"),
        ("OS_VOLUME_API_VERSION", "3"),
        ("OS_DEFAULT_DOMAIN", "corp"),
        ("OS_IMAGE_ENDPOINT_OVERRIDE", "http://127.0.0.1:1/here"),
        ("OS_APPLICATION_CREDENTIAL_ID", "ac9"),
        ("OS_PASSWORD", ""),
        ("OS_REGION_NAME", ""),
        ("OS_AUTH_TYPE", ""),
    ]
} | {
    "region by variable": beside({"OS_REGION_NAME": "R2"}, **REGIONS),
    "region by variable, with values": beside({"OS_REGION_NAME": "R2"}, **REGIONS_WITH_VALUES),
    "region that the entry has not": beside({"OS_REGION_NAME": "Mars"}, **REGIONS),
    "password by variable": beside({"OS_PASSWORD": PASSWORD}, NO_SECRET),
    "user and password by variable": beside(
        {"OS_USERNAME": "demo", "OS_PASSWORD": PASSWORD},
        {n: NO_SECRET[n] for n in NO_SECRET if n != "username"},
    ),
    "secret of a credential by variable": beside(
        {"OS_APPLICATION_CREDENTIAL_SECRET": PASSWORD},
        {"auth_url": "{url}/v3", "application_credential_id": "ac1"},
        auth_type="v3applicationcredential",
    ),
    "braces in a password by variable": beside({"OS_PASSWORD": PASSWORD + "{}"}, NO_SECRET),
    "version 3 by variable, no domains": beside({"OS_IDENTITY_API_VERSION": "3"}, NO_DOMAINS),
    "default domain by variable": beside(
        {"OS_IDENTITY_API_VERSION": "3", "OS_DEFAULT_DOMAIN": "corp"}, NO_DOMAINS
    ),
    "interface by variable beside that of a service": beside(
        {"OS_INTERFACE": "admin"}, image_interface="internal"
    ),
    "token over a password": beside({"OS_TOKEN": PASSWORD, "OS_AUTH_TYPE": "v3token"}),
}
FLAGS: dict[str, Setting] = {
    f"--os-{name.replace('_', '-')} {text}": beside({}, flags={name: text})
    for name, text in [
        ("username", "other"),
        ("password", "wrong-password"),
        ("project_name", "second"),
        ("project_id", PROJECT_ID),
        ("user_domain_name", "corp"),
        ("user_domain_id", "corp"),
        ("project_domain_name", "corp"),
        ("project_domain_id", "corp"),
        ("region_name", "R2"),
        ("interface", "internal"),
        ("cacert", "/etc/ssl/corp.pem"),
        ("auth_url", "{url}/other/v3"),
        ("auth_type", "v3password"),
        ("token", PASSWORD),
        ("trust_id", "t1"),
        ("insecure", "true"),
    ]
} | {
    "a flag over its variable": beside({"OS_PROJECT_NAME": "env"}, flags={"project_name": "flag"}),
    "a region by flag over its variable": beside(
        {"OS_REGION_NAME": "R1"}, flags={"region_name": "R2"}, **REGIONS
    ),
    "cloud by flag over its variable": Setting(
        {"clouds.yaml": {"clouds": {"c": entry()["clouds"]["c"], "d": {"auth": {}}}}},
        {"OS_CLOUD": "d"},
        {"cloud": "c"},
    ),
    "password by flag": beside({}, NO_SECRET, {"password": PASSWORD}),
}
WITHOUT_FILE: dict[str, Setting] = {
    "variables": alone({}),
    "variables without a region": alone({"OS_REGION_NAME": None}),
    "variables with a region": alone({"OS_REGION_NAME": "R2"}),
    "variables, wrong password": alone({"OS_PASSWORD": "wrong-password"}),
    "variables without a password": alone({"OS_PASSWORD": None}),
    "variables with an empty password": alone({"OS_PASSWORD": ""}),
    "variables without an address": alone({"OS_AUTH_URL": None}),
    "variables without a version": alone({"OS_AUTH_URL": "{url}"}),
    "variables with empty ones": alone(
        {"OS_TRUST_ID": "", "OS_PROJECT_ID": "", "OS_CLOUD": "", "OS_TOKEN": ""}
    ),
    "openrc of Horizon": alone(
        {
            "OS_PROJECT_ID": PROJECT_ID,
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_NAME": None,
            "OS_REGION_NAME": "R1",
            "OS_INTERFACE": "public",
            "OS_IDENTITY_API_VERSION": "3",
        }
    ),
    "variables of version 3 without domains": alone(
        {"OS_IDENTITY_API_VERSION": "3", "OS_USER_DOMAIN_NAME": None, "OS_PROJECT_DOMAIN_NAME": None}
    ),
    "variables with a default domain": alone(
        {
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USER_DOMAIN_NAME": None,
            "OS_PROJECT_DOMAIN_NAME": None,
            "OS_DEFAULT_DOMAIN": "corp",
        }
    ),
    "variables with a tenant": alone({"OS_PROJECT_NAME": None, "OS_TENANT_NAME": "demo"}),
    "variables by user id": alone({"OS_USERNAME": None, "OS_USER_ID": "u1"}),
    "variables, internal": alone({"OS_INTERFACE": "internal"}),
    "variables, CA": alone({"OS_CACERT": "~/corp.pem"}),
    "variables of an application credential": Setting(
        {},
        {f"OS_{name.upper()}": text for name, text in CREDENTIAL.items()}
        | {"OS_AUTH_TYPE": "v3applicationcredential", "OS_REGION_NAME": "R1"},
    ),
    "variables of a token": Setting(
        {},
        {
            "OS_AUTH_URL": "{url}/v3",
            "OS_AUTH_TYPE": "v3token",
            "OS_TOKEN": PASSWORD,
            "OS_PROJECT_ID": PROJECT_ID,
            "OS_REGION_NAME": "R1",
        },
    ),
    "variables of a token without auth_type": Setting(
        {}, {"OS_AUTH_URL": "{url}/v3", "OS_TOKEN": PASSWORD, "OS_PROJECT_ID": PROJECT_ID}
    ),
    "flags alone": Setting(
        {}, {}, {name: str(value) for name, value in AUTH.items()} | {"region_name": "R1"}
    ),
    "a flag over variables": alone({}, project_name="second"),
    "address without http": alone({"OS_AUTH_URL": "keystone.example/v3"}),
    "nothing": Setting(),
}
SECURE = {"clouds": {"c": {"auth": {"password": PASSWORD}}}}
FILES: dict[str, Setting] = {
    "secure.yaml": Setting({"clouds.yaml": entry(NO_SECRET), "secure.yaml": SECURE}, dict(NAMED)),
    "secure.yaml over clouds.yaml": Setting(
        {"clouds.yaml": entry({**AUTH, "password": "wrong-password"}), "secure.yaml": SECURE}, dict(NAMED)
    ),
    "a variable over secure.yaml": Setting(
        {"clouds.yaml": entry(NO_SECRET), "secure.yaml": SECURE}, {**NAMED, "OS_PASSWORD": "wrong-password"}
    ),
    "clouds.yml": Setting({"clouds.yml": entry()}, dict(NAMED)),
    "clouds.json": Setting({"clouds.json": entry()}, dict(NAMED)),
    "clouds.yaml before clouds.json": Setting(
        {"clouds.yaml": entry(), "clouds.json": entry({**AUTH, "username": "json"})}, dict(NAMED)
    ),
    "OS_CLIENT_CONFIG_FILE": Setting(
        {"clouds.yaml": entry({**AUTH, "username": "here"}), "elsewhere/own.yaml": entry()},
        {**NAMED, "OS_CLIENT_CONFIG_FILE": "{elsewhere}/own.yaml"},
    ),
    "OS_CLIENT_CONFIG_FILE that is not there": Setting(
        {"clouds.yaml": entry()}, {**NAMED, "OS_CLIENT_CONFIG_FILE": "{elsewhere}/none.yaml"}
    ),
    "OS_CLIENT_SECURE_FILE": Setting(
        {"clouds.yaml": entry(NO_SECRET), "elsewhere/own.yaml": SECURE},
        {**NAMED, "OS_CLIENT_SECURE_FILE": "{elsewhere}/own.yaml"},
    ),
    "clouds-public.yaml": Setting(
        {
            "clouds.yaml": entry(
                {n: AUTH[n] for n in AUTH if n != "auth_url"}, region_name=None, profile="corp"
            ),
            "clouds-public.yaml": {
                "public-clouds": {"corp": {"auth": {"auth_url": "{url}/v3"}, "regions": ["R1", "R2"]}}
            },
        },
        {**NAMED, "OS_REGION_NAME": "R2"},
    ),
    "broken clouds.yaml": Setting({"clouds.yaml": "clouds:\n  c: [\n"}, dict(NAMED)),
    "empty clouds.yaml": Setting({"clouds.yaml": ""}, dict(NAMED)),
    "variables beside clouds.yaml": Setting({"clouds.yaml": entry()}, {**ENV, "OS_USERNAME": "env"}),
    "empty OS_CLOUD beside variables": Setting({"clouds.yaml": entry()}, {**ENV, "OS_CLOUD": ""}),
    "two clouds, none named": Setting({"clouds.yaml": {"clouds": {"c": {"auth": {}}, "d": {"auth": {}}}}}),
    "one cloud, not named": Setting({"clouds.yaml": entry()}),
}
SETTINGS = {
    f"{group}: {name}": setting
    for group, settings in {
        "entry": ENTRIES,
        "endpoint": ENDPOINTS,
        "over the entry": OVER_ENTRY,
        "flag": FLAGS,
        "no file": WITHOUT_FILE,
        "files": FILES,
    }.items()
    for name, setting in settings.items()
}
