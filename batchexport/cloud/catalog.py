"""The service catalog: choosing the endpoints of one project in one region. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from batchexport.dialect import DIALECTS, Dialect, DialectName
from batchexport.errors import ConfigError

#: Service types of block storage, best first: the official one, those of Cinder, older ones, Huawei's own.
BLOCK_STORAGE_TYPES = ("block-storage", "volumev3", "volumev2", "volume", "block-store", "evs")
IMAGE_TYPES = ("image", "ims")
COMPUTE_TYPES = ("compute", "ecs")

_VERSION = re.compile(r"v\d+(\.\d+)?")
#: A project id, or a placeholder for one in endpoints set by hand.
_PROJECT = re.compile(r"[0-9a-f]{32}|[$%]?[({](project|tenant)_id[)}]s?")
#: The service in the host name, or, behind a proxy, at the beginning of the path.
_EVS_ADDRESS = re.compile(r"https?://(evs[.-]|[^/]+/evs(/|$))")
_ECS_ADDRESS = re.compile(r"https?://(ecs[.-]|[^/]+/ecs(/|$))")
_EVERYWHERE = (None, "", "*")


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as the catalog lists it."""

    service_type: str
    interface: str
    region: str | None
    url: str
    service_name: str | None = None  #: None = it has none


class ServicePreferences(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about one service. None and empty = the same as for all services."""

    region: str | None = None
    interfaces: tuple[str, ...] = ()  #: best first
    service_type: str | None = None
    service_name: str | None = None


class EndpointPreferences(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about services and their endpoints."""

    region: str | None = None  #: None = the only region there is
    interfaces: tuple[str, ...] = ("public",)  #: best first
    block_storage: ServicePreferences = ServicePreferences()
    image: ServicePreferences = ServicePreferences()
    compute: ServicePreferences = ServicePreferences()
    block_storage_url: str | None = None  #: instead of the catalog
    image_url: str | None = None  #: instead of the catalog
    compute_url: str | None = None  #: instead of the catalog
    dialect: DialectName | None = None  #: None = by the catalog


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every URL of one service, without a slash at the end."""

    url: str
    version: str
    region: str | None = None  #: by the catalog; None = it has none, or the URL was configured


class ComputeEndpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints of the compute service: Nova's API, and, on ECS, its own for batches."""

    nova: Endpoint
    ecs: Endpoint | None  #: None = not ECS


def find_block_storage(
    catalog: Sequence[CatalogEntry], preferences: EndpointPreferences, *, project_id: str | None
) -> tuple[Endpoint, Dialect]:
    """The endpoint of block storage, with the project id in it, and its dialect.

    Raises ConfigError if the catalog has no such service in the region.
    """
    if preferences.block_storage_url:
        entries = [_by_hand("block-storage", preferences.block_storage_url)]
    else:
        entries = _matching(
            catalog,
            preferences,
            preferences.block_storage,
            types=BLOCK_STORAGE_TYPES,
            service="block storage",
        )
    dialect = DIALECTS[preferences.dialect or _dialect_of(entries)]
    entry = min(entries, key=lambda entry: _rank(entry, dialect))
    root, version = _split(entry.url)
    if version not in dialect.api_versions:
        version = _implied_version(entry.service_type, dialect)
    # With the project id the path works on every version; without it only from microversion 3.67.
    parts = [root, version, project_id] if project_id else [root, version]
    region = (
        preferences.block_storage.region
        or preferences.region
        or (None if entry.region in _EVERYWHERE else entry.region)
    )
    return Endpoint(url="/".join(parts), version=version, region=region), dialect


def find_image_service(catalog: Sequence[CatalogEntry], preferences: EndpointPreferences) -> Endpoint:
    """The endpoint of the image service, version 2. Raises ConfigError if the catalog has none."""
    if preferences.image_url:
        entries = [_by_hand("image", preferences.image_url)]
    else:
        entries = _matching(
            catalog, preferences, preferences.image, types=IMAGE_TYPES, service="image service"
        )
    root, _ = _split(entries[0].url)
    return Endpoint(url=f"{root}/v2", version="v2")


def find_compute(
    catalog: Sequence[CatalogEntry],
    preferences: EndpointPreferences,
    dialect: Dialect,
    *,
    project_id: str | None,
) -> ComputeEndpoints:
    """The endpoints of the compute service. Raises ConfigError if the catalog has none."""
    if preferences.compute_url:
        entry = _by_hand("compute", preferences.compute_url)
    else:
        entry = _matching(
            catalog, preferences, preferences.compute, types=COMPUTE_TYPES, service="compute service"
        )[0]
    root, _ = _split(entry.url)
    project = [project_id] if project_id else []
    nova = Endpoint(url="/".join([root, "v2.1", *project]), version="v2.1")
    is_ecs = dialect.name is DialectName.EVS or entry.service_type == "ecs" or _ECS_ADDRESS.match(entry.url)
    ecs = Endpoint(url="/".join([root, "v1", *project]), version="v1") if is_ecs else None
    return ComputeEndpoints(nova=nova, ecs=ecs)


def _by_hand(service_type: str, url: str) -> CatalogEntry:
    return CatalogEntry(service_type=service_type, interface="public", region=None, url=url)


def _matching(
    catalog: Sequence[CatalogEntry],
    preferences: EndpointPreferences,
    choice: ServicePreferences,
    *,
    types: Sequence[str],
    service: str,
) -> list[CatalogEntry]:
    """The entries of these types, region and interface, in the order of the types; at least one."""
    interfaces, region = choice.interfaces or preferences.interfaces, choice.region or preferences.region
    of_type = [entry for kind in _types(choice, types) for entry in catalog if _is_of(entry, kind, choice)]
    for interface in interfaces:
        found = [entry for entry in of_type if entry.interface.removesuffix("URL") == interface]
        found = _in_region(found, region, service)
        if found and choice.service_type:
            return [entry for entry in found if entry.service_type == found[0].service_type]
        if found:
            return found
    where = f" in region {region}" if region else ""
    named = f" called {choice.service_name}" if choice.service_name else ""
    raise ConfigError(
        f"the catalog has no {service}{named}{where}, interface {' or '.join(interfaces)};"
        f" it has {_contents(catalog)}",
        hint="check region and interface, or set the endpoint"
        f" ({types[0].replace('-', '_')}_endpoint_override in clouds.yaml)",
    )


def _types(choice: ServicePreferences, types: Sequence[str]) -> list[str]:
    """The service types to look for, best first: a configured one comes before its other names."""
    if choice.service_type is None:
        return list(types)
    others = types if choice.service_type in types else ()
    return [choice.service_type, *(kind for kind in others if kind != choice.service_type)]


def _is_of(entry: CatalogEntry, kind: str, choice: ServicePreferences) -> bool:
    """Whether the entry is of this type, and of the configured name if it has a name."""
    is_named = not (choice.service_name and entry.service_name) or entry.service_name == choice.service_name
    return entry.service_type == kind and bool(entry.url) and is_named


def _in_region(entries: list[CatalogEntry], region: str | None, service: str) -> list[CatalogEntry]:
    """The entries of the region; if none is configured and there are several, raises ConfigError."""
    if region:
        exact = [entry for entry in entries if entry.region == region]
        return exact or [entry for entry in entries if entry.region in _EVERYWHERE]
    regions = sorted({entry.region for entry in entries if entry.region})
    if len(regions) > 1:
        raise ConfigError(
            f"the {service} is in several regions: {', '.join(regions)}",
            hint="choose one: region_name in clouds.yaml, OS_REGION_NAME, or region in the job list",
        )
    return entries


def _contents(catalog: Iterable[CatalogEntry]) -> str:
    found = sorted({f"{entry.service_type} ({entry.region or 'no region'})" for entry in catalog})
    return ", ".join(found) or "nothing"


def _dialect_of(entries: Iterable[CatalogEntry]) -> DialectName:
    evs = any(entry.service_type == "evs" or _EVS_ADDRESS.match(entry.url) for entry in entries)
    return DialectName.EVS if evs else DialectName.CINDER


def _rank(entry: CatalogEntry, dialect: Dialect) -> tuple[int, int]:
    """Smaller is better: first by API version, then by service type."""
    _, version = _split(entry.url)
    if not version:
        version = _implied_version(entry.service_type, dialect)
    order, types = dialect.api_versions, BLOCK_STORAGE_TYPES
    return (
        order.index(version) if version in order else len(order),
        types.index(entry.service_type) if entry.service_type in types else len(types),
    )


def _implied_version(service_type: str, dialect: Dialect) -> str:
    named = service_type.removeprefix("volume")
    return named if named in dialect.api_versions else dialect.api_versions[0]


def _split(url: str) -> tuple[str, str]:
    """A URL without project id and version, and the version, which may be empty."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"endpoint {url!r} is not a URL that starts with http:// or https://")
    scheme, _, rest = url.partition("?")[0].rstrip("/").partition("://")
    host, *path = rest.split("/")
    versions = [place for place, part in enumerate(path) if _VERSION.fullmatch(part)]
    if versions:  # what follows the version is a project id
        return "/".join([f"{scheme}://{host}", *path[: versions[-1]]]), path[versions[-1]].partition(".")[0]
    if path and _PROJECT.fullmatch(path[-1]):
        path.pop()
    return "/".join([f"{scheme}://{host}", *path]), ""


def with_dialect(preferences: EndpointPreferences, name: str | None) -> EndpointPreferences:
    """The preferences with this dialect, None = unchanged. Raises ConfigError for an unknown name."""
    if name is None:
        return preferences
    try:
        return replace(preferences, dialect=DialectName(name))
    except ValueError as error:
        raise ConfigError(f"unknown dialect {name!r}; known: {', '.join(DialectName)}") from error
