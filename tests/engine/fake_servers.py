"""The cloud of these tests with servers: volumes hang on them, and are in use until they are detached.

It keeps count of what must never happen: a copy of a volume while one of its servers runs.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from batchexport.errors import NotFoundError, RefusedError, TransientError
from batchexport.model import ExportRequest, Server, Volume
from tests.engine.fake_cloud import FakeCloud
from tests.engine.fast_time import fast_now

STOP_S = 20.0
START_S = 10.0


class Machine:
    """One server: it takes its time, and tells what it is doing."""

    def __init__(
        self,
        status: str = "active",
        *,
        stop_s: float = STOP_S,
        start_s: float = START_S,
        tells_task: bool = True,
    ) -> None:
        self.status = status
        self.task: str | None = None
        self.stop_s, self.start_s = stop_s, start_s
        self.tells_task = tells_task
        self._turning_to: str | None = None
        self._at = 0.0
        self.updated_at = 0.0  # as the service keeps it: the second of the last change
        self.tells_update = True

    def turn(self, to: str, task: str | None, after_s: float) -> None:
        self._turning_to, self.task, self._at = to, task, fast_now() + after_s

    def is_idle(self, status: str) -> bool:
        return self.look()[0] == status and self._turning_to is None

    def look(self) -> tuple[str, str | None]:
        if self._turning_to is not None and fast_now() >= self._at:
            self.status, self.task, self._turning_to = self._turning_to, None, None
            self.updated_at = max(1.0, float(int(self._at)))
        return self.status, self.task if self.tells_task else None


class ServedCloud(FakeCloud):
    """`attached[volume_id]` are the servers of a volume; `machines` are the servers by id."""

    def __init__(
        self,
        attached: dict[str, Any],
        *,
        machines: dict[str, Machine] | None = None,
        honours_force: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.attached = {volume_id: tuple(server_ids) for volume_id, server_ids in attached.items()}
        names = {server_id for server_ids in self.attached.values() for server_id in server_ids}
        self.machines = {name: Machine() for name in sorted(names)} | (machines or {})
        self.honours_force = honours_force
        self.order_errors: list[
            tuple[str, Any]
        ] = []  # (order, error or mapping) to raise or return before all is well
        self.orders: list[tuple[str, str]] = []  # ("stop" or "start", server id), every one that was taken
        self.hard: set[str] = set()
        self.torn: list[tuple[str, str]] = []  # (volume id, server id): copied while the server ran
        self.most_down = 0
        self.watch_orders: Callable[[str, str], object] | None = (
            None  # called before each order is carried out
        )
        self.after_order: Callable[[], object] | None = (
            None  # called when an order of a request was carried out
        )
        self.torn_images: set[str] = set()  # ids of images that were copied while a server ran
        self.away: dict[
            str, tuple[float, float]
        ] = {}  # server id -> (from, until): in no list, and cannot be read
        self.vanished: dict[
            str, tuple[float, float]
        ] = {}  # server id -> (from, until): the compute service says that there is none
        self.repeat: Callable[[Server], Server] | None = (
            None  # what a replica or a cache answers in the place of a server's record
        )
        self.strangers: dict[str, float] = {}  # server id -> when somebody starts it, if it is off then

    def ordered(self, kind: str) -> Counter[str]:
        return Counter(server_id for order, server_id in self.orders if order == kind)

    def running(self) -> set[str]:
        return {name for name, machine in self.machines.items() if machine.look()[0] == "active"}

    def _volume(self, volume_id: str, now: float) -> Volume | None:
        server_ids = self.attached.get(volume_id, ())
        if not server_ids:
            return super()._volume(volume_id, now)
        self._look_for_tears(volume_id, now)
        status = "uploading" if self._uploading(volume_id, now) else "in-use"
        return Volume(volume_id=volume_id, status=status, size_gib=10, server_ids=server_ids)

    def _look_for_tears(self, volume_id: str, now: float) -> None:
        running = [name for name in self.attached[volume_id] if name in self.running()]
        for image_id in self.exports_of(volume_id):
            record = self.records[image_id]
            if running and record["created"] <= now < record["free_at"]:
                self.torn += [(volume_id, name) for name in running]
                self.torn_images.add(image_id)

    def _read(self, call: str) -> None:
        super()._read(call)
        for server_id, at in list(self.strangers.items()):
            if fast_now() >= at and self.machines[server_id].is_idle("shutoff"):
                del self.strangers[server_id]
                self.machines[server_id].turn("active", None, 0.0)
                self.look_everywhere()

    def _is_within(self, spans: dict[str, tuple[float, float]], server_id: str) -> bool:
        begin, end = spans.get(server_id, (0.0, 0.0))
        return begin <= fast_now() < end

    def look_everywhere(self) -> None:
        for volume_id in self.attached:
            self._look_for_tears(volume_id, self.server_now_s())

    def _may_export(self, volume: Volume, request: ExportRequest) -> bool:
        if volume.status != "in-use":
            return super()._may_export(volume, request)
        if not (self.honours_force and request.options.force):
            return False
        self.torn += [
            (volume.volume_id, name)
            for name in volume.server_ids
            if self.machines[name].look()[0] == "active"
        ]
        return True

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        self._read("volumes")
        now = self.server_now_s()
        known = dict.fromkeys([*self.attached, *(each["volume_id"] for each in self.records.values())])
        volumes = [volume for volume_id in known if (volume := self._volume(volume_id, now))]
        yield [volume for volume in volumes if status in (None, volume.status)]

    async def servers(self, server_ids: list[str]) -> AsyncIterator[list[Server]]:
        self._read("servers")
        yield [self._server(each) for each in server_ids if not self._is_within(self.away, each)]

    async def get_server(self, server_id: str) -> Server:
        self._read("server")
        if self._is_within(self.away, server_id):
            raise TransientError("cell2 is not responding", status=500)
        return self._server(server_id)

    def _server(self, server_id: str) -> Server:
        machine = self.machines.get(server_id)
        if machine is None or self._is_within(self.vanished, server_id):
            return Server(server_id=server_id, status="", exists=False)
        status, task = machine.look()
        attached = tuple(volume_id for volume_id, names in self.attached.items() if server_id in names)
        server = Server(
            server_id=server_id,
            status=status,
            task=task,
            name=f"vm-{server_id}",
            volume_ids=attached,
            updated_at=machine.updated_at if machine.tells_update else None,
        )
        return self.repeat(server) if self.repeat else server

    async def stop_servers(
        self, server_ids: list[str], *, hard: bool, fence: Callable[..., Any]
    ) -> dict[str, RefusedError]:
        fence()
        errors = self._error_of("stop", server_ids)
        for server_id in server_ids:
            machine = self.machines.get(server_id)
            if server_id not in errors and machine is not None and machine.is_idle("active"):
                self._take("stop", server_id)
                self.hard |= {server_id} if hard else set()
                machine.turn("shutoff", "powering-off", machine.stop_s)
        self.most_down = max(self.most_down, len(self.machines) - len(self.running_or_starting()))
        return errors

    def running_or_starting(self) -> set[str]:
        return {
            name
            for name, machine in self.machines.items()
            if machine.look()[0] == "active" and machine.task != "powering-off"
        }

    async def start_servers(
        self, server_ids: list[str], *, fence: Callable[..., Any]
    ) -> dict[str, RefusedError]:
        fence()
        errors = self._error_of("start", server_ids)
        for server_id in server_ids:
            machine = self.machines.get(server_id)
            if server_id not in errors and machine is not None and machine.is_idle("shutoff"):
                self._take("start", server_id)
                machine.turn("active", "powering-on", machine.start_s)
        self.look_everywhere()
        return errors

    def _take(self, order: str, server_id: str) -> None:
        if self.watch_orders is not None:
            self.watch_orders(order, server_id)
        self.orders.append((order, server_id))
        if self.after_order is not None:
            asyncio.get_running_loop().call_soon(self.after_order)

    def _error_of(self, order: str, server_ids: list[str]) -> dict[str, RefusedError]:
        missing = NotFoundError("no such server", method="POST", status=404, code="itemNotFound")
        unknown: dict[str, RefusedError] = {each: missing for each in server_ids if each not in self.machines}
        if self.order_errors and self.order_errors[0][0] == order:
            _, error = self.order_errors.pop(0)
            if isinstance(error, Exception):
                raise error
            refused: dict[str, RefusedError] = unknown | error
            return refused
        return unknown
