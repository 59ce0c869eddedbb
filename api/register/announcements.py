"""What devices said of themselves: kept with date and number, the latest one at hand."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

import msgspec
from sqlalchemy import Engine, insert, select

from api.register.counters import raise_counter, read_counter
from api.register.database import writing
from api.register.models import AnnouncementRow
from gateway.wire import Announce, Announcement, DeviceRef

_COUNTER: Final = "announcement"
_CLOCKS_DIFFER_NS: Final = 600 * 1_000_000_000

_Latest = dict[tuple[str, str], tuple[int, Announcement]]


def _read(engine: Engine, until_ns: int | None, since_ns: int = 0) -> _Latest:
    a = AnnouncementRow
    asked = select(a.gateway, a.arrived_ns, a.content).order_by(a.arrived_ns, a.number)
    if since_ns > 0:
        asked = asked.where(a.arrived_ns >= since_ns)
    if until_ns is not None:
        asked = asked.where(a.arrived_ns <= until_ns)
    found: _Latest = {}
    with engine.connect() as connection:
        for gateway, arrived_ns, content in connection.execute(asked):
            said = msgspec.msgpack.decode(content, type=Announcement)
            found[gateway, said.device] = (arrived_ns, said)
    return found


class Announced:
    """What devices had said of themselves at one time."""

    def __init__(self, latest: _Latest) -> None:
        self._latest = latest

    def latest(self, gateway: str, device: str) -> Announcement | None:
        """The last thing that a device had said of itself."""
        found = self._latest.get((gateway, device))
        return None if found is None else found[1]


class Announcements:
    """Announcements of all gateways. Calls may come from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._latest: _Latest = {}
        self._counted = -1
        self._newest_ns = 0
        self.version = 0
        """Counts up when something is announced."""
        self.catch_up()

    def catch_up(self) -> None:
        """Read what another process has taken since the last look."""
        with self._lock:
            with self._engine.connect() as connection:
                counted = read_counter(connection, _COUNTER)
            if counted == self._counted:
                return
            found = _read(self._engine, None, self._newest_ns - _CLOCKS_DIFFER_NS)
            if any(self._latest.get(key) != said for key, said in found.items()):
                self._latest |= found
                self._newest_ns = max(at_ns for at_ns, _ in self._latest.values())
                self.version += 1
            self._counted = counted

    def take(self, message: Announce, arrived_ns: int) -> None:
        """Keep announcements. One that is known by (gateway, epoch, number) changes nothing."""
        if not message.announcements:
            return
        a = AnnouncementRow
        epoch = str(message.epoch)
        with self._lock, writing(self._engine) as connection:
            numbers = [said.number for said in message.announcements]
            known = set(
                connection.execute(
                    select(a.number).where(a.gateway == message.gateway, a.epoch == epoch, a.number.in_(numbers))
                ).scalars()
            )
            fresh = {said.number: said for said in message.announcements if said.number not in known}
            if fresh:
                connection.execute(
                    insert(a),
                    [
                        {
                            "gateway": message.gateway,
                            "epoch": epoch,
                            "number": said.number,
                            "device": said.device,
                            "at_ns": said.at_ns,
                            "arrived_ns": arrived_ns,
                            "evidence": said.evidence,
                            "content": msgspec.msgpack.encode(said),
                        }
                        for said in fresh.values()
                    ],
                )
                raise_counter(connection, _COUNTER)
            for said in fresh.values():
                self._latest[message.gateway, said.device] = (arrived_ns, said)
            self.version += bool(fresh)

    def as_known(self, at_ns: int) -> Announced:
        """What had been announced at a time, ns UTC."""
        return Announced(_read(self._engine, at_ns))

    def lacks(self, gateway: str, devices: Iterable[DeviceRef]) -> bool:
        """Whether a batch names an announcement that never came; a later one of the device says as much."""
        for ref in devices:
            if ref.announcement:
                found = self._latest.get((gateway, ref.id))
                if found is None or found[1].number < ref.announcement:
                    return True
        return False

    def latest(self, gateway: str, device: str) -> Announcement | None:
        """The last thing that a device said of itself."""
        found = self._latest.get((gateway, device))
        return None if found is None else found[1]

    def of(self, gateway: str) -> list[Announcement]:
        """The last thing that each device of a gateway said of itself, by device."""
        found = {device: said for (owner, device), (_, said) in list(self._latest.items()) if owner == gateway}
        return [found[device] for device in sorted(found)]

    def shared_identities(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """Serial numbers and product URIs that devices of two gateways announce: (kind, value) to their devices."""
        seen: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for (gateway, device), (_, said) in list(self._latest.items()):
            if said.product_uri:
                seen.setdefault(("product_uri", said.product_uri), []).append((gateway, device))
            elif said.serial:
                seen.setdefault(("serial", f"{said.manufacturer} {said.serial}"), []).append((gateway, device))
        return {key: found for key, found in seen.items() if len({gateway for gateway, _ in found}) > 1}
