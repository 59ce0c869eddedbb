"""What people are told of the clock, and how a process notices that it stood still."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from collectors.model import Trouble
from gateway.clock import NS_PER_S, STEP_NOTICED_NS, TimeLine
from gateway.dating import Dating
from gateway.windows import NO_FLAGS, Windows

SUBJECT: Final = "clock"
PROGRESS_S: Final = 1.0
NOT_WATCHING_NS: Final = 5 * NS_PER_S
"""A progress tick that comes this late shows that the process stood still: it watched nothing meanwhile."""
UNKNOWN_TOLD_NS: Final = 60 * NS_PER_S
"""How long the time may be unknown before people are told."""
_log = structlog.get_logger("gateway")


def trouble(clock: TimeLine, dating: Dating) -> Trouble:
    """The time line may be wrong; a closed trouble where nothing says so."""
    if not dating.is_known and clock.monotonic_ns() - dating.started_ns > UNKNOWN_TOLD_NS:
        return Trouble(
            SUBJECT,
            "time_not_known",
            "既没有 NTP 也没有县级服务确认时间。记录照常保存，时间确定后补上日期再发送。",
            "neither NTP nor the county has confirmed the time. Records are kept; they get their dates, "
            "and are sent, when the time is known.",
            "请检查网络和时间同步（NTP）。",
            "Check the network and time synchronisation (NTP).",
        )
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
        f"{zh}与网关时间线相差 {seconds:.0f} 秒，NTP 或县级时钟确认之前，记录仍按原时间线，并已标记。",
        f"{en} stands {seconds:.0f} s from the gateway's time line; until NTP or the county confirms it, records keep "
        "the line and are flagged.",
        "请检查时间同步（NTP）。",
        "Check time synchronisation (NTP).",
    )


async def watch_standstill(windows: Windows, clock: TimeLine) -> None:
    """Notice that the whole process stood still (stopped, or its machine paused): it watched nothing."""
    before_ns = clock.steady()
    while True:
        await asyncio.sleep(PROGRESS_S)
        stood_ns = clock.steady() - before_ns
        if stood_ns > NOT_WATCHING_NS:
            now_ns = clock()
            windows.blind(now_ns - stood_ns, now_ns)
            _log.warning("stood still", seconds=round(stood_ns / NS_PER_S, 1))
        before_ns += stood_ns
