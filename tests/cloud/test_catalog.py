from __future__ import annotations

import pytest

from batchexport.cloud.catalog import (
    CatalogEntry,
    EndpointPreferences,
    find_block_storage,
    find_compute,
    find_image_service,
    with_dialect,
)
from batchexport.dialect import CINDER, EVS, Dialect, DialectName
from batchexport.errors import ConfigError

PID = "c344706a7e90438994fbf96c2c9627bd"


def entry(
    service_type: str, url: str, *, region: str | None = "R1", interface: str = "public"
) -> CatalogEntry:
    return CatalogEntry(service_type=service_type, interface=interface, region=region, url=url)


def block_url(
    *entries: CatalogEntry, preferences: EndpointPreferences | None = None, project_id: str | None = PID
) -> str:
    endpoint, _ = find_block_storage(
        entries, preferences or EndpointPreferences(region="R1"), project_id=project_id
    )
    return endpoint.url


FORMS = [
    ("block-storage", f"https://h:8776/v3/{PID}", f"https://h:8776/v3/{PID}"),
    ("block-storage", "https://h:8776/v3/", f"https://h:8776/v3/{PID}"),
    ("block-storage", "https://h/volume", f"https://h/volume/v3/{PID}"),
    ("volumev3", f"https://h/volume/v3/{PID}/", f"https://h/volume/v3/{PID}"),
    ("volumev3", "https://h", f"https://h/v3/{PID}"),
    ("volumev2", f"https://h/v2/{PID}", f"https://h/v2/{PID}"),
    ("volumev2", "https://h", f"https://h/v2/{PID}"),
    ("volume", f"https://h/v1/{PID}", f"https://h/v3/{PID}"),
    ("volumev3", "https://h/v3/%(project_id)s", f"https://h/v3/{PID}"),
    ("volumev3", "https://h/$(tenant_id)s", f"https://h/v3/{PID}"),
    ("volumev3", "https://h/v3.0/of-another-project", f"https://h/v3/{PID}"),
    ("volumev3", f"https://h/{PID}", f"https://h/v3/{PID}"),
]


@pytest.mark.parametrize(("service_type", "listed", "used"), FORMS)
def test_every_form_of_a_block_storage_endpoint_gives_the_same(
    service_type: str, listed: str, used: str
) -> None:
    assert block_url(entry(service_type, listed)) == used


def test_without_a_project_the_endpoint_ends_with_the_version() -> None:
    assert block_url(entry("volumev3", "https://h/v3"), project_id=None) == "https://h/v3"


def test_cinder_v3_is_preferred_to_v2_whatever_the_order() -> None:
    assert "/v3/" in block_url(entry("volumev2", "https://h/v2"), entry("volumev3", "https://h/v3"))


def test_an_unversioned_official_endpoint_is_preferred_to_v2() -> None:
    url = block_url(entry("volumev2", "https://old/v2"), entry("block-storage", "https://new"))
    assert url == f"https://new/v3/{PID}"


def test_evs_v2_is_preferred_to_v3() -> None:
    evs = "https://evs.eu-de.otc.example"
    assert block_url(entry("volumev3", f"{evs}/v3/x"), entry("volumev2", f"{evs}/v2/x")) == f"{evs}/v2/{PID}"


@pytest.mark.parametrize(
    ("service_type", "url", "dialect"),
    [
        ("volumev2", "https://evs.eu-de.otc.example/v2/x", DialectName.EVS),
        ("volumev2", "https://evs-pub.eu-ch2.otc.example/v2/x", DialectName.EVS),
        ("volumev2", "http://proxy.example:8080/evs/v2/x", DialectName.EVS),
        ("volumev2", "http://proxy.example/evs", DialectName.EVS),
        ("evs", "https://storage.example", DialectName.EVS),
        ("volumev3", "https://evsomething.example/v3", DialectName.CINDER),
        ("volumev3", "https://cinder.example/evsx/v3", DialectName.CINDER),
        ("volumev3", "https://cinder.example/evs.x/v3", DialectName.CINDER),
    ],
)
def test_the_dialect_is_told_by_the_type_or_the_host(
    service_type: str, url: str, dialect: DialectName
) -> None:
    _, found = find_block_storage([entry(service_type, url)], EndpointPreferences(), project_id=PID)
    assert found.name is dialect


def test_the_settings_override_the_dialect() -> None:
    preferences = with_dialect(EndpointPreferences(), "evs")
    endpoint, dialect = find_block_storage([entry("volumev3", "https://h/v3")], preferences, project_id=PID)
    assert (endpoint.version, dialect.name) == ("v3", DialectName.EVS)


def test_no_dialect_in_the_settings_changes_nothing() -> None:
    assert with_dialect(EndpointPreferences(region="x"), None) == EndpointPreferences(region="x")


def test_an_unknown_dialect_is_answered_with_those_known() -> None:
    with pytest.raises(ConfigError, match="unknown dialect 'ceph'; known: evs, cinder"):
        with_dialect(EndpointPreferences(), "ceph")


def test_region_and_interface_choose_among_endpoints() -> None:
    entries = (
        entry("volumev3", "https://a/v3", region="R1"),
        entry("volumev3", "https://b/v3", region="R2"),
        entry("volumev3", "https://c/v3", region="R2", interface="internalURL"),
    )
    assert block_url(*entries, preferences=EndpointPreferences(region="R2")) == f"https://b/v3/{PID}"
    inside = EndpointPreferences(region="R2", interfaces=("internal", "public"))
    assert block_url(*entries, preferences=inside) == f"https://c/v3/{PID}"


def test_the_next_interface_is_used_where_the_first_has_none() -> None:
    preferences = EndpointPreferences(interfaces=("internal", "public"))
    assert block_url(entry("volumev3", "https://a/v3"), preferences=preferences) == f"https://a/v3/{PID}"


def test_the_only_region_need_not_be_named() -> None:
    assert (
        block_url(entry("volumev3", "https://a/v3"), preferences=EndpointPreferences())
        == f"https://a/v3/{PID}"
    )


def test_an_endpoint_for_all_regions_serves_any() -> None:
    assert block_url(
        entry("volumev3", "https://a/v3", region="*"), preferences=EndpointPreferences(region="R9")
    )


def test_several_regions_and_none_named_is_an_error_that_lists_them() -> None:
    entries = [entry("volumev3", "https://a", region="R1"), entry("volumev3", "https://b", region="R2")]
    with pytest.raises(ConfigError, match="several regions: R1, R2"):
        find_block_storage(entries, EndpointPreferences(), project_id=PID)


def test_a_missing_service_is_an_error_that_lists_what_there_is() -> None:
    catalog = [entry("identity", "https://k"), entry("volumev3", "https://h", region="R7")]
    with pytest.raises(ConfigError, match=r"no block storage in region R1.*identity \(R1\), volumev3 \(R7\)"):
        find_block_storage(catalog, EndpointPreferences(region="R1"), project_id=PID)


def test_an_empty_catalog_has_nothing() -> None:
    with pytest.raises(ConfigError, match="no image service, interface public; it has nothing"):
        find_image_service([], EndpointPreferences())


def test_an_endpoint_set_by_hand_replaces_the_catalog() -> None:
    preferences = EndpointPreferences(
        region="R1", block_storage_url="http://127.0.0.1:8776/v2", image_url="http://127.0.0.1/image"
    )
    assert block_url(preferences=preferences) == f"http://127.0.0.1:8776/v2/{PID}"
    assert find_image_service([], preferences).url == "http://127.0.0.1/image/v2"


@pytest.mark.parametrize(
    "listed", ["https://h", "https://h/", "https://h/v2", "https://h/v2/", "https://h/v1", "https://h/v2.0"]
)
def test_the_image_endpoint_always_ends_with_v2(listed: str) -> None:
    assert find_image_service([entry("image", listed)], EndpointPreferences()).url == "https://h/v2"


def test_an_endpoint_that_is_no_url_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'cinder:8776' is not a URL"):
        block_url(entry("volumev3", "cinder:8776"))


COMPUTE_FORMS = [
    ("compute", "https://h:8774/v2.1", "https://h:8774/v2.1/PID"),
    ("compute", f"https://h/compute/v2.1/{PID}", "https://h/compute/v2.1/PID"),
    ("compute", "https://h/compute/v2/%(tenant_id)s", "https://h/compute/v2.1/PID"),
    ("compute", "https://h/compute/", "https://h/compute/v2.1/PID"),
]


@pytest.mark.parametrize(("service_type", "listed", "used"), COMPUTE_FORMS)
def test_every_form_of_a_nova_endpoint_gives_the_same(service_type: str, listed: str, used: str) -> None:
    found = find_compute([entry(service_type, listed)], EndpointPreferences(), CINDER, project_id=PID)
    assert (found.nova.url, found.ecs) == (used.replace("PID", PID), None)
    assert found.ecs is None


@pytest.mark.parametrize(
    ("service_type", "listed", "dialect"),
    [
        ("compute", f"https://ecs.eu-de.otc.example/v2.1/{PID}", CINDER),
        ("compute", f"https://nova.example/v2.1/{PID}", EVS),
        ("ecs", f"https://servers.example/v1/{PID}", CINDER),
        ("ecs", "http://proxy.example/ecs/v1.1", CINDER),
    ],
)
def test_ecs_is_told_by_the_dialect_the_type_or_the_host(
    service_type: str, listed: str, dialect: Dialect
) -> None:
    found = find_compute([entry(service_type, listed)], EndpointPreferences(), dialect, project_id=PID)
    assert found.ecs is not None
    root, _, _ = listed.partition("/v")
    assert found.ecs is not None
    assert [found.nova.url, found.ecs.url] == [f"{root}/v2.1/{PID}", f"{root}/v1/{PID}"]


def test_a_compute_endpoint_set_by_hand_replaces_the_catalog() -> None:
    found = find_compute(
        [], EndpointPreferences(compute_url="http://127.0.0.1:8774"), CINDER, project_id=None
    )
    assert found.nova.url == "http://127.0.0.1:8774/v2.1"


def test_a_catalog_without_a_compute_service_is_told_with_what_to_set() -> None:
    with pytest.raises(ConfigError, match="no compute service in region R1") as caught:
        find_compute(
            [entry("volumev3", "https://h")], EndpointPreferences(region="R1"), CINDER, project_id=PID
        )
    assert "compute_endpoint_override" in str(caught.value.hint)
