"""Sign in by every setting of the table, with the `openstack` client's own code and with ours; tell of both.

Run in the empty folder of its argument; prints one JSON object. A process of its own, for openstacksdk notes
the current folder and the home when it is imported.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from openstackclient.common import clientmanager
from openstackclient.shell import DEFAULT_DOMAIN, OpenStackShell
from osc_lib.api import auth
from osc_lib.cli.client_config import OSC_Config

from batchexport.cloud.auth.client_config import ClientConfig
from batchexport.cloud.auth.tokens import Token
from batchexport.cloud.catalog import find_block_storage, find_compute, find_image_service
from batchexport.cloud.connection import load_account
from batchexport.cloud.http.transport import TlsConfig
from batchexport.config.settings import CloudSettings
from batchexport.model import TargetKey
from tests.cloud.settings_table import PASSWORD, PROJECT_ID, SETTINGS, Setting

SERVICES = {
    "block-storage": [
        ("volumev3", "cinder"),
        ("volumev3", "cinder-two"),
        ("volumev2", "cinder-v2"),
        ("my-volumes", "x"),
    ],
    "image": [("image", "glance"), ("image", "glance-two"), ("my-images", "x")],
    "compute": [("compute", "nova")],
}


class Keystone(BaseHTTPRequestHandler):
    """Lets in who says the password, and remembers what it was asked for a token."""

    asked: list[object] = []  # noqa: RUF012 - shared by all requests on purpose
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """The version that there is."""
        link = {"rel": "self", "href": f"http://{self.headers['Host']}{self.path.rstrip('/')}/"}
        one = {"id": "v3.14", "status": "stable", "links": [link], "media-types": []}
        if self.path.rstrip("/").endswith("v3"):
            self._answer(200, {"version": one})
        else:
            one["links"] = [
                {"rel": "self", "href": f"http://{self.headers['Host']}{self.path.rstrip('/')}/v3/"}
            ]
            self._answer(300, {"versions": {"values": [one]}})

    def do_POST(self) -> None:
        """A token."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append([self.path, body])
        if PASSWORD not in json.dumps(body) and "12345678" not in json.dumps(body):
            self._answer(401, {"error": {"code": 401, "message": "no", "title": "Unauthorized"}})
            return
        issued = datetime.now(UTC)
        about = {
            "methods": ["password"],
            "user": {"id": "u", "name": "demo", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": PROJECT_ID, "name": "demo", "domain": {"id": "default", "name": "Default"}},
            "issued_at": issued.isoformat(),
            "expires_at": (issued + timedelta(hours=1)).isoformat(),
            "catalog": _catalog(f"http://{self.headers['Host']}"),
        }
        self._answer(201, {"token": about}, {"X-Subject-Token": "tok"})

    def _answer(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        more = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        for name, text in more.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)


def _catalog(url: str) -> list[dict[str, object]]:
    return [
        {
            "type": kind,
            "name": name,
            "id": f"{kind}-{name}",
            "endpoints": [
                {
                    "id": f"{kind}-{name}-{region}-{interface}",
                    "interface": interface,
                    "region": region,
                    "region_id": region,
                    "url": f"{url}/{region}/{interface}/{kind}/{name}",
                }
                for region in ("R1", "R2")
                for interface in ("public", "internal", "admin")
            ],
        }
        for services in SERVICES.values()
        for kind, name in services
    ]


def theirs(setting: Setting) -> dict[str, object]:
    """What the `openstack` client makes of it, by the steps of its shell."""
    shell = OpenStackShell.__new__(OpenStackShell)
    parser = argparse.ArgumentParser(add_help=False)
    parser = clientmanager.build_plugin_option_parser(_general_options(parser))
    parser = auth.build_auth_plugins_option_parser(parser)
    options = parser.parse_args(_argv(setting.flags))
    shell.options = options
    shell._final_defaults()
    config = OSC_Config(
        pw_func=_no_prompt, override_defaults={"interface": "public", "auth_type": shell._auth_type}
    )
    config.get_one(cloud=options.cloud, argparse=options, validate=False)
    region = config.get_one(cloud=options.cloud, argparse=options, validate=True)
    manager = clientmanager.ClientManager(cli_options=region, api_version={}, pw_func=_no_prompt)
    manager._auth_required = True
    manager.setup_auth()
    assert manager.auth_ref is not None
    verify, certificate = manager.verify, manager.cert
    return {
        "trust": repr(TlsConfig.of(verify, certificate)),
        **{service: _their_endpoint(region, service) for service in SERVICES},
    }


def _general_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """As osc_lib.shell declares them; the shell itself would build a whole command line around them."""
    env = os.environ.get
    for name in ("cloud", "region-name", "cacert", "cert", "key", "interface"):
        variable = f"OS_{name.upper().replace('-', '_')}"
        parser.add_argument(f"--os-{name}", dest=name.replace("-", "_"), default=env(variable) or "")
    parser.add_argument("--insecure", action="store_true", default=None)
    parser.add_argument(
        "--os-default-domain", dest="default_domain", default=env("OS_DEFAULT_DOMAIN") or DEFAULT_DOMAIN
    )
    return parser


def _their_endpoint(region: Any, service: str) -> str | None:
    try:
        found = region.get_session_client(service).get_endpoint(skip_discovery=True)
    except Exception:
        return None
    return None if found is None else str(found)


def _no_prompt(*_: object) -> str:
    raise RuntimeError("asks for a password")


def _argv(flags: Mapping[str, str]) -> list[str]:
    argv = []
    for name, text in flags.items():
        argv += ["--insecure"] if name == "insecure" else [f"--os-{name.replace('_', '-')}", text]
    return argv


def ours(setting: Setting) -> dict[str, object]:
    """What we make of it."""
    options = {name: text for name, text in setting.flags.items() if name != "cloud"}
    account = load_account(TargetKey(), CloudSettings(cloud=setting.flags.get("cloud"), options=options))

    async def sign_in() -> Any:
        return await account.authenticator.valid()

    held = asyncio.run(sign_in())
    assert isinstance(held, Token)
    dialect = find_block_storage(held.catalog, _by_hand(account.preferences), project_id=None)[1]
    return {
        "trust": repr(account.tls),
        "block-storage": _our_endpoint(
            lambda: find_block_storage(held.catalog, account.preferences, project_id=None)[0]
        ),
        "image": _our_endpoint(lambda: find_image_service(held.catalog, account.preferences)),
        "compute": _our_endpoint(
            lambda: find_compute(held.catalog, account.preferences, dialect, project_id=None).nova
        ),
    }


def _by_hand(preferences: Any) -> Any:
    from msgspec.structs import replace

    return replace(preferences, block_storage_url="http://anywhere/v3")


def _our_endpoint(find: Callable[[], Any]) -> str | None:
    try:
        url: str = find().url
    except Exception:
        return None
    return url.rsplit("/v", 1)[0]


def prepared(setting: Setting, folder: Path, url: str) -> Setting:
    """The setting with its files in place and its variables set."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "elsewhere").mkdir()
    filled = json.loads(_filled(json.dumps([setting.files, setting.env, setting.flags]), folder, url))
    files, env, flags = filled
    for name, content in files.items():
        as_json = name.endswith(".json")
        text = (
            content
            if isinstance(content, str)
            else json.dumps(content)
            if as_json
            else yaml.safe_dump(content)
        )
        (folder / name).write_text(text)
    for name in [name for name in os.environ if name.startswith("OS_")]:
        del os.environ[name]
    os.environ.update(env)
    return Setting(files, env, flags)


def _filled(text: str, folder: Path, url: str) -> str:
    return (
        text.replace("{url}", url)
        .replace("{elsewhere}", f"{folder}/elsewhere")
        .replace("{folder}", str(folder))
    )


def outcome(client: Callable[[Setting], dict[str, object]], setting: Setting) -> dict[str, object]:
    """What came of it: what was asked for a token, and then what was chosen, or the error."""
    Keystone.asked.clear()
    try:
        found = client(setting)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    except SystemExit:
        found = {"error": "usage"}
    # The client asks twice for some kinds of token: what matters is what it asks.
    asked = [each for place, each in enumerate(Keystone.asked) if each not in Keystone.asked[:place]]
    return {"asked": asked, **found}


def main() -> None:
    """All settings by both."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Keystone)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    assert ClientConfig.__mro__  # loaded before the first setting
    results = {}
    for name, setting in SETTINGS.items():
        ready = prepared(setting, folder, url)
        results[name] = {"theirs": outcome(theirs, ready), "ours": outcome(ours, ready)}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
