"""How the devices of one session are: who is proven connected, and what people are told of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from asyncua import ua

from collectors.model import Proof
from collectors.opcua import words
from collectors.opcua.clocks import Clocks
from collectors.opcua.decode import Changes
from collectors.opcua.subscription import NO_ROOM
from collectors.opcua.telling import Telling
from collectors.opcua.watch import Taken, Watch

_OVERFLOW_SHOWN_NS: Final = 60 * 10**9
"""So long after the last value that a queue lost it is told."""


class Health:
    """Follows what `watch` takes. Parameters: `telling` of the link; `retry_s` between attempts at refused nodes;
    `clock_tolerance_s`; `queued`, the queue that was asked for."""

    def __init__(self, watch: Watch, telling: Telling, retry_s: float, clock_tolerance_s: float, queued: int) -> None:
        self._watch, self._telling, self._retry_s, self._queued = watch, telling, retry_s, queued
        self._clocks = Clocks(len(watch.devices), clock_tolerance_s)
        self._overflowed: dict[str, int] = {}
        self.refused: dict[int, str] = {}
        """Nodes that the server does not give, by handle, and how it says so."""

    def sort_out(self, handles: Sequence[int], statuses: Sequence[ua.StatusCode]) -> list[int]:
        """Take note of what the server does not monitor. Returns the nodes that it has no room for, only."""
        no_room = []
        for handle, status in zip(handles, statuses, strict=True):
            if status.value in NO_ROOM:
                no_room.append(handle)
            elif not status.is_good():
                self._watch.refuse(handle)
                self.refused[handle] = status.name
        self._tell_refused({self._watch.number_of(handle) for handle in self.refused})
        return no_room

    def follow(self, taken: Taken, changes: Changes, received_ns: int, *, is_live: bool) -> None:
        """What a publication says of nodes, queues and, where it is live, of clocks."""
        if len(taken.overflowed):
            self._tell_overflow(taken.overflowed.tolist(), received_ns)
        if len(taken.gone) or self.refused:
            self._follow_refused(taken.gone.tolist(), changes)
        if not is_live:
            return
        for number, ahead_s in self._clocks.look(taken.newest_ns, received_ns):
            device = self._watch.devices[number].device.id
            if ahead_s is None:
                self._telling.over(device, words.WRONG_CLOCK)
            else:
                self._telling.say(words.clock_wrong(device, ahead_s))

    def prove(self, at_ns: int) -> Iterator[Proof]:
        """Proofs of what lives, and once the withdrawal of what does no longer."""
        alive, awaited = self._watch.alive(), self._watch.awaited()
        for number, watched in enumerate(self._watch.devices):
            device = watched.device.id
            if alive[number] and not watched.is_absent:
                yield Proof(device, at_ns, watched.liveness_s)
                if watched.is_down:
                    watched.is_down = False
                    self._telling.over(device, words.ALL_BAD)
            elif not watched.is_down and not awaited[number]:
                watched.is_down = True
                yield Proof(device, at_ns, 0.0)
                self._telling.say(words.absent(device) if watched.is_absent else words.all_bad(device))
        for device, since_ns in list(self._overflowed.items()):
            if at_ns - since_ns > _OVERFLOW_SHOWN_NS:
                del self._overflowed[device]
                self._telling.over(device, words.OVERFLOW)

    def _follow_refused(self, gone: Sequence[int], changes: Changes) -> None:
        touched = set()
        for handle in gone:
            if handle not in self.refused:
                status = int(changes.status[changes.handle == handle][-1])
                self.refused[handle] = ua.StatusCode(status).name
                touched.add(self._watch.number_of(handle))
        for handle in [handle for handle in self.refused if self._watch.is_good(handle)]:
            del self.refused[handle]
            touched.add(self._watch.number_of(handle))
        self._tell_refused(touched)

    def _tell_refused(self, numbers: Collection[int]) -> None:
        for number in sorted(numbers):
            device = self._watch.devices[number].device.id
            nodes = [
                (self._watch.items[handle].path, name)
                for handle, name in self.refused.items()
                if self._watch.number_of(handle) == number
            ]
            if nodes:
                self._telling.say(words.nodes_refused(device, nodes, self._retry_s))
            else:
                self._telling.over(device, words.REFUSED)

    def _tell_overflow(self, handles: Sequence[int], at_ns: int) -> None:
        by_device: dict[str, list[str]] = {}
        for handle in handles:
            device = self._watch.device_of(handle).device.id
            by_device.setdefault(device, []).append(self._watch.items[handle].path)
        for device, paths in by_device.items():
            if device not in self._overflowed:
                self._telling.say(words.overflowed(device, paths, self._queued))
            self._overflowed[device] = at_ns
