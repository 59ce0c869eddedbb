"""The Modbus collector: one worker per host or line, polls aligned to the clock, silent units last.

`read` does the polling itself, so there is no task and no queue to run over: when nobody reads,
polls are skipped and counted. It may be cancelled at any point; what was read stays and comes with
the next call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from collectors.modbus import telling
from collectors.modbus.device import PolledDevice, Schedule, of_export, reading_of
from collectors.modbus.framing import DoubtError, is_exception, is_refusal, is_silent_behind_gateway
from collectors.modbus.identification import REQUEST as IDENTIFICATION_REQUEST
from collectors.modbus.identification import identity_from, identity_of, identity_request
from collectors.modbus.link import Link, SilentError
from collectors.modbus.outgoing import Outgoing
from collectors.modbus.pace import IDENTIFICATION_BYTES, Pace
from collectors.modbus.plan import Request
from collectors.model import Batch, Clock, Device, LinkError, Proof, Trouble

RECONNECT_S: Final = 2.0
_LONGEST_WAIT_NS: Final = 1_000_000_000
"""Longest single wait: a person who asks for a retry is not kept waiting for a slow poll."""
_PUT_OFF_CYCLES: Final = 25
"""Cycles without room for a probe after which it is made all the same."""
_NS: Final = 1_000_000_000
_TOLD_SILENT_AFTER: Final = 2
"""Missed replies in a row before a person is told: one alone is noise on a line."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class _Progress:
    """A poll under way: kept across a cancelled read, which resumes at the next request."""

    device: PolledDevice
    schedule: Schedule
    is_probe: bool = False
    replies: list[bytes | None] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    exception: int | None = None
    refused: list[Request] = field(default_factory=list)
    """Requests that reach where the device has nothing."""
    is_silent: bool = False
    doubt: str = ""
    """Why a reply could not be trusted."""
    slow: Trouble | None = None
    """What is to be told of a reply that came, but later than polls wait."""


class ModbusCollector:
    """All devices behind one link. `sleep` waits in s of `clock`; tests hand in their own."""

    def __init__(self, link: Link, devices: Sequence[PolledDevice], clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self.link = link.address.url
        self.reconnect_s = RECONNECT_S
        self._link = link
        self._devices = tuple(devices)
        self._clock = clock
        self._sleep = sleep
        self._todo: deque[_Progress] = deque()
        self._to_identify: deque[PolledDevice] = deque()
        self._probed = True
        self._asked_for: set[int] = set()
        self._announced = self._told_of_name = False
        self._failure: LinkError | None = None
        self._outgoing = Outgoing()
        self._late_frames = 0
        self._pace = Pace(link, devices)

    @property
    def entries(self) -> tuple[str, ...]:
        """Ids of the entries behind this link."""
        return tuple(unit.entry.id for unit in self._devices)

    async def connect(self) -> None:
        """Open the link. LinkError: later, with back-off. ConfigError: a person must act."""
        self._failure = None
        self._todo.clear()
        self._probed = True
        await self._link.open()
        if not self._told_of_name:
            self._told_of_name = True
            if (trouble := telling.unstable_path(self._link.address)) is not None:
                self._outgoing.trouble(trouble)
        if self._pace.connect_pause_s:
            await self._sleep(self._pace.connect_pause_s)
        now_ns = self._clock()
        for device in self._devices:
            for schedule in device.schedules:
                # the first poll at once, the next ones on the beat
                schedule.due_ns = now_ns

    async def read(self) -> Batch:
        """Poll until there is something to hand over. LinkError: the link is lost."""
        if not self._announced:
            self._announced = True
            self._outgoing.devices([device for unit in self._devices for device in unit.devices], self._clock())
            return self._hand_over()
        while True:
            if self._failure is not None and not self._outgoing.has_samples:
                failure, self._failure = self._failure, None
                raise failure
            if self._is_ready():
                return self._hand_over()
            try:
                await self._step()
            except LinkError as failure:
                self._failure = failure

    async def adopt(self, fresh: ModbusCollector, changed: frozenset[str]) -> bool:
        """Poll the units of `fresh` from now on (see `collectors.base.TakesEntries`)."""
        if not self._link.is_like(fresh._link):
            return False
        kept = {unit.entry.id: unit for unit in self._devices if unit.entry.id not in changed}
        breakers = {unit.entry.unit: unit.breaker for unit in kept.values()}
        gone = [unit for unit in self._devices if unit.entry.id not in kept]
        now_ns = self._clock()
        units: list[PolledDevice] = []
        found: list[Device] = []
        for unit in fresh._devices:
            known = kept.get(unit.entry.id)
            if known is None:
                known = unit
                known.breaker = breakers.setdefault(unit.entry.unit, unit.breaker)
                for schedule in known.schedules:
                    schedule.due_ns = now_ns
                found += known.devices
            units.append(known)
        self._devices = tuple(units)
        self._todo = deque(progress for progress in self._todo if progress.device not in gone)
        self._to_identify = deque(unit for unit in self._to_identify if unit not in gone)
        self._asked_for -= {unit.entry.unit for unit in gone}
        self._outgoing.forget({device.id for unit in gone for device in unit.devices})
        if self._announced and found:
            self._outgoing.devices(found, now_ns)
        self._pace.set_for(self._devices)
        return True

    async def close(self) -> None:
        """Let go of the link. Safe twice, safe after a failed connect."""
        self._todo.clear()
        self._link.close()

    def retry(self, device: str = "") -> int:
        """Ask silent units again within a second, instead of when their wait is over (see `AsksSilentDevices`)."""
        silent = {
            unit.entry.unit: unit.breaker
            for unit in self._devices
            if not unit.breaker.is_closed and device in ("", unit.entry.id, *(known.id for known in unit.devices))
        }
        for breaker in silent.values():
            breaker.retry()
        self._asked_for.update(silent)
        return len(silent)

    def _is_ready(self) -> bool:
        if self._outgoing.is_empty:
            return False
        return not self._todo or self._failure is not None or self._outgoing.has_waited(self._clock())

    def _hand_over(self) -> Batch:
        late = self._link.late_frames - self._late_frames
        if late:
            self._late_frames += late
            self._outgoing.count("late_replies", late)
        return self._outgoing.hand_over()

    async def _step(self) -> None:
        """Do the next thing: a request that is due, a probe of a silent unit, a question who is there, a wait."""
        if self._todo:
            await self._go_on(self._todo[0])
        elif (probe := self._probe_due()) is not None:
            self._todo.append(probe)
        elif self._to_identify:
            device = self._to_identify[0]
            await self._identify(device)
            self._to_identify.popleft()
        else:
            await self._wait_for_next()

    async def _wait_for_next(self) -> None:
        await self._link.settle()
        if (trouble := self._pace.cycle_over(f"{self.link}/load")) is not None:
            self._outgoing.trouble(trouble)
        wait_ns = self._next_due_ns() - self._clock()
        if wait_ns > _LONGEST_WAIT_NS:
            await self._sleep(_LONGEST_WAIT_NS / _NS)
            return
        if wait_ns > 0:
            await self._sleep(wait_ns / _NS)
        now_ns = self._clock()
        for device in self._devices:
            for schedule in device.schedules:
                if schedule.due_ns > now_ns:
                    continue
                beats = (now_ns - schedule.due_ns) // schedule.every_ns
                schedule.due_ns = (now_ns // schedule.every_ns + 1) * schedule.every_ns
                if device.breaker.is_closed and not device.breaker.rests(now_ns):
                    self._todo.append(_Progress(device, schedule))
                    if beats:
                        self._outgoing.count("polls_skipped", beats)
        self._probed = False

    def _next_due_ns(self) -> int:
        return min(s.due_ns for d in self._devices for s in d.schedules)

    def _probe_due(self) -> _Progress | None:
        """At most one silent unit a cycle, after all others: the one that has waited longest.

        It is put off while its time limit would reach into the next cycle, but not for ever.
        """
        if self._probed and not self._asked_for:
            return None
        now_ns = self._clock()
        silent = [
            d
            for d in self._devices
            if not d.breaker.is_closed and d.breaker.may_probe(now_ns) and (not self._probed or self._is_asked_for(d))
        ]
        if not silent:
            self._asked_for.clear()
            return None
        device = min(silent, key=lambda d: d.breaker.waiting_since_ns)
        self._probed = True
        time_limit_s = self._pace.limit_s(device, device.schedules[0].poll.requests[0])
        has_room = self._next_due_ns() - now_ns >= time_limit_s * _NS
        is_overdue = now_ns - device.breaker.waiting_since_ns > _PUT_OFF_CYCLES * self._pace.period_ns
        if not (has_room or is_overdue or self._is_asked_for(device)):
            return None
        self._asked_for.discard(device.entry.unit)
        return _Progress(device, device.schedules[0], is_probe=True)

    def _is_asked_for(self, device: PolledDevice) -> bool:
        return device.entry.unit in self._asked_for

    async def _go_on(self, progress: _Progress) -> None:
        """Ask the next request of a poll; hand its samples on once it was the last."""
        device, requests = progress.device, progress.schedule.poll.requests
        if not progress.is_probe and not progress.replies and not device.breaker.is_closed:
            self._todo.popleft()  # another device of the same unit just found it silent
            return
        if len(progress.replies) < len(requests):
            await self._ask_next(progress, requests)
        if len(progress.replies) == len(requests):
            if device.wants_identification and device.tells_serial and not progress.is_silent:
                # another meter may hang there: it says so before its readings are counted
                await self._identify(device)
            self._todo.popleft()
            self._finish(progress)

    async def _ask_next(self, progress: _Progress, requests: Sequence[Request]) -> None:
        device = progress.device
        request = requests[len(progress.replies)]
        data: bytes | None = None
        reply: bytes | None = None
        if self._pace.gap_s:
            await self._sleep(self._pace.gap_s)
        asked_ns = self._clock()
        limit_s = self._pace.limit_s(device, request)
        try:
            reply = await self._link.ask(device.entry.unit, request.pdu, request.reply_bytes, limit_s)
        except SilentError:
            progress.is_silent = True
        except DoubtError as doubt:
            progress.is_silent, progress.doubt = True, str(doubt)
            self._outgoing.count("doubtful_replies")
        now_ns = self._clock()
        if not progress.is_probe:
            self._pace.took(now_ns - asked_ns)
        if reply is not None:
            usual_s = self._pace.usual_limit_s(device, request.reply_bytes)
            if self._link.reply_s > usual_s:
                progress.slow = telling.slow(device.device.id, device.entry.unit, self._link.reply_s, usual_s)
            if is_silent_behind_gateway(reply):
                progress.is_silent = True
            elif is_exception(reply):
                progress.exception = reply[1]
                if is_refusal(reply):
                    progress.refused.append(request)
            else:
                data = reply[2:]
        missing = len(requests) - len(progress.replies) if progress.is_silent else 1
        progress.replies += [data] * missing
        progress.received_ns += [now_ns] * missing

    def _finish(self, progress: _Progress) -> None:
        device, poll = progress.device, progress.schedule.poll
        now_ns = progress.received_ns[-1]
        reading = reading_of(poll, progress.replies, progress.received_ns)
        samples, good_ns = reading
        if progress.doubt:
            device.breaker.doubted(now_ns, device.timeout_s)
        elif progress.is_silent:
            device.breaker.missed(now_ns)
        else:
            device.breaker.answered()
        if device.breaker.failures == _TOLD_SILENT_AFTER:
            self._may_be_another(device)
        outgoing = self._outgoing
        outgoing.samples(device.device.id, samples, now_ns)
        for other in device.others:
            part = of_export(poll, reading, other.tag)
            if part is not None:
                outgoing.samples(other.device.id, part.samples, now_ns)
            if good_ns:
                outgoing.proof(Proof(other.device.id, good_ns, self._pace.proves_s(device)))
        if good_ns:
            outgoing.proof(Proof(device.device.id, good_ns, self._pace.proves_s(device)))
            if device.wants_identification and device not in self._to_identify:
                self._to_identify.append(device)
        self._tell(device, progress)
        device.split(progress.refused)

    def _tell(self, device: PolledDevice, progress: _Progress) -> None:
        """Tell people when something begins and when it is over, never in between."""
        subject, unit = device.device.id, device.entry.unit
        if progress.is_silent and device.breaker.failures < _TOLD_SILENT_AFTER:
            return
        if progress.doubt:
            trouble = telling.doubtful(subject, unit, progress.doubt)
        elif progress.is_silent:
            trouble = telling.silent(subject, unit)
        elif progress.exception is not None:
            trouble = telling.refused(subject, progress.exception)
        else:
            trouble = progress.slow or telling.well(subject)
        if trouble.code != device.trouble_code:
            device.trouble_code = trouble.code
            self._outgoing.trouble(trouble)

    def _may_be_another(self, silent: PolledDevice) -> None:
        """After a silence every device of a unit is asked anew who it is."""
        for device in self._devices:
            if device.breaker is silent.breaker:
                device.ask_again()

    async def _identify(self, device: PolledDevice) -> None:
        """Ask a living device who it is; no answer is an answer. What it did not answer is not asked again."""
        news = False
        if device.profile.identification and not device.is_mute:
            reply = await self._ask_once(device, IDENTIFICATION_REQUEST, None)
            device.is_mute = reply is None
            said = identity_from(reply or b"")
            news |= said is not None and device.identified(said, by_itself=True)
        for point in device.profile.identity:
            request = identity_request(device.profile, point)
            reply = await self._ask_once(device, request.pdu, request.reply_bytes)
            if reply is None:
                break
            said = identity_of(point, reply)
            news |= said is not None and device.identified(said, by_itself=False)
        device.wants_identification = False
        if news:
            self._outgoing.devices(device.devices, self._clock())

    async def _ask_once(self, device: PolledDevice, pdu: bytes, reply_bytes: int | None) -> bytes | None:
        """A reply's PDU; None where none came that can be trusted: then the unit rests, for its reply may be late."""
        if self._pace.gap_s:
            await self._sleep(self._pace.gap_s)
        limit_s = self._pace.usual_limit_s(device, reply_bytes or IDENTIFICATION_BYTES)
        try:
            return await self._link.ask(device.entry.unit, pdu, reply_bytes, limit_s)
        except (SilentError, DoubtError):
            device.breaker.rest(self._clock(), device.timeout_s)
            return None
