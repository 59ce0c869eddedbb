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

from collectors.modbus.address import lasting_name
from collectors.modbus.device import PolledDevice, Schedule, of_export, reading_of
from collectors.modbus.framing import DoubtError
from collectors.modbus.identification import REQUEST as IDENTIFICATION_REQUEST
from collectors.modbus.identification import identity_from, identity_of, identity_request
from collectors.modbus.link import Link, SilentError
from collectors.model import Batch, Clock, Device, LinkError, Proof, Samples, Trouble

RECONNECT_S: Final = 2.0
_HAND_OVER_AFTER_NS: Final = 200_000_000
_LONGEST_WAIT_NS: Final = 1_000_000_000
"""Longest single wait: a person who asks for a retry is not kept waiting for a slow poll."""
_PUT_OFF_CYCLES: Final = 25
"""Cycles without room for a probe after which it is made all the same."""
_NS: Final = 1_000_000_000
_ERROR_BIT: Final = 0x80
_ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 2, 3
_BEHIND_GATEWAY_SILENT: Final = (0x0A, 0x0B)
_EXCEPTIONS: Final = {
    1: ("不支持该功能码", "function not supported"),
    2: ("寄存器地址不存在", "no such register"),
    3: ("数量不允许", "count not permitted"),
    4: ("设备故障", "device failure"),
    5: ("处理中", "still working on it"),
    6: ("设备忙", "device busy"),
}
"""What the exception codes mean (Modbus Application Protocol V1.1b3, 7)."""
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
    is_silent: bool = False
    doubt: str = ""
    """Why a reply could not be trusted."""


class ModbusCollector:
    """All devices behind one link. `sleep` waits in s of `clock`; tests hand in their own."""

    def __init__(self, link: Link, devices: Sequence[PolledDevice], clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self.link = link.address.url
        self.reconnect_s = RECONNECT_S
        self._link = link
        self._devices = tuple(devices)
        self._clock = clock
        self._sleep = sleep
        self._gap_s = max(link.frame_gap_s, *(d.profile.timing.request_gap_ms / 1000 for d in devices))
        self._connect_pause_s = max(d.profile.timing.connect_pause_ms for d in devices) / 1000
        self._todo: deque[_Progress] = deque()
        self._to_identify: deque[PolledDevice] = deque()
        self._probed = True
        self._put_off_ns = _PUT_OFF_CYCLES * min(s.every_ns for d in devices for s in d.schedules)
        self._asked_for: set[int] = set()
        self._announced = self._told_of_name = False
        self._failure: LinkError | None = None
        self._samples: list[tuple[str, Samples]] = []
        self._proofs: list[Proof] = []
        self._changed: list[Device] = []
        self._troubles: list[Trouble] = []
        self._shed: dict[str, int] = {}
        self._first_ns = 0
        self._late_frames = 0

    async def connect(self) -> None:
        """Open the link. LinkError: later, with back-off. ConfigError: a person must act."""
        self._failure = None
        self._todo.clear()
        self._probed = True
        await self._link.open()
        self._tell_of_name()
        if self._connect_pause_s:
            await self._sleep(self._connect_pause_s)
        now_ns = self._clock()
        for device in self._devices:
            for schedule in device.schedules:
                # the first poll at once, the next ones on the beat
                schedule.due_ns = now_ns

    def _tell_of_name(self) -> None:
        """Tell once that a line's name may belong to another adapter after the next start."""
        name = None if self._told_of_name else lasting_name(self._link.address)
        self._told_of_name = True
        if name is None:
            return
        self._troubles.append(
            Trouble(
                self.link,
                "modbus.unstable-path",
                f"{self._link.address.path} 按插入顺序编号，重启或换口后可能变成另一个转换器。",
                f"{self._link.address.path} is numbered by plugging order: after a restart it may be another adapter.",
                f"请改用 {name or '/dev/serial/by-id/ 下的名称'}。",
                f"use {name or 'its name below /dev/serial/by-id/'}.",
            )
        )

    async def read(self) -> Batch:
        """Poll until there is something to hand over. LinkError: the link is lost."""
        if not self._announced:
            self._announced = True
            self._changed = [device for unit in self._devices for device in unit.devices]
            return self._hand_over()
        while True:
            if self._failure is not None and not self._samples:
                failure, self._failure = self._failure, None
                raise failure
            if self._is_ready():
                return self._hand_over()
            try:
                await self._step()
            except LinkError as failure:
                self._failure = failure

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

    @property
    def silent_units(self) -> tuple[int, ...]:
        """Units that do not answer now, for pages and tools."""
        return tuple(sorted({d.entry.unit for d in self._devices if not d.breaker.is_closed}))

    def _is_ready(self) -> bool:
        if not (self._samples or self._proofs or self._changed or self._troubles):
            return False
        return not self._todo or self._failure is not None or self._clock() - self._first_ns > _HAND_OVER_AFTER_NS

    def _hand_over(self) -> Batch:
        late = self._link.late_frames - self._late_frames
        if late:
            self._late_frames += late
            self._count("late_replies", late)
        batch = Batch(
            samples=self._samples,
            proofs=self._proofs,
            devices=self._changed,
            troubles=self._troubles,
            shed=self._shed,
        )
        self._samples, self._proofs, self._changed, self._troubles, self._shed = [], [], [], [], {}
        self._first_ns = 0
        return batch

    def _count(self, reason: str, number: int) -> None:
        self._shed[reason] = self._shed.get(reason, 0) + number

    async def _step(self) -> None:
        """Do the next thing: a request that is due, a probe of a silent unit, a question who is there, a wait."""
        if self._todo:
            await self._go_on(self._todo[0])
        elif (probe := self._probe_due()) is not None:
            self._todo.append(probe)
        elif self._to_identify:
            await self._identify(self._to_identify[0])
        else:
            await self._wait_for_next()

    async def _wait_for_next(self) -> None:
        await self._link.settle()
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
                        self._count("polls_skipped", beats)
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
        has_room = self._next_due_ns() - now_ns >= device.timeout_s * _NS
        is_overdue = now_ns - device.breaker.waiting_since_ns > self._put_off_ns
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
        request = requests[len(progress.replies)]
        data: bytes | None = None
        reply: bytes | None = None
        if self._gap_s:
            await self._sleep(self._gap_s)
        try:
            reply = await self._link.ask(device.entry.unit, request.pdu, request.reply_bytes, device.timeout_s)
        except SilentError:
            progress.is_silent = True
        except DoubtError as doubt:
            progress.is_silent, progress.doubt = True, str(doubt)
            self._count("doubtful_replies", 1)
        if reply is not None:
            if reply[0] & _ERROR_BIT:
                self._refused(progress, reply[1])
            else:
                data = reply[2:]
        progress.replies.append(data)
        progress.received_ns.append(self._clock())
        if progress.is_silent:
            missing = len(requests) - len(progress.replies)
            progress.replies += [None] * missing
            progress.received_ns += [progress.received_ns[-1]] * missing
        if len(progress.replies) == len(requests):
            self._todo.popleft()
            self._finish(progress)

    def _refused(self, progress: _Progress, code: int) -> None:
        if code in _BEHIND_GATEWAY_SILENT:
            progress.is_silent = True
        else:
            progress.exception = code

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
        self._samples.append((device.device.id, samples))
        self._first_ns = self._first_ns or now_ns
        for other in device.others:
            part = of_export(poll, reading, other.tag)
            if part is not None:
                self._samples.append((other.device.id, part.samples))
            if good_ns:
                self._proofs.append(Proof(other.device.id, good_ns, other.device.liveness_s))
        if good_ns:
            self._proofs.append(Proof(device.device.id, good_ns, device.device.liveness_s))
            if device.wants_identification and device not in self._to_identify:
                self._to_identify.append(device)
        self._tell(device, progress)
        if progress.exception in (_ILLEGAL_ADDRESS, _ILLEGAL_VALUE):
            for request, reply in zip(poll.requests, progress.replies, strict=True):
                if reply is None:
                    device.split(request)

    def _tell(self, device: PolledDevice, progress: _Progress) -> None:
        """Tell people when something begins and when it is over, never in between."""
        subject, unit = device.device.id, device.entry.unit
        if progress.is_silent and device.breaker.failures < _TOLD_SILENT_AFTER:
            return
        if progress.doubt:
            trouble = Trouble(
                subject,
                "modbus.reply-doubtful",
                f"站号 {unit} 的应答不可信（{progress.doubt}），已丢弃。",
                f"replies of unit {unit} cannot be trusted ({progress.doubt}) and were dropped.",
                "检查协议（modbus-tcp 还是 modbus-rtu-tcp）、是否有另一个主站、线路干扰和终端电阻。",
                "check the framing (modbus-tcp or modbus-rtu-tcp), for a second master, and noise or termination.",
            )
        elif progress.is_silent:
            trouble = Trouble(
                subject,
                "modbus.unit-silent",
                f"站号 {unit} 没有应答。",
                f"unit {unit} does not answer.",
                "检查设备电源、接线（A/B 是否接反）、站号和波特率。",
                "check the device's power, its wiring (A and B swapped?), unit id and baud rate.",
            )
        elif progress.exception is not None:
            zh, en = _EXCEPTIONS.get(progress.exception, ("未知", "unknown"))
            trouble = Trouble(
                subject,
                f"modbus.exception-{progress.exception}",
                f"设备拒绝读取部分寄存器（异常码 {progress.exception}：{zh}）。",
                f"the device refuses to read some registers (exception {progress.exception}: {en}).",
                "检查型号文件是否与设备型号、固件版本一致。",
                "check that the profile fits the device's model and firmware.",
            )
        else:
            trouble = Trouble(subject, "")
        if trouble.code != device.trouble_code:
            device.trouble_code = trouble.code
            self._troubles.append(trouble)

    async def _identify(self, device: PolledDevice) -> None:
        """Ask a living device once who it is; no answer is an answer."""
        news = False
        if device.profile.identification:
            reply = await self._ask_once(device, IDENTIFICATION_REQUEST, None)
            said = identity_from(reply)
            news |= said is not None and device.identified(said, by_itself=True)
        for point in device.profile.identity:
            request = identity_request(device.profile, point)
            reply = await self._ask_once(device, request.pdu, request.reply_bytes)
            said = identity_of(point, reply)
            news |= said is not None and device.identified(said, by_itself=False)
        self._to_identify.popleft()
        device.wants_identification = False
        if news:
            self._changed += device.devices
            self._first_ns = self._first_ns or self._clock()

    async def _ask_once(self, device: PolledDevice, pdu: bytes, reply_bytes: int | None) -> bytes:
        """A reply's PDU; empty where none came that can be trusted."""
        if self._gap_s:
            await self._sleep(self._gap_s)
        try:
            return await self._link.ask(device.entry.unit, pdu, reply_bytes, device.timeout_s)
        except (SilentError, DoubtError):
            return b""
