"""What the command `recompute` asks for, and what it is told."""

from __future__ import annotations

import sqlite3
from datetime import date
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from api.clock import Clock
from api.holes import Key
from api.recompute.plan import Span
from api.recompute.run import RecomputeError, Runner, in_process, recompute
from api.register.database import RegisterMissingError
from api.settings import Settings
from api.store.port import StoreError
from metrics.record import local_day

_EPOCH: Final = date(1970, 1, 1).toordinal()
_YEAR: Final = 365


class RecomputeCommandError(Exception):
    """What cannot be done; the text says why, in Chinese and English."""


class RecomputeCallError(RecomputeCommandError):
    """A call that is wrong whatever the county holds: an option's value is none."""


def recompute_days(
    settings: Settings, clock: Clock, from_day: str, to_day: str, gateways: list[str], scheduler: str
) -> dict[str, Any]:
    """Compute days again; days as `2026-11-23`, empty: a year ago to yesterday. Raises RecomputeCommandError and
    RecomputeCallError."""
    today = int(local_day(clock.now_ns() // 1_000_000_000))
    span = Span(
        _number("--from", from_day) if from_day else today - _YEAR,
        _number("--to", to_day) if to_day else today - 1,
        frozenset(gateways),
    )
    if span.from_day > span.to_day:
        days = f"--from {_text(span.from_day)} --to {_text(span.to_day)}"
        raise RecomputeCallError(f"{days}: 首日不能晚于末日 expected the first day not after the last")
    runner = _runner(scheduler)
    try:
        report = recompute(settings, clock, span, runner)
    except (RecomputeError, RegisterMissingError, StoreError) as error:
        raise RecomputeCommandError(str(error)) from error
    except (SQLAlchemyError, sqlite3.Error, ValueError, OSError) as error:
        raise RecomputeCommandError(f"{type(error).__name__}: {error}") from error
    if gateways and not report:
        raise RecomputeCommandError(
            f"--gateway {', '.join(gateways)}: 这些天没有它们的记录或日指标，请用 plantpulse-county gateway list "
            "核对编号 there is nothing of them in these days: check the ids with plantpulse-county gateway list"
        )
    return {
        "from": _text(span.from_day),
        "to": _text(span.to_day),
        "unchanged": report.unchanged,
        "changed": _listed(report.changed),
        "left_to_service": _listed(report.left_to_service),
        "final": _listed(report.final),
        "without_records": _listed(report.without_records),
    }


def _runner(scheduler: str) -> Runner:
    if scheduler == "in-process":
        return in_process
    if not scheduler.startswith(("tcp://", "tls://")):
        raise RecomputeCallError(
            f"--scheduler {scheduler}: 应为 expected in-process, tcp://host:port or tls://host:port"
        )
    try:
        from api.recompute.on_dask import OnDask
    except ImportError as error:
        raise RecomputeCommandError(
            f"需安装 needs to be installed: pip install 'plantpulse[county,dask]' ({error})"
        ) from error
    return OnDask(scheduler)


def _number(option: str, text: str) -> int:
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH
    except ValueError as error:
        raise RecomputeCallError(f"{option} {text}: 应为日期 expected a day such as 2026-11-23") from error


def _text(day: int) -> str:
    return date.fromordinal(day + _EPOCH).isoformat()


def _listed(keys: list[Key]) -> list[dict[str, str]]:
    return [{"gateway": gateway, "day": _text(day)} for gateway, day in keys]
