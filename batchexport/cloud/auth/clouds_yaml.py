"""The account described by clouds.yaml, together with variables and flags.

openstacksdk takes a clouds.yaml of the current folder before that of the home, and joins it with whatever
secure.yaml it finds. Whoever can write to that folder could set an address, and be sent the password: files
that someone else could have put there are reported or refused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keystoneauth1 import exceptions as refused
from msgspec.structs import replace
from openstack import exceptions as sdk

from batchexport.cloud.auth.access_keys import (
    AccessKey,
    RequestSigner,
    find_access_key,
    project_of,
    service_entries,
)
from batchexport.cloud.auth.account import Account
from batchexport.cloud.auth.client_config import (
    ClientConfig,
    MissingError,
    arguments,
    capture_warnings,
    check_shape,
    unexpected_option,
    wrong_shape,
)
from batchexport.cloud.auth.keystone import SET_IT, SILENCE_TIMEOUT_S, Principal, secrets_in
from batchexport.cloud.auth.keystone_plugins import sign_in_by_plugin
from batchexport.cloud.auth.sign_in_pacing import SignIns
from batchexport.cloud.catalog import EndpointPreferences, ServicePreferences, with_dialect
from batchexport.cloud.http.transport import TlsConfig
from batchexport.config.settings import CloudSettings
from batchexport.dialect import DialectName
from batchexport.errors import ConfigError
from batchexport.model import TargetKey
from batchexport.redaction import sanitize

_PROJECT_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ALL_PROJECT_NAMES = ("project_id", "project_name", "tenant_id", "tenant_name")
_WHAT_TO_SET = (
    "name a cloud of clouds.yaml (--os-cloud or OS_CLOUD), or set OS_AUTH_URL, OS_USERNAME, OS_PASSWORD,"
    " OS_PROJECT_NAME, OS_USER_DOMAIN_NAME and OS_PROJECT_DOMAIN_NAME"
)


def clouds_yaml_account(key: TargetKey, settings: CloudSettings, sign_ins: SignIns) -> Account:
    """The account as the `openstack` client finds it. Raises ConfigError where one is missing or wrong."""
    is_alone = settings.entry_alone or settings.clouds_file is not None
    environment: Mapping[str, str] = {} if is_alone else os.environ
    cloud = key.cloud or settings.cloud or environment.get("OS_CLOUD") or None
    config: ClientConfig | None = None
    values = arguments(settings.options, environment)
    if key.region:
        values["region_name"] = key.region
    try:
        with capture_warnings():
            config = ClientConfig(settings.clouds_file, entry_alone=settings.entry_alone)
            check_shape(config, cloud)
            return _found(config, cloud, values, key, settings, sign_ins, environment)
    except ConfigError as error:
        raise _with_problems(error, config) from error
    except MissingError as error:
        raise _with_problems(_missing(error, cloud, config), config) from error
    except (sdk.SDKException, refused.ClientException, OSError, ValueError, LookupError) as error:
        raise _with_problems(_bad_configuration(error, cloud, config), config) from error
    except (TypeError, AttributeError) as error:  # openstacksdk does not check the types of values
        raise _with_problems(wrong_shape(cloud), config) from error


def _found(
    config: ClientConfig,
    cloud: str | None,
    values: Mapping[str, Any],
    key: TargetKey,
    settings: CloudSettings,
    sign_ins: SignIns,
    environment: Mapping[str, str],
) -> Account:
    # Not validated, for openstacksdk does not know access keys; and without secrets, for it would take braces
    # in them for placeholders.
    secrets = set(secrets_in(values))
    plain = config.get_one(
        cloud=cloud, validate=False, **{name: text for name, text in values.items() if text not in secrets}
    )
    access_key = find_access_key({**plain.config, **values}, environment)
    files = _files_of(config, cloud)
    notes = file_warnings(*files)
    if access_key is not None:
        account = _signing_account(access_key, plain, key, settings)
        auth_url = _auth_url_of(plain)
    else:
        auth_type = str(plain.config.get("auth_type"))
        project = _project_options(key.project, auth_type=auth_type)
        more = arguments(settings.options, environment, auth_type=auth_type)
        region = _validated(config, cloud, {**more, **values, **project}, auth_type)
        account = _account(region, key, settings, sign_ins)
        auth_url = _auth_url_of(region)
    used = tuple(filter(None, files))
    return replace(account, cloud=cloud, identity_url=auth_url, config_files=used, notes=notes)


def _validated(
    config: ClientConfig,
    cloud: str | None,
    values: Mapping[str, Any],
    auth_type: str,
) -> Any:
    try:
        region = config.get_one(cloud=cloud, **values)
    except TypeError as error:
        raise unexpected_option(error, auth_type) or error from error
    if (url := _auth_url_of(region)) and not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"auth_url {url!r} does not begin with http:// or https://", hint="correct auth_url (OS_AUTH_URL)"
        )
    return region


def _auth_url_of(region: Any) -> str | None:
    return (region.config.get("auth") or {}).get("auth_url") or region.config.get("auth_url") or None


def _files_of(config: ClientConfig, cloud: str | None) -> tuple[str | None, str | None]:
    """clouds.yaml and secure.yaml, if the cloud is in them; variables alone may describe it."""
    name = cloud or config.default_cloud
    if name == config.envvar_key or config.config_filename is None:
        return (None, None)
    return (config.config_filename, config.secure_config_filename)


def _with_problems(error: ConfigError, config: ClientConfig | None) -> ConfigError:
    """The error, with the unreadable files that may hold what is missing."""
    problems = config.ignored_files if config is not None else []
    if not problems:
        return error
    told = "; ".join(str(problem) for problem in problems)
    return ConfigError(f"{told}; {error}", hint=problems[0].hint)


def _named(cloud: str | None) -> str:
    return f"cloud {cloud!r}" if cloud else "the cloud to sign in to"


def _project_options(project: str | None, *, auth_type: str) -> dict[str, str]:
    """The project as name or id, and empty values for the other options, which could contradict it."""
    # Application credentials belong to one project and must not name another; whether it is the right one is
    # checked after signing in.
    if not project or "applicationcredential" in auth_type:
        return {}
    chosen = "project_id" if _PROJECT_ID.fullmatch(project) else "project_name"
    return dict.fromkeys(_ALL_PROJECT_NAMES, "") | {chosen: project}


def _missing(error: MissingError, cloud: str | None, config: ClientConfig | None) -> ConfigError:
    """The error for an incomplete configuration, with what to set."""
    if error.hint is not None:
        return ConfigError(f"{_named(cloud)}: {error}", hint=error.hint)
    hint = SET_IT if cloud else f"{_WHAT_TO_SET}; known clouds: {', '.join(_known(config)) or 'none'}"
    return ConfigError(f"{_named(cloud)}: {error}", hint=hint)


def _known(config: ClientConfig | None) -> list[str]:
    """The names of the clouds in clouds.yaml."""
    names = sorted(str(name) for name in config.get_cloud_names()) if config is not None else []
    return [name for name in names if name not in ("defaults", "envvars")]


def _bad_configuration(error: Exception, cloud: str | None, config: ClientConfig | None) -> ConfigError:
    known = _known(config)
    listed = ", ".join(known) or "none"
    if cloud and cloud not in known:
        return ConfigError(
            f"cloud {cloud!r} is not in clouds.yaml; known clouds: {listed}",
            hint="searched $OS_CLIENT_CONFIG_FILE, this folder, ~/.config/openstack and /etc/openstack",
        )
    hint = f"check the entry {cloud!r} of clouds.yaml" if cloud else f"{_WHAT_TO_SET}; known clouds: {listed}"
    return ConfigError(f"{_named(cloud)}: {sanitize(str(error))}", hint=hint)


def _account(region: Any, key: TargetKey, settings: CloudSettings, sign_ins: SignIns) -> Account:
    tls = TlsConfig.of(*region.get_requests_verify_args())
    auth = region.config["auth"]
    plugin, identity = region.get_auth(), Principal.of(auth)
    return Account(
        authenticator=sign_ins.tokens(
            (region.config["auth_type"], repr(sorted(auth.items())), tls, key.project),
            str(auth.get("auth_url") or ""),
            lambda: sign_in_by_plugin(
                plugin, tls, project=key.project, identity=identity, silence_s=SILENCE_TIMEOUT_S
            ),
            user=(identity.user, identity.secrets),
        ),
        unverified=False,
        preferences=with_dialect(_wishes(region), settings.dialect),
        tls=tls,
    )


def _signing_account(access_key: AccessKey, region: Any, key: TargetKey, settings: CloudSettings) -> Account:
    preferences = with_dialect(replace(_wishes(region), dialect=DialectName.EVS), settings.dialect)
    if not preferences.region:  # openstacksdk uses this variable only together with others
        preferences = replace(preferences, region=os.environ.get("OS_REGION_NAME"))
    auth_url = _auth_url_of(region)
    return Account(
        authenticator=RequestSigner(
            access_key,
            project_id=project_of(region.config, os.environ, wanted=key.project),
            catalog=service_entries(preferences.region, auth_url, interface=preferences.interfaces[0]),
        ),
        unverified=True,
        preferences=preferences,
        tls=TlsConfig.of(*region.get_requests_verify_args()),
    )


def _wishes(region: Any) -> EndpointPreferences:
    evs_url = region.get_endpoint("evs")
    return EndpointPreferences(
        region=region.region_name or None,
        interfaces=_interfaces(region.config.get("interface")) or ("public",),
        block_storage=_choice(region, "block-storage"),
        image=_choice(region, "image"),
        compute=_choice(region, "compute"),
        block_storage_url=region.get_endpoint("block-storage") or evs_url,
        image_url=region.get_endpoint("image") or region.get_endpoint("ims"),
        compute_url=region.get_endpoint("compute") or region.get_endpoint("ecs"),
        dialect=DialectName.EVS if evs_url else None,
    )


def _choice(region: Any, service: str) -> ServicePreferences:
    """The settings of one service: `volume_interface`, `image_service_name` and the like."""
    kind = region.get_service_type(service)
    return ServicePreferences(
        region=region.get_region_name(service) or None,
        interfaces=_interfaces(region.get_interface(service)),
        service_type=None if kind == service else kind,
        service_name=region.get_service_name(service),
    )


def _interfaces(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else list(value or ())
    return tuple(str(name).removesuffix("URL") for name in names if name)


def file_warnings(config_file: str | None, secure_file: str | None) -> tuple[str, ...]:
    """Warnings about these files. Raises ConfigError rather than combine secrets with an untrusted file."""
    notes = []
    for path in filter(None, (config_file, secure_file)):
        if (reason := untrusted_reason(Path(path))) is not None:
            notes.append(f"{path} {reason}: it decides where the password is sent, and may not be yours")
    if (
        config_file
        and secure_file
        and _may_be_planted(config_file)
        and not _same_folder(config_file, secure_file)
    ):
        raise ConfigError(
            f"{config_file} {untrusted_reason(Path(config_file))}; secrets of {secure_file} do not go there",
            hint="remove that file, make it yours alone (chown, chmod go-w), or set OS_CLIENT_CONFIG_FILE"
            " to the right one",
        )
    return tuple(notes)


def untrusted_reason(path: Path) -> str | None:
    """Why someone else may have written a file, as the end of a sentence; None = only we or root can."""
    try:
        file, folder = path.stat(), path.absolute().parent.stat()
    except OSError:
        return None
    ours = (0, os.geteuid())
    if file.st_uid not in ours:
        return f"belongs to another user ({file.st_uid})"
    if file.st_mode & stat.S_IWOTH:
        return "is writable by everyone"
    if folder.st_uid not in ours:
        return f"is in a folder of another user ({folder.st_uid})"
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        return "is in a folder that everyone can write to"
    return None


def _may_be_planted(config_file: str) -> bool:
    """Whether an untrusted file was found only because it is in the current folder."""
    named = os.environ.get("OS_CLIENT_CONFIG_FILE") == config_file
    here = Path(config_file).absolute().parent == Path.cwd()
    return here and not named and untrusted_reason(Path(config_file)) is not None


def _same_folder(one: str, other: str) -> bool:
    return Path(one).absolute().parent == Path(other).absolute().parent
