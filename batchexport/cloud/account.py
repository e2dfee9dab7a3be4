"""The account that a target means, as the `openstack` client finds it: clouds.yaml, `OS_…` and flags."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from batchexport.cloud.access_keys import find_access_key, project_of, service_entries
from batchexport.cloud.aksk import AccessKey
from batchexport.cloud.authorizer import Authorizer
from batchexport.cloud.catalog import ServiceChoice, Wishes, with_dialect
from batchexport.cloud.clouds_yaml import misshapen
from batchexport.cloud.direct import sign_in_directly
from batchexport.cloud.envelopes import fold
from batchexport.cloud.environment import PlainAccount, plain_account
from batchexport.cloud.identity import Identity, secrets_in
from batchexport.cloud.sign_ins import SignIns
from batchexport.cloud.signatures import Signatures
from batchexport.cloud.signin import SET_IT, sign_in
from batchexport.cloud.transport import Trust
from batchexport.cloud.trusted_files import notes_on
from batchexport.config.settings import CloudSettings
from batchexport.dialect import DialectName
from batchexport.errors import ConfigError
from batchexport.model import TargetKey

if TYPE_CHECKING:
    from batchexport.cloud.client_config import ClientConfig, MissingError

#: Seconds without a word from the identity service. keystoneauth itself would wait for ever.
SILENCE_S = 20.0

log = logging.getLogger(__name__)

_PROJECT_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ALL_PROJECT_NAMES = ("project_id", "project_name", "tenant_id", "tenant_name")
_WHAT_TO_SET = (
    "name a cloud of clouds.yaml (--os-cloud or OS_CLOUD), or set OS_AUTH_URL, OS_USERNAME, OS_PASSWORD,"
    " OS_PROJECT_NAME, OS_USER_DOMAIN_NAME and OS_PROJECT_DOMAIN_NAME"
)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """As whom to ask, and what the configuration says of the way to the services."""

    authorizer: Authorizer
    #: Whether nobody has looked at the credentials before the first request: it should go alone.
    unproven: bool
    wishes: Wishes
    trust: Trust
    cloud: str | None = None  #: its name in clouds.yaml; None = the variables tell of it
    identity_url: str | None = None  #: where it signs in; None = it signs requests, and nobody said
    config_files: tuple[str, ...] = ()  #: what says so: clouds.yaml and secure.yaml, where they were read
    notes: tuple[str, ...] = ()  #: what a person should know of it, in words


def load_account(key: TargetKey, access: CloudSettings, sign_ins: SignIns | None = None) -> Account:
    """The account that a target means. Blocks to read files; asks no server.

    Targets with the same `sign_ins` share the tokens of an account; None = those of this target alone.

    Raises ConfigError where the cloud is not known or a value for its way of signing in is missing.
    """
    sign_ins = sign_ins or SignIns()
    plain_one = plain_account(key, access, os.environ, home=_home(), folder=Path.cwd())
    account = (
        _by_openstacksdk(key, access, sign_ins) if plain_one is None else _plain(plain_one, access, sign_ins)
    )
    if not account.trust.verify:
        words = (
            "the cloud's certificates are not checked (verify: false, or insecure): anybody may answer for it"
        )
        account = replace(account, notes=(*account.notes, words))
    return account


def _home() -> Path | None:
    """The user's home, or None for one without: a made-up user in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _by_openstacksdk(key: TargetKey, access: CloudSettings, sign_ins: SignIns) -> Account:
    from keystoneauth1 import exceptions as refused
    from openstack import exceptions as sdk

    from batchexport.cloud.client_config import ClientConfig, MissingError, arguments, check_shape, quietly

    cloud = key.cloud or access.cloud or os.environ.get("OS_CLOUD") or None
    config: ClientConfig | None = None
    said = arguments(access.options, os.environ)
    if key.region:
        said["region_name"] = key.region
    try:
        with quietly():
            config = ClientConfig()
            check_shape(config, cloud)
            return _found(config, cloud, said, key, access, sign_ins)
    except ConfigError as error:
        raise _with_problems(error, config) from error
    except MissingError as error:
        raise _with_problems(_missing(error, cloud, config), config) from error
    except (sdk.SDKException, refused.ClientException, OSError, ValueError, LookupError) as error:
        raise _with_problems(_bad_configuration(error, cloud, config), config) from error
    except (TypeError, AttributeError) as error:  # openstacksdk takes it for granted what is a mapping
        raise _with_problems(misshapen(cloud), config) from error


def _found(
    config: ClientConfig,
    cloud: str | None,
    said: Mapping[str, Any],
    key: TargetKey,
    access: CloudSettings,
    sign_ins: SignIns,
) -> Account:
    # Not validated: what an access key needs is not what openstacksdk knows to ask for. And without secrets:
    # it would take braces in them for places to fill in.
    secrets = set(secrets_in(said))
    plain = config.get_one(
        cloud=cloud, validate=False, **{name: text for name, text in said.items() if text not in secrets}
    )
    access_key = find_access_key({**plain.config, **said}, os.environ)
    files = _files_of(config, cloud)
    notes = notes_on(*files)
    if access_key is not None:
        account = _signing_account(access_key, plain, key, access)
        auth_url = _auth_url_of(plain)
    else:
        auth_type = str(plain.config.get("auth_type"))
        project = _project_options(key.project, auth_type=auth_type)
        region = _validated(config, cloud, said, auth_type, project, access)
        account = _account(region, key, access, sign_ins)
        auth_url = _auth_url_of(region)
    used = tuple(filter(None, files))
    return replace(account, cloud=cloud, identity_url=auth_url, config_files=used, notes=notes)


def _validated(
    config: ClientConfig,
    cloud: str | None,
    said: Mapping[str, Any],
    auth_type: str,
    project: Mapping[str, str],
    access: CloudSettings,
) -> Any:
    from batchexport.cloud.client_config import arguments, not_taken

    try:
        more = arguments(access.options, os.environ, auth_type=auth_type)
        region = config.get_one(cloud=cloud, **{**more, **said, **project})
    except TypeError as error:
        raise not_taken(error, auth_type) or error from error
    if (url := _auth_url_of(region)) and not url.startswith(("http://", "https://")):
        raise ConfigError(f"auth_url {url!r} does not begin with http:// or https://", hint="correct it")
    return region


def _auth_url_of(region: Any) -> str | None:
    return (region.config.get("auth") or {}).get("auth_url") or region.config.get("auth_url") or None


def _files_of(config: ClientConfig, cloud: str | None) -> tuple[str | None, str | None]:
    """clouds.yaml and secure.yaml, where the cloud comes from them: the variables may describe it alone."""
    name = cloud or config.default_cloud
    if name == config.envvar_key or config.config_filename is None:
        return (None, None)
    return (config.config_filename, config.secure_config_filename)


def _with_problems(error: ConfigError, config: ClientConfig | None) -> ConfigError:
    """The error, and the files that might have said what is missing."""
    problems = config.passed_over if config is not None else []
    if not problems:
        return error
    told = "; ".join(str(problem) for problem in problems)
    return ConfigError(f"{told}; {error}", hint=problems[0].hint)


def _named(cloud: str | None) -> str:
    return f"cloud {cloud!r}" if cloud else "the cloud to sign in to"


def _project_options(project: str | None, *, auth_type: str) -> dict[str, str]:
    """The project as name or id, and nothing for the other ways to name one, which would contradict it."""
    # Application credentials are made for one project and refuse to name another; the answer to the sign-in
    # tells if it is the right one.
    if not project or "applicationcredential" in auth_type:
        return {}
    chosen = "project_id" if _PROJECT_ID.fullmatch(project) else "project_name"
    return dict.fromkeys(_ALL_PROJECT_NAMES, "") | {chosen: project}


def _missing(error: MissingError, cloud: str | None, config: ClientConfig | None) -> ConfigError:
    """The error for a sign-in without all that it needs, with what to set."""
    if error.hint is not None:
        return ConfigError(f"{_named(cloud)}: {error}", hint=error.hint)
    hint = SET_IT if cloud else f"{_WHAT_TO_SET}; known clouds: {', '.join(_known(config)) or 'none'}"
    return ConfigError(f"{_named(cloud)}: {error}", hint=hint)


def _known(config: ClientConfig | None) -> list[str]:
    """The clouds of clouds.yaml."""
    names = sorted(str(name) for name in config.get_cloud_names()) if config is not None else []
    return [name for name in names if name not in ("defaults", "envvars")]


def _bad_configuration(error: Exception, cloud: str | None, config: ClientConfig | None) -> ConfigError:
    known = _known(config)
    listed = ", ".join(known) or "none"
    if cloud and cloud not in known:
        return ConfigError(
            f"cloud {cloud!r} is not in clouds.yaml; known clouds: {listed}",
            hint="looked in $OS_CLIENT_CONFIG_FILE, this folder, ~/.config/openstack and /etc/openstack",
        )
    hint = f"check what clouds.yaml says of {cloud!r}" if cloud else f"{_WHAT_TO_SET}; known clouds: {listed}"
    return ConfigError(f"{_named(cloud)}: {fold(str(error))}", hint=hint)


def _plain(plain: PlainAccount, access: CloudSettings, sign_ins: SignIns) -> Account:
    cacert = None if plain.cacert is None else os.path.expanduser(plain.cacert)  # noqa: PTH111 - as openstacksdk
    trust, identity = Trust.of(cacert or True, None), Identity.of(plain.proof)
    interfaces = (plain.interface.removesuffix("URL"),)
    return Account(
        authorizer=sign_ins.tokens(
            (plain.auth_url, tuple(sorted(plain.proof.items())), trust),
            plain.auth_url,
            lambda: sign_in_directly(plain.auth_url, plain.proof, trust, identity, silence_s=SILENCE_S),
        ),
        unproven=False,
        wishes=with_dialect(Wishes(region=plain.region, interfaces=interfaces), access.dialect),
        trust=trust,
        identity_url=plain.auth_url,
    )


def _account(region: Any, key: TargetKey, access: CloudSettings, sign_ins: SignIns) -> Account:
    trust = Trust.of(*region.get_requests_verify_args())
    auth = region.config["auth"]
    plugin, identity = region.get_auth(), Identity.of(auth)
    return Account(
        authorizer=sign_ins.tokens(
            (region.config["auth_type"], repr(sorted(auth.items())), trust, key.project),
            str(auth.get("auth_url") or ""),
            lambda: sign_in(plugin, trust, project=key.project, identity=identity, silence_s=SILENCE_S),
            user=(identity.user, identity.secrets),
        ),
        unproven=False,
        wishes=with_dialect(_wishes(region), access.dialect),
        trust=trust,
    )


def _signing_account(access_key: AccessKey, region: Any, key: TargetKey, access: CloudSettings) -> Account:
    wishes = with_dialect(replace(_wishes(region), dialect=DialectName.EVS), access.dialect)
    if not wishes.region:  # openstacksdk heeds this variable only beside others of its own
        wishes = replace(wishes, region=os.environ.get("OS_REGION_NAME"))
    auth_url = _auth_url_of(region)
    return Account(
        authorizer=Signatures(
            access_key,
            project_id=project_of(region.config, os.environ, wanted=key.project),
            catalog=service_entries(wishes.region, auth_url, interface=wishes.interfaces[0]),
        ),
        unproven=True,
        wishes=wishes,
        trust=Trust.of(*region.get_requests_verify_args()),
    )


def _wishes(region: Any) -> Wishes:
    evs_url = region.get_endpoint("evs")
    return Wishes(
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


def _choice(region: Any, service: str) -> ServiceChoice:
    """What is said of one service: `volume_interface`, `image_service_name` and their like."""
    kind = region.get_service_type(service)
    return ServiceChoice(
        region=region.get_region_name(service) or None,
        interfaces=_interfaces(region.get_interface(service)),
        service_type=None if kind == service else kind,
        service_name=region.get_service_name(service),
    )


def _interfaces(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else list(value or ())
    return tuple(str(name).removesuffix("URL") for name in names if name)
