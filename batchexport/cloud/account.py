"""The account that a target means, as openstacksdk finds it: clouds.yaml, `OS_…`, and what was said to us."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from batchexport.cloud.access_keys import find_access_key, project_of, service_entries
from batchexport.cloud.aksk import AccessKey
from batchexport.cloud.authorizer import Authorizer
from batchexport.cloud.catalog import Wishes, with_dialect
from batchexport.cloud.clouds_yaml import misshapen, slip
from batchexport.cloud.direct import sign_in_directly
from batchexport.cloud.envelopes import fold
from batchexport.cloud.environment import PlainAccount, plain_account
from batchexport.cloud.identity import Identity
from batchexport.cloud.sign_ins import SignIns
from batchexport.cloud.signatures import Signatures
from batchexport.cloud.signin import sign_in
from batchexport.cloud.transport import Trust
from batchexport.config.settings import CloudSettings
from batchexport.dialect import DialectName
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


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """As whom to ask, and what the configuration says of the way to the services."""

    authorizer: Authorizer
    #: Whether nobody has looked at the credentials before the first request: it should go alone.
    unproven: bool
    wishes: Wishes
    trust: Trust
    cloud: str | None = None  #: its name in clouds.yaml; None = the variables tell of it
    identity_url: str | None = None  #: where it signs in; None = it signs requests, and nobody said


def load_account(key: TargetKey, access: CloudSettings, sign_ins: SignIns | None = None) -> Account:
    """The account that a target means. Blocks to read files; asks no server.

    Targets with the same `sign_ins` share the tokens of an account; None = those of this target alone.

    Raises ConfigError where the cloud is not known or a value for its way of signing in is missing.
    """
    plain_one = plain_account(key, access, os.environ, home=Path.home(), folder=Path.cwd())
    if plain_one is not None and find_access_key({}, os.environ) is None:
        return replace(_plain(plain_one, access, sign_ins or SignIns()), identity_url=plain_one.auth_url)
    import openstack.config.loader
    from keystoneauth1 import exceptions as refused
    from openstack import exceptions as sdk

    cloud = key.cloud or access.cloud or os.environ.get("OS_CLOUD")
    known: list[str] = []
    try:
        loader = openstack.config.OpenStackConfig()
        known = sorted(map(str, loader.get_cloud_names()))
        options = _options(key, access)
        # Not validated: what an access key needs is not what openstacksdk knows to ask for.
        plain = loader.get_one(cloud=cloud, validate=False, **options)
        access_key = find_access_key(plain.config, os.environ)
        if access_key is None:
            project = _project_options(key.project, auth_type=str(plain.config.get("auth_type")))
            region = loader.get_one(cloud=cloud, **options | project)
    except (sdk.SDKException, refused.ClientException, OSError, ValueError, LookupError) as error:
        raise slip(openstack.config.loader.CONFIG_FILES) or _bad_configuration(error, cloud, known) from error
    except (TypeError, AttributeError) as error:  # openstacksdk takes it for granted what is a mapping
        raise misshapen(cloud) from error
    auth_url = (plain.config.get("auth") or {}).get("auth_url") or None
    if access_key is not None:
        account = _signing_account(access_key, plain, key, access)
    else:
        account = _account(region, key, access, sign_ins or SignIns())
    return replace(account, cloud=cloud, identity_url=auth_url)


def _options(key: TargetKey, access: CloudSettings) -> dict[str, object]:
    """The arguments for openstacksdk's loader: the row of the list wins over flags, and both over files."""
    options: dict[str, object] = {
        name: value for name, value in access.options.items() if _BESIDE_AUTH.fullmatch(name)
    }
    options["auth"] = {name: value for name, value in access.options.items() if name not in options}
    if key.region:
        options["region_name"] = key.region
    return options


def _project_options(project: str | None, *, auth_type: str) -> dict[str, str]:
    """The project as name or id, and nothing for the other ways to name one, which would contradict it."""
    # Application credentials are made for one project and refuse to name another; the answer to the sign-in
    # tells if it is the right one.
    if not project or "applicationcredential" in auth_type:
        return {}
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


def _plain(plain: PlainAccount, access: CloudSettings, sign_ins: SignIns) -> Account:
    trust, identity = Trust.of(plain.cacert or True, None), Identity.of(plain.proof)
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
        ),
        unproven=False,
        wishes=with_dialect(_wishes(region), access.dialect),
        trust=trust,
    )


def _signing_account(access_key: AccessKey, region: Any, key: TargetKey, access: CloudSettings) -> Account:
    wishes = with_dialect(replace(_wishes(region), dialect=DialectName.EVS), access.dialect)
    if not wishes.region:  # openstacksdk heeds this variable only beside others of its own
        wishes = replace(wishes, region=os.environ.get("OS_REGION_NAME"))
    auth_url = region.config.get("auth", {}).get("auth_url")
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
    interface = region.get_interface("block-storage") or "public"
    names = [interface] if isinstance(interface, str) else [name for name in interface if name]
    evs_url = region.get_endpoint("evs")
    return Wishes(
        region=region.region_name or None,
        interfaces=tuple(name.removesuffix("URL") for name in names),
        block_storage_url=region.get_endpoint("block-storage") or evs_url,
        image_url=region.get_endpoint("image") or region.get_endpoint("ims"),
        compute_url=region.get_endpoint("compute") or region.get_endpoint("ecs"),
        dialect=DialectName.EVS if evs_url else None,
    )
