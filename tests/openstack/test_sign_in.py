"""Ways to sign in, at a real Keystone: each may list volumes and images, which is what `doctor` looks at."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def signed_in(
    cloud: Any, batchexport: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Run `doctor` as an entry of a clouds.yaml of its own, and return what it said."""
    config = cloud.config

    def doctor(auth_type: Any, auth: dict[str, str]) -> Any:
        entry = {"auth_type": auth_type, "auth": {"auth_url": config.auth["auth_url"], **auth}}
        if config.region_name:
            entry["region_name"] = config.region_name
        path = tmp_path / "other.yaml"
        path.write_text(yaml.safe_dump({"clouds": {"other": entry}}))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
        monkeypatch.setenv("OS_CLOUD", "other")
        return batchexport("doctor").stdout

    return doctor


def project_of(cloud: Any) -> Any:
    return {"project_id": cloud.current_project_id}


def test_application_credential(cloud: Any, signed_in: Any) -> None:
    made = cloud.identity.create_application_credential(
        user=cloud.current_user_id, name=f"batchexport-test-{uuid.uuid4().hex[:8]}"
    )
    try:
        secret = {"application_credential_id": made.id, "application_credential_secret": made.secret}
        assert "ok" in signed_in("v3applicationcredential", secret)
    finally:
        cloud.identity.delete_application_credential(cloud.current_user_id, made)


def test_token(cloud: Any, signed_in: Any) -> None:
    assert "ok" in signed_in("v3token", {"token": cloud.auth_token, **project_of(cloud)})


def test_trust(cloud: Any, signed_in: Any) -> None:
    auth = cloud.config.auth
    roles = [{"name": name} for name in cloud.session.auth.get_access(cloud.session).role_names]
    made = cloud.identity.create_trust(
        trustor_user_id=cloud.current_user_id,
        trustee_user_id=cloud.current_user_id,
        project_id=cloud.current_project_id,
        impersonation=True,
        roles=roles,
    )
    try:
        words = {"user_id": cloud.current_user_id, "password": auth["password"], "trust_id": made.id}
        assert "ok" in signed_in("v3password", words)
    finally:
        cloud.identity.delete_trust(made)
