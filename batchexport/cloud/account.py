"""The account that a target means, as openstacksdk finds it: clouds.yaml, `OS_…`, and what was said to us."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchexport.cloud.auth import Token
from batchexport.cloud.catalog import Wishes, with_dialect
from batchexport.cloud.envelopes import fold
from batchexport.cloud.signin import sign_in
from batchexport.cloud.transport import Trust
from batchexport.config.settings import CloudSettings
from batchexport.errors import ConfigError
from batchexport.model import TargetKey

#: Seconds without a word from the identity service. keystoneauth itself would wait for ever.
SILENCE_S = 20.0

_PROJECT_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Options that belong beside `auth` in clouds.yaml; all others belong inside, where they win.
_BESIDE_AUTH = re.compile(
    r"region_name|interface|endpoint_type|profile|auth_type|verify|insecure|cacert|cert|key"
    r"|\w+_(endpoint_override|endpoint|interface|api_version|service_type|service_name)"
)
_ALL_PROJECT_NAMES = ("project_id", "project_name", "tenant_id", "tenant_name")
_WHAT_TO_SET = (
    "name a cloud of clouds.yaml (--os-cloud or OS_CLOUD), or set OS_AUTH_URL, OS_USERNAME, OS_PASSWORD,"
    " OS_PROJECT_NAME, OS_USER_DOMAIN_NAME and OS_PROJECT_DOMAIN_NAME"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where and as whom to sign in, and what the configuration says of the way to the services."""

    sign_in: Callable[
        [], Token
    ]  #: blocks; raises SignInError, UnreachableError, TransientError or ConfigError
    wishes: Wishes
    trust: Trust


def load_account(key: TargetKey, access: CloudSettings) -> Account:
    """The account that a target means. Blocks to read files; asks no server.

    Raises ConfigError where the cloud is not known or a value for its way of signing in is missing.
    """
    import openstack.config
    from keystoneauth1 import exceptions as refused
    from openstack import exceptions as sdk

    cloud = key.cloud or access.cloud
    known: list[str] = []
    try:
        loader = openstack.config.OpenStackConfig()
        known = sorted(loader.get_cloud_names())
        region = loader.get_one(cloud=cloud, **_options(key, access, loader, cloud))
    except (sdk.SDKException, refused.ClientException, OSError, ValueError, LookupError) as error:
        raise _bad_configuration(error, cloud, known) from error
    return _account(region, key, access)


def _options(key: TargetKey, access: CloudSettings, loader: Any, cloud: str | None) -> dict[str, object]:
    """The arguments for openstacksdk's loader: the row of the list wins over flags, and both over files."""
    options: dict[str, object] = {
        name: value for name, value in access.options.items() if _BESIDE_AUTH.fullmatch(name)
    }
    options["auth"] = {name: value for name, value in access.options.items() if name not in options}
    if key.region:
        options["region_name"] = key.region
    if key.project:
        auth_type = loader.get_one(cloud=cloud, validate=False, **options).config.get("auth_type")
        # These are made for one project and refuse to name another; the answer tells if it is the right one.
        if "applicationcredential" not in str(auth_type):
            options |= _project_option(key.project)
    return options


def _project_option(project: str) -> dict[str, str]:
    """The project as name or id, and nothing for the other ways to name one, which would contradict it."""
    chosen = "project_id" if _PROJECT_ID.fullmatch(project) else "project_name"
    return dict.fromkeys(_ALL_PROJECT_NAMES, "") | {chosen: project}


def _bad_configuration(error: Exception, cloud: str | None, known: list[str]) -> ConfigError:
    listed = ", ".join(name for name in known if name != "defaults") or "none"
    if cloud and cloud not in known:
        return ConfigError(
            f"cloud {cloud!r} is not in clouds.yaml; known clouds: {listed}",
            hint="looked in $OS_CLIENT_CONFIG_FILE, this folder, ~/.config/openstack and /etc/openstack",
        )
    where = f"cloud {cloud!r}" if cloud else "the cloud to sign in to"
    hint = f"check what clouds.yaml says of {cloud!r}" if cloud else f"{_WHAT_TO_SET}; known clouds: {listed}"
    return ConfigError(f"{where}: {fold(str(error))}", hint=hint)


def _account(region: Any, key: TargetKey, access: CloudSettings) -> Account:
    from keystoneauth1 import session

    verify, certificate = region.get_requests_verify_args()
    plugin = region.get_auth()
    # No retries of its own: it would do them unseen, and a wrong password must not be tried twice.
    http = session.Session(verify=verify, cert=certificate, timeout=SILENCE_S, connect_retries=0)
    return Account(
        sign_in=lambda: sign_in(plugin, http, project=key.project),
        wishes=with_dialect(_wishes(region), access.dialect),
        trust=Trust.of(verify, certificate),
    )


def _wishes(region: Any) -> Wishes:
    interface = region.get_interface("block-storage") or "public"
    names = [interface] if isinstance(interface, str) else [name for name in interface if name]
    return Wishes(
        region=region.region_name or None,
        interfaces=tuple(name.removesuffix("URL") for name in names),
        block_storage_url=region.get_endpoint("block-storage") or region.get_endpoint("evs"),
        image_url=region.get_endpoint("image") or region.get_endpoint("ims"),
    )
