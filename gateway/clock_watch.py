"""What people are told of the clock, and how a process notices that it stood still."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from collectors.model import Clock, Trouble
from gateway.clock import NS_PER_S, STEP_NOTICED_NS, TimeLine
from gateway.windows import NO_FLAGS, Windows

SUBJECT: Final = "clock"
PROGRESS_S: Final = 1.0
NOT_WATCHING_NS: Final = 5 * NS_PER_S
"""A progress tick that comes this late shows that the process stood still: it watched nothing meanwhile."""
_log = structlog.get_logger("gateway")


def trouble(clock: TimeLine) -> Trouble:
    """The time line may be wrong; a closed trouble where nothing says so."""
    if clock.flags() == NO_FLAGS:
        return Trouble(SUBJECT, "")
    step_s, county_ns = clock.step_ns() / NS_PER_S, clock.county_ahead_ns
    off = abs(clock.step_ns()) > STEP_NOTICED_NS or county_ns is None
    seconds, zh, en = (
        (step_s, "系统时钟", "the system clock")
        if off
        else ((county_ns or 0) / NS_PER_S, "县级时钟", "the county's clock")
    )
    return Trouble(
        SUBJECT,
        "clock_stepped" if off else "clock_differs_from_county",
        f"{zh}与网关时间线相差 {seconds:.0f} 秒，记录仍按原时间线，并已标记。",
        f"{en} stands {seconds:.0f} s from the gateway's time line; records keep the line and are flagged.",
        "请检查时间同步（NTP），然后重启网关。",
        "Check time synchronisation (NTP), then restart the gateway.",
    )


async def watch_standstill(windows: Windows, clock: Clock) -> None:
    """Notice that the whole process stood still (stopped, or its machine paused): it watched nothing."""
    before_ns = clock()
    while True:
        await asyncio.sleep(PROGRESS_S)
        now_ns = clock()
        if now_ns - before_ns > NOT_WATCHING_NS:
            windows.blind(before_ns, now_ns)
            _log.warning("stood still", seconds=round((now_ns - before_ns) / NS_PER_S, 1))
        before_ns = now_ns
