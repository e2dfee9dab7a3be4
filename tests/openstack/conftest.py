"""A real OpenStack, named by OS_CLOUD; without one these tests are skipped with the reason."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COUNT = 50
GIB = 1
#: How the harness boots where its settings are not set.
DEFAULTS = {"STACK_FORCE_UPLOAD": "false", "STACK_BLOCK_URL": "project"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
            item.add_marker(pytest.mark.openstack)
            item.add_marker(pytest.mark.timeout(900))
            # Ours runs in a process of its own here; the warnings are openstacksdk's about itself.
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def cloud() -> Iterator[Any]:
    """A connection of openstacksdk to the cloud under test."""
    name = os.environ.get("OS_CLOUD")
    if not name:
        pytest.skip("no OpenStack to test against: set OS_CLOUD to an entry of your clouds.yaml")
    import openstack

    connection = openstack.connect(cloud=name)
    try:
        connection.authorize()
    except Exception as error:
        pytest.skip(f"the OpenStack of OS_CLOUD={name} does not answer: {error}")
    yield connection
    connection.close()


@pytest.fixture
def volumes(cloud: Any) -> Iterator[Any]:
    """Fifty small volumes of our own, removed afterwards with every image made of them."""
    prefix = f"batchexport-test-{uuid.uuid4().hex[:8]}"
    if seed := os.environ.get("BATCHEXPORT_TEST_SEED"):
        made = _seeded(seed, prefix)
    else:
        made = [cloud.block_storage.create_volume(name=f"{prefix}-{n}", size=GIB).id for n in range(COUNT)]
        for volume_id in made:
            cloud.block_storage.wait_for_status(cloud.block_storage.get_volume(volume_id), wait=300)
    yield made
    _remove(cloud, made)


def _remove(cloud: Any, made: list[str]) -> None:
    """Volumes and every image whose name holds the id of one, once nothing is copied any more."""
    for volume_id in made:
        _wait_while_uploading(cloud, volume_id)
    for image in list(cloud.image.images()):  # whole, before its pages lose their markers
        if any(volume_id in image.name for volume_id in made):
            cloud.image.delete_image(image, ignore_missing=True)
    for volume_id in made:
        cloud.block_storage.delete_volume(volume_id, ignore_missing=True)


def _wait_while_uploading(cloud: Any, volume_id: str) -> None:
    from openstack.utils import iterate_timeout

    for _ in iterate_timeout(120, f"volume {volume_id} is still being exported", wait=0.5):
        volume = cloud.block_storage.find_volume(volume_id)
        if volume is None or volume.status != "uploading":
            return


def _seeded(seed: str, prefix: str, count: int = COUNT, *words: Any) -> Any:
    """Volume ids from the manifest of the harness's own seeding command."""
    return list(_seeded_files(seed, prefix, count, *words))


def _seeded_files(seed: str, prefix: str, count: int, *words: Any) -> dict[str, Path]:
    """Volume ids from the manifest of the harness's own seeding command, and where their bytes are."""
    command = [seed, str(count), "--prefix", prefix, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {volume["id"]: Path(volume["path"]) for volume in json.loads(done.stdout)["volumes"]}


@pytest.fixture
def troubled(cloud: Any) -> Iterator[Any]:
    """A function that makes volumes whose exports are slow (`--delay S`) or fail (`--fail TEXT`)."""
    seed = os.environ.get("BATCHEXPORT_TEST_SEED")
    if not seed:
        pytest.skip("needs a harness that can make exports slow or fail: set BATCHEXPORT_TEST_SEED")
    made = []

    def make(count: int, *words: Any) -> Any:
        ids = _seeded(seed, f"batchexport-test-{uuid.uuid4().hex[:8]}", count, *words)
        made.extend(ids)
        return ids

    yield make
    _remove(cloud, made)


@pytest.fixture(scope="session")
def compute(cloud: Any) -> Any:
    """The compute service of the cloud under test."""
    try:
        list(cloud.compute.servers(limit=1, paginated=False))
    except Exception as error:
        pytest.skip(f"no compute service to test against (the harness makes one with WITH_NOVA=1): {error}")
    return cloud.compute


@pytest.fixture
def make_server(cloud: Any, compute: Any) -> Iterator[Any]:
    """A function that makes a running server and attaches volumes to it; all are removed afterwards."""
    flavors = sorted(compute.flavors(), key=lambda flavor: flavor.ram)
    image = next(iter(cloud.image.images(name="tiny")), None)
    if not flavors or image is None:
        pytest.skip("needs a flavor and an image named tiny to make servers of")
    servers: list[Any] = []
    volumes: set[str] = set()

    def make(volume_ids: tuple[Any, ...] = ()) -> Any:
        servers.append(_running_server(compute, flavors[0].id, image.id))
        volumes.update(volume_ids)
        for volume_id in volume_ids:
            compute.create_volume_attachment(servers[-1], volume_id=volume_id)
            volume = cloud.block_storage.get_volume(volume_id)
            cloud.block_storage.wait_for_status(volume, "in-use", interval=0.5, wait=60)
        return servers[-1].id

    yield make
    for server in servers:
        compute.unlock_server(server)
        compute.delete_server(server)
    for server in servers:
        compute.wait_for_delete(server, wait=60)
    for volume_id in volumes:
        volume = cloud.block_storage.get_volume(volume_id)
        cloud.block_storage.wait_for_status(volume, "available", interval=0.5, wait=60)


def _running_server(compute: Any, flavor_id: Any, image_id: str, seconds: int = 90) -> Any:
    """A server that runs. A Nova that has just booted knows no host for the first seconds."""
    from openstack.exceptions import ResourceFailure

    end = time.monotonic() + seconds
    while True:
        name = f"batchexport-test-{uuid.uuid4().hex[:8]}"
        made = compute.create_server(name=name, flavor_id=flavor_id, image_id=image_id, networks="none")
        try:
            return compute.wait_for_server(made, interval=0.5, wait=120)
        except ResourceFailure:
            compute.delete_server(made)
            if time.monotonic() > end:
                raise


@dataclass(frozen=True)
class Held:
    """Volumes with known bytes that running servers hold."""

    files: dict[str, Path]  #: where the bytes of each are, by volume id
    servers: dict[str, list[str]]  #: volume ids by server id


@pytest.fixture(scope="module")
def held(cloud: Any, compute: Any) -> Iterator[Held]:
    """Twenty volumes on four running servers, removed after the tests of the module with their images."""
    seed = os.environ.get("BATCHEXPORT_TEST_SEED")
    image = next(iter(cloud.image.images(name="tiny")), None)
    if not seed or image is None:
        pytest.skip("needs a harness that makes volumes with known bytes: set BATCHEXPORT_TEST_SEED")
    flavor = min(compute.flavors(), key=lambda flavor: flavor.ram)
    files = _seeded_files(seed, f"batchexport-test-{uuid.uuid4().hex[:8]}", 20)
    ids, servers = list(files), []
    try:
        for number in range(4):
            servers.append(_running_server(compute, flavor.id, image.id))
            for volume_id in ids[number::4]:
                compute.create_volume_attachment(servers[-1], volume_id=volume_id)
        for volume_id in ids:
            volume = cloud.block_storage.get_volume(volume_id)
            cloud.block_storage.wait_for_status(volume, "in-use", interval=0.5, wait=120)
        yield Held(files, {server.id: ids[number::4] for number, server in enumerate(servers)})
    finally:
        for server in servers:
            compute.delete_server(server)
        for server in servers:
            compute.wait_for_delete(server, wait=60)
        for volume_id in ids:
            volume = cloud.block_storage.get_volume(volume_id)
            cloud.block_storage.wait_for_status(volume, "available", interval=0.5, wait=60)
        _remove(cloud, ids)


@pytest.fixture
def few_volumes(cloud: Any) -> Iterator[Any]:
    """A function that makes small volumes, removed afterwards with their images."""
    made = []

    def make(count: int) -> Any:
        storage = cloud.block_storage
        names = [f"batchexport-test-{uuid.uuid4().hex[:8]}" for _ in range(count)]
        ids = [storage.create_volume(name=name, size=GIB).id for name in names]
        made.extend(ids)
        for volume_id in ids:
            storage.wait_for_status(storage.get_volume(volume_id), interval=0.5, wait=120)
        return ids

    yield make
    _remove(cloud, made)


@pytest.fixture
def reconfigure(cloud: Any) -> Iterator[Any]:
    """A function that runs the cloud with other settings until the test is over."""
    command = os.environ.get("BATCHEXPORT_TEST_RECONFIGURE")
    if not command:
        pytest.skip("needs a command that boots the cloud anew with other settings")

    changed = {}

    def run(**settings: Any) -> None:
        now = DEFAULTS | dict(os.environ)
        changed.update({name: text for name, text in settings.items() if now[name] != text})
        if changed:
            subprocess.run([command], env=os.environ | changed, check=True, capture_output=True)

    yield run
    if changed:
        subprocess.run([command], check=True, capture_output=True)


@pytest.fixture
def batchexport(tmp_path: Path) -> Callable[..., Any]:
    """Run the command line as a user does; returns the finished process."""

    def run(*words: Any, check: bool = True) -> Any:
        command = [sys.executable, "-m", "batchexport", *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    assert shutil.which(sys.executable)
    return run


class AccessLog:
    """Counts the requests in the services' logs since it was made."""

    LINE = re.compile(r"^ACCESS [\d.]+ \d+ (?P<method>\w+) (?P<path>\S+) (?P<status>\d+)", re.MULTILINE)

    def __init__(self, folder: Path) -> None:
        self._files = [Path(folder) / name for name in ("cinder-api.log", "glance-api.log")]
        self._from = {file: file.stat().st_size for file in self._files}

    def requests(self) -> Iterator[Any]:
        for file in self._files:
            with file.open("rb") as log:
                log.seek(self._from[file])
                text = log.read().decode(errors="replace")
            yield from ((match["method"], match["path"]) for match in self.LINE.finditer(text))


@pytest.fixture
def access_log() -> Any:
    """The requests that reached the services, or None where their logs are not at hand."""
    folder = os.environ.get("BATCHEXPORT_TEST_LOGS")
    return AccessLog(Path(folder)) if folder else None
