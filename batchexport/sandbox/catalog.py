"""The catalog of services that comes with every token."""

from __future__ import annotations

import uuid

from batchexport.sandbox import settings as account
from batchexport.sandbox.settings import Profile


def catalog(url: str, profile: Profile) -> list[dict[str, object]]:
    """The services and where they are; `url` is the root of all of them."""
    urls = _evs_urls(url) if profile is Profile.EVS else _openstack_urls(url)
    return [
        {"id": stable_id(type_), "type": type_, "name": name, "endpoints": _endpoints(type_, service_url)}
        for (type_, name), service_url in urls.items()
    ]


def _evs_urls(url: str) -> dict[tuple[str, str], str]:
    return {
        ("identity", "iam"): f"{url}/identity/v3",
        ("image", "ims"): f"{url}/ims",
        ("volumev2", "evs"): f"{url}/evs/v2/{account.PROJECT_ID}",
        ("compute", "nova"): f"{url}/ecs/v2.1/{account.PROJECT_ID}",
        ("ecs", "ecs"): f"{url}/ecs/v1/{account.PROJECT_ID}",
    }


def _openstack_urls(url: str) -> dict[tuple[str, str], str]:
    volume = f"{url}/volume"
    return {
        ("identity", "keystone"): f"{url}/identity/v3",
        ("image", "glance"): f"{url}/image",
        ("volumev2", "cinderv2"): f"{volume}/v2/{account.PROJECT_ID}",
        ("volumev3", "cinderv3"): f"{volume}/v3/{account.PROJECT_ID}",
        ("block-storage", "cinder"): f"{volume}/v3/{account.PROJECT_ID}",
        ("compute", "nova"): f"{url}/compute/v2.1",
    }


def _endpoints(type_: str, url: str) -> list[dict[str, str]]:
    return [
        {
            "id": stable_id(type_, interface),
            "interface": interface,
            "region_id": account.REGION,
            "region": account.REGION,
            "url": url,
        }
        for interface in ("public", "internal", "admin")
    ]


def stable_id(*what: str) -> str:
    """An id in Keystone's spelling that is always the same for the same thing."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(what)).hex
