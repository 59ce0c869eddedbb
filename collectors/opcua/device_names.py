"""What the machines of an entry are called, and that they keep their names.

One machine alone is the entry itself; several are `id/name`, the name from product URI, serial or browse path,
never from an order. Which machine got which id is remembered (`devices.json` in the gateway's data folder for
OPC UA): a server that shows fewer machines or more tomorrow changes no id, for the county has bound assets to
them. Another machine under the address of a single one (a controller was replaced) takes over its id.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from collectors.opcua.recognition.machine import Machine

_log = logging.getLogger(__name__)

_FILE: Final = "devices.json"
_MOST_REMEMBERED: Final = 2_000
"""Machines of one entry; beyond it the names of those that are shown no longer are forgotten."""


class Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One machine that had an id: what it said of itself, and where it stood."""

    device: str
    product_uri: str
    maker_and_serial: str
    path: str

    @classmethod
    def of(cls, device: str, machine: Machine) -> Remembered:
        """What is remembered of a machine."""
        return cls(device, machine.identity.product_uri, _maker_and_serial(machine), machine.path)

    def is_same(self, machine: Machine) -> bool:
        """Whether this is that machine: by product URI, else maker and serial, else by where it stands."""
        for said, says in (
            (self.product_uri, machine.identity.product_uri),
            (self.maker_and_serial, _maker_and_serial(machine)),
        ):
            if said and says:
                return said == says
        return self.path == machine.path


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    entries: dict[str, list[Remembered]]


class DeviceNames:
    """The ids of every entry's machines. Without a folder they are remembered while the process lives."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._entries: dict[str, list[Remembered]] | None = None
        self._ours: set[str] = set()

    def ids(self, entry_id: str, machines: Sequence[Machine]) -> list[str]:
        """The device id of each machine of an entry, in order; nothing is remembered of it yet."""
        return assign(entry_id, machines, self._known().get(entry_id, []))

    def remember(self, entry_id: str, machines: Sequence[Machine]) -> list[str]:
        """The same, and from now on they keep them. A file that cannot be written is logged, no more."""
        known = self._known()
        ids = assign(entry_id, machines, known.get(entry_id, []))
        fresh = [Remembered.of(device, m) for device, m in zip(ids, machines, strict=True) if not m.meter]
        taken = {remembered.device for remembered in fresh}
        # a machine that says nothing of itself today keeps what it said before
        earlier = {r.device: r for r in known.get(entry_id, [])}
        fresh = [_fuller(r, earlier.get(r.device)) for r in fresh]
        kept = [r for r in known.get(entry_id, []) if r.device not in taken]
        now = [*fresh, *kept][:_MOST_REMEMBERED]
        if sorted(now, key=lambda r: r.device) != sorted(known.get(entry_id, []), key=lambda r: r.device):
            known[entry_id] = now
            self._ours.add(entry_id)
            self._write()
        return ids

    def _known(self) -> dict[str, list[Remembered]]:
        if self._entries is None:
            self._entries = self._read()
        return self._entries

    def _read(self) -> dict[str, list[Remembered]]:
        if self._folder is None:
            return {}
        try:
            held = msgspec.json.decode((self._folder / _FILE).read_bytes(), type=_File)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("%s cannot be read; devices are named anew: %s", self._folder / _FILE, error)
            return {}
        return held.entries

    def _write(self) -> None:
        if self._folder is None or self._entries is None:
            return
        # several servers share the file: what others have written since stays
        held = self._read() | {entry: self._entries[entry] for entry in self._ours}
        content = msgspec.json.format(msgspec.json.encode(_File(1, held)))
        unfinished = self._folder / f"{_FILE}.{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            unfinished.write_bytes(content)
            unfinished.replace(self._folder / _FILE)
        except OSError as error:
            _log.warning("%s cannot be written; names hold until the next start: %s", self._folder / _FILE, error)


def assign(entry_id: str, machines: Sequence[Machine], remembered: Sequence[Remembered]) -> list[str]:
    """The device id of each machine; a further counter of a machine follows its machine's id.

    Pure. `machines`: each machine before its further counters.
    """
    own = [m for m in machines if not m.meter]
    ids: dict[int, str] = {}
    free = list(remembered)
    for machine in own:
        match = next((r for r in free if r.is_same(machine)), None)
        if match is not None:
            free.remove(match)
            ids[id(machine)] = match.device
    unknown = [m for m in own if id(m) not in ids]
    is_replacement = [r.device for r in remembered] == [entry_id]
    if len(own) == 1 and unknown and (not remembered or is_replacement):
        ids[id(own[0])] = entry_id
    else:
        used = {r.device for r in remembered}
        names = device_names(unknown, {device.removeprefix(f"{entry_id}/") for device in used})
        ids.update((id(m), f"{entry_id}/{name}") for m, name in zip(unknown, names, strict=True))
    result: list[str] = []
    of_machine = ""
    for machine in machines:
        if not machine.meter:
            of_machine = ids[id(machine)]
            result.append(of_machine)
        else:
            result.append(f"{of_machine}{'.' if '/' in of_machine else '/'}{machine.meter}")
    return result


def device_names(machines: Sequence[Machine], taken: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """A name for each machine of one entry: product URI, else serial, else browse path; never an order.

    The first of these that is neither blank nor shared by two machines of the entry nor `taken`; where two share
    even the browse path, it is followed by the node's identifier.
    """
    choices: list[Callable[[Machine], str]] = [
        lambda m: m.identity.product_uri,
        lambda m: m.identity.serial,
        lambda m: m.path,
        lambda m: f"{m.path}~{m.root.Identifier}",
    ]
    names = []
    for machine in machines:
        for choice in choices:
            name = choice(machine).replace("/", "_")
            if name and name not in taken and sum(choice(other).replace("/", "_") == name for other in machines) == 1:
                break
        names.append(name)
    return names


def _maker_and_serial(machine: Machine) -> str:
    identity = machine.identity
    return f"{identity.manufacturer} {identity.serial}" if identity.serial else ""


def _fuller(now: Remembered, before: Remembered | None) -> Remembered:
    if before is None:
        return now
    return Remembered(
        now.device,
        now.product_uri or before.product_uri,
        now.maker_and_serial or before.maker_and_serial,
        now.path,
    )
