"""What is watched in one session: its devices, and its nodes as columns by client handle.

Turns the changes of a publication into rows of the devices' tags: scaled, with quality and time, states
derived from their inputs. A whole publication is a few array operations; only states and values that are no
number take a call each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from collectors.model import Device, Quality
from collectors.opcua.decode import Changes
from collectors.opcua.inbox import Chunk, together
from collectors.opcua.recognition.machine import Item, Machine
from collectors.opcua.subscription import Deadband, Wanted
from collectors.opcua.values import AS_IT_IS, BAD_BIT, NAN, OVERFLOW_BITS, UNCERTAIN_BIT, converted, scale_of

_NO_TAG: Final = -1
_JUST_AFTER_NS: Final = 1_000
"""A source timestamp that is told apart from the one before."""
NODE_GONE: Final = (ua.StatusCodes.BadNodeIdUnknown, ua.StatusCodes.BadNodeIdInvalid)
_STATE_TAG: Final = 0


@dataclass(slots=True)
class _Input:
    """One input of a state: its latest value, None while bad, and whether it has come at all."""

    value: float | None = None
    quality: Quality = Quality.BAD
    known: bool = False


class _Change(NamedTuple):
    """A new value of one input of a state; `unseen_ns` is where values before it were lost, 0: none were."""

    source_ns: int
    slot: int
    value: float | None
    quality: Quality
    unseen_ns: int


@dataclass(slots=True)
class Watched:
    """One device of the session."""

    device: Device
    machine: Machine
    liveness_s: float
    deadbands: Mapping[str, float | str]
    """By tag, as its profile gives them."""
    inputs: list[_Input] = field(init=False)
    state_given: bool = False
    is_down: bool = False
    """All of its nodes are bad, and that has been said."""

    def __post_init__(self) -> None:
        self.inputs = [_Input() for _ in range(self.machine.slots)]

    @property
    def is_absent(self) -> bool:
        """Whether its server says that the machine is not connected to it."""
        slot = self.machine.absent_slot
        return slot is not None and self.inputs[slot].value == 0


class Taken(NamedTuple):
    """What a publication says."""

    chunk: Chunk
    unknown: int
    """Changes of handles that are not watched."""
    overflowed: NDArray[np.intp]
    """Handles whose queue on the server lost values."""
    gone: NDArray[np.intp]
    """Handles of nodes that the server has no longer."""
    newest_ns: NDArray[np.int64]
    """By device, the latest source time of a good value that is not its first; 0: none."""


class Watch:
    """All devices and monitored items of a session. A handle is an index into `items`."""

    def __init__(self, devices: Sequence[Watched]) -> None:
        self.devices = list(devices)
        self.items: list[Item] = []
        numbers: list[int] = []
        for number, watched in enumerate(devices):
            self.items.extend(watched.machine.items)
            numbers.extend([number] * len(watched.machine.items))
        n = len(self.items)
        scales = [scale_of(item.convert) for item in self.items]
        self._device = np.array(numbers, np.int32)
        self._tag = np.array([_NO_TAG if i.tag is None else i.tag for i in self.items], np.int32)
        self._factor = np.array([(scale or AS_IT_IS).factor for scale in scales], np.float64)
        self._divisor = np.array([(scale or AS_IT_IS).divisor for scale in scales], np.float64)
        self._by_call = np.array([scale is None for scale in scales], bool)
        self._first = np.ones(n, bool)
        self._good = np.zeros(n, bool)
        self._seen_ns = np.zeros(n, np.int64)
        self._deadbands = [self._deadband_of(w, item) for w in self.devices for item in w.machine.items]
        # a server whose deadband swallows a change to bad (asyncua's does) must not keep a dead machine alive
        proves = np.array([deadband is None for deadband in self._deadbands], bool)
        alone = np.bincount(self._device[proves], minlength=len(self.devices)) == 0
        self._proves = proves | alone[self._device] if n else proves
        self._has_states = bool(n) and bool((self._tag == _NO_TAG).any())
        self._all_linear = not self._by_call.any()

    @property
    def wanted(self) -> list[Wanted]:
        """The nodes to monitor, by handle."""
        return [Wanted(item.node, deadband) for item, deadband in zip(self.items, self._deadbands, strict=True)]

    @staticmethod
    def _deadband_of(watched: Watched, item: Item) -> Deadband | None:
        if item.tag is None:
            return None
        given = watched.deadbands.get(watched.machine.tags[item.tag].name)
        if given is None:
            return None
        if isinstance(given, str):
            return Deadband(float(given.rstrip("%")), percent=True)
        scale = scale_of(item.convert)
        return None if scale is None else Deadband(given * scale.divisor / abs(scale.factor))

    def number_of(self, handle: int) -> int:
        """The number of a handle's device."""
        return int(self._device[handle])

    def device_of(self, handle: int) -> Watched:
        """The device of a handle."""
        return self.devices[self.number_of(handle)]

    def is_good(self, handle: int) -> bool:
        """Whether a node's latest value is not bad."""
        return bool(self._good[handle])

    def lost(self, received_ns: int) -> Chunk:
        """Rows that say of every tag that its values after the last one are not known."""
        rows: list[tuple[int, int, float, int, int]] = []
        states: dict[int, int] = {}
        for handle in np.flatnonzero(self._good & (self._seen_ns > 0)).tolist():
            number, tag, at_ns = self.number_of(handle), int(self._tag[handle]), int(self._seen_ns[handle])
            if tag == _NO_TAG:
                states[number] = max(states.get(number, 0), at_ns)
            else:
                rows.append((number, tag, NAN, Quality.BAD, at_ns + _JUST_AFTER_NS))
        rows.extend((number, _STATE_TAG, NAN, Quality.BAD, at_ns + _JUST_AFTER_NS) for number, at_ns in states.items())
        return Chunk.of(rows, received_ns)

    def start_anew(self, handle: int) -> None:
        """The node is monitored anew: its next value is the state now."""
        self._first[handle] = True

    def refuse(self, handle: int) -> None:
        """The server gives nothing of this node: a state does not wait for it, and it proves nothing."""
        self._first[handle] = self._good[handle] = False
        item = self.items[handle]
        if item.slot is not None:
            self.device_of(handle).inputs[item.slot].known = True

    def alive(self) -> NDArray[np.bool_]:
        """By device, whether some node of it is not bad; one with a deadband counts only where all have one."""
        return np.bincount(self._device[self._good & self._proves], minlength=len(self.devices)) > 0

    def awaited(self) -> NDArray[np.bool_]:
        """By device, whether the first value of some node is still to come."""
        return np.bincount(self._device[self._first], minlength=len(self.devices)) > 0

    def take(self, changes: Changes, received_ns: int) -> Taken:
        """Rows of the devices' tags, in the order of the changes; states follow."""
        changes, unknown = self._known(changes)
        handle = changes.handle.astype(np.intp)
        value, quality = self._read(changes, handle)
        bad = quality == Quality.BAD
        firsts = self._first[handle]
        if firsts.any():
            _, index = np.unique(handle, return_index=True)
            is_first = np.zeros(len(handle), bool)
            is_first[index] = True
            firsts &= is_first
            self._first[handle] = False
        source_ns = np.where(firsts, 0, changes.source_ns)
        overflowed = (changes.status & OVERFLOW_BITS == OVERFLOW_BITS) & ~firsts
        unseen_ns = np.where(overflowed & (self._seen_ns[handle] > 0), self._seen_ns[handle] + _JUST_AFTER_NS, 0)
        self._good[handle] = ~bad  # of a handle that comes several times, the last one counts
        self._seen_ns[handle] = changes.source_ns
        chunk = self._rows(handle, value, quality, source_ns, unseen_ns, received_ns)
        gone = bad & np.isin(changes.status, NODE_GONE)
        newest_ns = np.zeros(len(self.devices), np.int64)
        np.maximum.at(newest_ns, self._device[handle], np.where(bad, 0, source_ns))
        return Taken(chunk, unknown, np.unique(handle[overflowed]), np.unique(handle[gone]), newest_ns)

    def _known(self, changes: Changes) -> tuple[Changes, int]:
        known = changes.handle < len(self.items)
        if known.all():
            return changes, 0
        rows = np.flatnonzero(known)
        at = {int(row): index for index, row in enumerate(rows)}
        others = {at[row]: value for row, value in changes.others.items() if row in at}
        kept = Changes(changes.handle[rows], changes.value[rows], changes.status[rows], changes.source_ns[rows], others)
        return kept, len(changes.handle) - len(rows)

    def _read(self, changes: Changes, handle: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        value = changes.value * self._factor[handle] / self._divisor[handle]
        bad = (changes.status & BAD_BIT != 0) | ~np.isfinite(value)
        quality = np.where(bad, Quality.BAD, np.where(changes.status & UNCERTAIN_BIT, 1, 0)).astype(np.uint8)
        value[bad] = NAN
        single = set(changes.others)
        if not self._all_linear:
            single.update(np.flatnonzero(self._by_call[handle]).tolist())
        for row in single:
            other = changes.others.get(row)
            number = float(changes.value[row])
            held = other.Value.Value if other is not None else (None if number != number else number)
            item = self.items[handle[row]]
            value[row], quality[row] = converted(held, int(changes.status[row]), item.convert)
        return value, quality

    def _rows(
        self,
        handle: NDArray[np.intp],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
        source_ns: NDArray[np.int64],
        unseen_ns: NDArray[np.int64],
        received_ns: int,
    ) -> Chunk:
        """Rows of tags, before each that followed on lost values one that says so, and the states."""
        tag = self._tag[handle]
        given, inputs = tag != _NO_TAG, np.zeros(0, np.intp)
        if self._has_states:
            inputs = np.flatnonzero(~given)
        parts: list[Chunk] = []
        if unseen_ns.any():
            lost = np.flatnonzero(given & (unseen_ns > 0))
            devices, tags = self._device[handle[lost]].tolist(), tag[lost].tolist()
            unseen = zip(devices, tags, unseen_ns[lost].tolist(), strict=True)
            parts.append(Chunk.of([(d, t, NAN, Quality.BAD, at) for d, t, at in unseen], received_ns))
        if len(inputs):
            rows = np.flatnonzero(given)
            states = self._states(handle, value, quality, source_ns, unseen_ns, inputs)
            parts.append(
                Chunk(
                    self._device[handle[rows]],
                    tag[rows].astype(np.uint16),
                    value[rows],
                    quality[rows],
                    source_ns[rows],
                    received_ns,
                )
            )
            parts.append(Chunk.of(states, received_ns))
        else:
            device = self._device[handle]
            parts.append(Chunk(device, tag.astype(np.uint16), value, quality, source_ns, received_ns))
        if len(parts) == 1:
            return parts[0]
        return together(parts)

    def _states(
        self,
        handle: NDArray[np.intp],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
        source_ns: NDArray[np.int64],
        unseen_ns: NDArray[np.int64],
        rows: NDArray[np.intp],
    ) -> list[tuple[int, int, float, int, int]]:
        by_device: dict[int, list[_Change]] = {}
        for row in rows.tolist():
            slot = self.items[handle[row]].slot
            if slot is not None:
                how = Quality(int(quality[row]))
                known = None if how is Quality.BAD else float(value[row])
                change = _Change(int(source_ns[row]), slot, known, how, int(unseen_ns[row]))
                by_device.setdefault(int(self._device[handle[row]]), []).append(change)
        made: list[tuple[int, int, float, int, int]] = []
        for number, changes in by_device.items():
            _derive(self.devices[number], changes, lambda *row, n=number: made.append((n, _STATE_TAG, *row)))
        return made


def _derive(watched: Watched, changes: list[_Change], say: Callable[[float, int, int], None]) -> None:
    """States from the inputs, one for each moment at which some of them changed: value, quality, source_ns."""
    if watched.machine.derive is None:
        return
    changes.sort(key=lambda change: change.source_ns)
    for index, (source_ns, slot, value, quality, unseen_ns) in enumerate(changes):
        if unseen_ns and watched.state_given:
            say(NAN, Quality.BAD, unseen_ns)
        watched.inputs[slot] = _Input(value, quality, known=True)
        if index + 1 < len(changes) and changes[index + 1].source_ns == source_ns:
            continue
        if not all(given.known for given in watched.inputs):
            continue
        state = watched.machine.derive([given.value for given in watched.inputs])
        # the first state is the state now, however old the inputs are
        at_ns = source_ns if watched.state_given else 0
        watched.state_given = True
        if state is None:
            say(NAN, Quality.BAD, at_ns)
        else:
            certain = all(given.quality is Quality.GOOD for given in watched.inputs if given.value is not None)
            say(float(state), Quality.GOOD if certain else Quality.UNCERTAIN, at_ns)
