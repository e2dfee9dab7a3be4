"""clouds.yaml, variables and flags, read as the `openstack` client reads them.

openstacksdk reads them; the client adds `OS_…` variables and flags to the entry of clouds.yaml, knows a
default domain, and takes an empty variable for one that is not set. openstacksdk silently ignores a file that
it cannot read or parse; the reason is found here. Importing it takes a third of a second, so this module is
imported when first needed.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import openstack.config.loader
from keystoneauth1 import loading
from keystoneauth1.exceptions import NoMatchingPlugin

from batchexport.cloud.auth.account import DEFAULT_DOMAIN
from batchexport.errors import ConfigError
from batchexport.redaction import sanitize

log = logging.getLogger(__name__)

#: What the `openstack` client takes from flags and variables, apart from options for signing in.
_GENERAL = frozenset(
    {"region_name", "cacert", "cert", "key", "interface", "auth_type", "default_domain"}
    | {"service_provider", "remote_project_name", "remote_project_id"}
    | {"remote_project_domain_name", "remote_project_domain_id"}
    | {f"{service}_api_version" for service in ("identity", "image", "volume", "compute", "network")}
)
#: Options of the common ways to sign in. To ask all plug-ins would load libraries that are not needed.
_SIGN_IN = frozenset(
    {"auth_url", "username", "user_id", "user_domain_id", "user_domain_name", "password", "passcode", "token"}
    | {"project_id", "project_name", "project_domain_id", "project_domain_name", "domain_id", "domain_name"}
    | {"application_credential_id", "application_credential_name", "application_credential_secret"}
    | {"default_domain_id", "default_domain_name", "system_scope", "trust_id", "endpoint"}
)
#: Older names of the same.
_OLDER = {"tenant_name": "project_name", "tenant_id": "project_id"}
#: The ways to sign in that use the default domain.
_WITH_DOMAINS = ("password", "v3password", "v3totp")


class ClientConfig(openstack.config.loader.OpenStackConfig):  # type: ignore[misc] # has no types
    """openstacksdk's configuration, with what the `openstack` client adds to it."""

    def __init__(self, clouds_file: Path | None = None, *, entry_alone: bool = False) -> None:
        """`clouds_file` = read this one. With it, or `entry_alone`, no variable describes a cloud."""
        self._clouds_file = clouds_file
        self._reads_variables = clouds_file is None and not entry_alone
        #: Existing files that were ignored, each with the reason.
        self.ignored_files: list[ConfigError] = []
        super().__init__(override_defaults={"interface": "public", "auth_type": "password"})

    def _get_envvar(self, key: str, default: str | None = None) -> str | None:
        if key == "OS_CLIENT_CONFIG_FILE" and self._clouds_file is not None:
            return str(self._clouds_file)
        if not self._reads_variables and key != "OS_CLIENT_CONFIG_FILE":
            return default
        return os.environ.get(key) or default

    def _get_os_environ(self, envvar_prefix: str | None = None) -> dict[str, Any] | None:
        """The cloud described by variables; empty ones count as not set."""
        if not self._reads_variables:
            return None
        found: dict[str, Any] | None = super()._get_os_environ(envvar_prefix)
        if found is None:
            return None
        defaults = self._defaults_module.get_defaults()
        is_set = False
        for name, text in os.environ.items():
            if not name.startswith("OS_"):
                continue
            key = name[3:].lower()
            is_set = is_set or bool(text and name not in _SELECTORS and not name.startswith(_NOT_OURS))
            if not text and key in found:
                found.pop(key)
                found |= {key: defaults[key]} if key in defaults else {}
        return found if is_set else None

    def _load_yaml_json_file(self, filelist: Sequence[str]) -> tuple[str | None, Any]:
        """The first of these files that can be read; those that cannot are noted."""
        for path in filelist:
            found, content = super()._load_yaml_json_file([path])
            if found is not None:
                return found, content
            if (problem := unreadable(Path(path))) is not None:
                self.ignored_files.append(problem)
        return None, None

    def auth_config_hook(self, config: dict[str, Any]) -> dict[str, Any]:
        """Adds the default domain, where the identity service is known to be of version 3."""
        if str(config.get("identity_api_version") or "") == "3" and config["auth_type"] in _WITH_DOMAINS:
            auth, domain = config["auth"], config.get("default_domain")
            for whose in ("user", "project"):
                if not auth.get(f"{whose}_domain_id") and not auth.get(f"{whose}_domain_name"):
                    auth[f"{whose}_domain_id"] = domain
        return config

    def _validate_auth(self, config: dict[str, Any], loader: Any) -> dict[str, Any]:
        """The values for the way to sign in, those of flags and variables before those of the entry."""
        auth = config["auth"]
        missing = []
        for option in loader.get_options():
            found = self._find_winning_auth_value(option, config) or self._find_winning_auth_value(
                option, auth
            )
            if not found and option.required:
                missing.append(option.dest)
            for name in (option.name, *(older.name for older in option.deprecated)):
                config.pop(name.replace("-", "_"), None)
                auth.pop(name.replace("-", "_"), None)
            if found:
                auth[option.dest or option.name.replace("-", "_")] = found
        missing += _missing(config["auth_type"], auth)
        if missing:
            raise MissingError(sorted(set(missing)), config["auth_type"], given={**config, **auth})
        return config


#: Variables that choose a cloud but do not describe one.
_SELECTORS = frozenset(
    {"OS_CLOUD", "OS_REGION_NAME", "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE", "OS_CLOUD_NAME"}
)
_NOT_OURS = ("OS_TEST", "OS_STD", "OS_LOG")


#: What is set when another way to sign in was meant than the default.
_OTHER_WAYS = {
    "application_credential_id": "for an application credential set auth_type: v3applicationcredential"
    " (OS_AUTH_TYPE)",
    "application_credential_name": "for an application credential set auth_type: v3applicationcredential"
    " (OS_AUTH_TYPE)",
    "token": "for a token set auth_type: token (OS_AUTH_TYPE)",
    "passcode": "for a passcode set auth_type: v3totp (OS_AUTH_TYPE)",
}


class MissingError(Exception):
    """A way to sign in lacks required values."""

    def __init__(self, names: Sequence[str], auth_type: str, *, given: Mapping[str, object]) -> None:
        super().__init__(f"missing for auth_type {auth_type}: {', '.join(names)}")
        #: What to do if values for another way to sign in are set; None = set what is missing.
        self.hint = next((hint for name, hint in _OTHER_WAYS.items() if given.get(name)), None)


def _missing(auth_type: str, auth: Mapping[str, object]) -> list[str]:
    """Values that keystoneauth does not require but the identity service does."""
    if auth_type not in ("password", "v3password", "v2password"):
        return []
    user = [] if auth.get("username") or auth.get("user_id") else ["username"]
    return user + ([] if auth.get("password") else ["password"])


def arguments(
    options: Mapping[str, str], environment: Mapping[str, str], *, auth_type: str | None = None
) -> dict[str, Any]:
    """Flags and variables as arguments for `ClientConfig.get_one`; a flag takes precedence over its variable.

    With an `auth_type`, variables for this way to sign in are read, too.
    """
    names = _GENERAL | _SIGN_IN | _OLDER.keys() | (_options_of(auth_type) if auth_type else set())
    values = {name: text for name in sorted(names) if (text := environment.get(f"OS_{name.upper()}"))}
    values |= {name: text for name, text in options.items() if text}
    for older, newer in _OLDER.items():
        if (text := values.pop(older, None)) is not None:
            values.setdefault(newer, text)
    return {"default_domain": DEFAULT_DOMAIN, **values}


def _options_of(auth_type: str) -> set[str]:
    """The options of a way to sign in; empty if it is not installed."""
    try:
        return {option.name.replace("-", "_") for option in loading.get_plugin_options(auth_type)}
    except NoMatchingPlugin:  # reported when it is loaded
        return set()


_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def unexpected_option(error: TypeError, auth_type: str) -> ConfigError | None:
    """The error for an option that the way to sign in does not accept; None = another error."""
    found = _UNEXPECTED.search(str(error))
    if found is None:
        return None
    name = found[1]
    if name.startswith("application_credential"):
        return ConfigError(
            f"an application credential is set, but auth_type is {auth_type}",
            hint="set auth_type: v3applicationcredential in clouds.yaml, or OS_AUTH_TYPE",
        )
    return ConfigError(
        f"auth_type {auth_type} does not accept {name}",
        hint="remove it, or choose the auth_type that it belongs to (in clouds.yaml, or OS_AUTH_TYPE)",
    )


def check_shape(config: ClientConfig, cloud: str | None) -> None:
    """Raises ConfigError if the entry of the cloud holds types that openstacksdk cannot handle."""
    name = cloud or config.default_cloud
    entries = config.cloud_config.get("clouds")
    if not isinstance(entries, dict):
        raise wrong_shape(None)
    entry = entries.get(name)
    if entry is None and any(not isinstance(each, str) and str(each) == name for each in entries):
        raise ConfigError(
            f"cloud {name!r} is not a string in clouds.yaml", hint=f'write it in quotes: "{name}":'
        )
    if entry is None:
        return
    if not isinstance(entry, dict) or not isinstance(entry.get("auth", {}), dict | None):
        raise wrong_shape(name)
    if not isinstance(entry.get("region_name", ""), str | list | None):
        raise ConfigError(
            f"cloud {name!r}: region_name is not a string in clouds.yaml",
            hint="write it in quotes: YAML reads NO as false",
        )
    if isinstance(entry.get("verify"), str):
        raise ConfigError(
            f"cloud {name!r}: verify is the string {entry['verify']!r} in clouds.yaml",
            hint="write true or false without quotes; a file with certificates belongs in cacert",
        )


#: Warnings are filtered for the whole process, whichever thread does it.
_FILTERING = Lock()


@contextmanager
def capture_warnings() -> Iterator[None]:
    """Logs warnings of openstacksdk instead of printing them."""
    with _FILTERING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            found = {sanitize(str(each.message)) for each in caught if _is_relevant(each)}
    for message in sorted(found):
        log.warning("clouds.yaml: %s", message, extra={"action": "account_note"})


def _is_relevant(warning: warnings.WarningMessage) -> bool:
    """Whether it concerns the configuration, not deprecations in openstacksdk."""
    return issubclass(warning.category, UserWarning) and not issubclass(
        warning.category, DeprecationWarning | PendingDeprecationWarning
    )


def wrong_shape(cloud: str | None) -> ConfigError:
    """The error for a file that is YAML of another structure."""
    entry = f" or its entry {cloud!r}" if cloud else ""
    return ConfigError(
        f"clouds.yaml{entry} has the wrong structure",
        hint="expected: `clouds:`, below it the name of each cloud, and below that its `auth:`",
    )


def unreadable(path: Path) -> ConfigError | None:
    """Why this file cannot be read; None = it does not exist, or is readable.

    A file named by `OS_CLIENT_CONFIG_FILE` or `OS_CLIENT_SECURE_FILE` must exist.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return _not_there(path)
    except OSError as error:
        return ConfigError(
            f"{path} cannot be read: {error.strerror}",
            hint="make it readable for this user, or set OS_CLIENT_CONFIG_FILE to another file",
        )
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return ConfigError(f"{path} is not UTF-8", hint="save it as UTF-8")
    return yaml_error(path, content)


def yaml_error(path: Path, content: bytes) -> ConfigError | None:
    """The error for content that is not YAML, or not JSON if the name ends in .json; None = no error."""
    import json

    import yaml

    try:
        if path.suffix == ".json":
            json.loads(content)
        else:
            yaml.safe_load(content)
    except yaml.YAMLError as error:
        return _no_yaml(path, error)
    except ValueError as error:
        return ConfigError(
            f"{path}: not JSON: {sanitize(str(error))}", hint="check the quotes and brackets there"
        )
    return None


def _not_there(path: Path) -> ConfigError | None:
    for variable in ("OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"):
        if os.environ.get(variable) == str(path):
            tilde = "; ~ is not expanded there" if str(path).startswith("~") else ""
            return ConfigError(
                f"{variable} names {path}, which does not exist{tilde}",
                hint="correct the path, or unset it and name the cloud: --os-cloud, or OS_AUTH_URL and so on",
            )
    return None


def _no_yaml(path: Path, error: Any) -> ConfigError:
    """The error for a file that cannot be parsed, with the line if known."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
    problem = sanitize(getattr(error, "problem", None) or str(error))
    return ConfigError(f"{place}: not YAML: {problem}", hint="check the indents, quotes and brackets there")
