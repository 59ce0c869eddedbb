"""Targets of a plan: the path from base to target, completion, and status from both ends of an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

PathMethod = Literal["linear", "compound", "yearly", "none"]
"""linear: shares, counts, index. compound: money. yearly: a figure typed in per year. none: no target."""

Comparator = Literal[">=", ">", "<=", "<", "=", "~"]


class Status(StrEnum):
    """Progress towards a target; the value is the Chinese label."""

    REACHED = "已完成"
    ON_TRACK = "正常"
    SLOW = "偏慢"
    BEHIND = "滞后"
    REVERSED = "倒退"
    CANNOT_TELL = "无法判断"
    NO_TARGET = "无目标"


@dataclass(frozen=True, slots=True)
class Target:
    """A row of a plan: from `base` in `base_year` to `target` in `target_year`."""

    method: PathMethod
    base_year: int | None = None
    base: float | None = None
    target_year: int | None = None
    target: float | None = None
    comparator: Comparator = ">="
    direction: Literal["up", "down"] = "up"
    yearly: Mapping[int, float] = field(default_factory=dict)
    tolerance: float = 0.05
    """Share of the target by which a value meets a target with the comparator ~ (左右)."""


def required(target: Target, year: float) -> float | None:
    """Where the path stands at `year` (2023.5: half-way through); None without a path there."""
    raise NotImplementedError


def completion(target: Target, value: float | None, year: float) -> float | None:
    """Progress made over progress due at `year`, 1: exactly on the path; None where it cannot be said.

    linear: ((a−b)/(T−b)) / ((t−t0)/(T−t0)). compound: the same of logarithms. yearly: value over the typed figure
    (up) or the typed figure over the value (down).
    """
    raise NotImplementedError


def status(target: Target, lower: float | None, upper: float | None, year: float) -> Status:
    """Status of the interval [lower, upper] at `year`: the one that both ends have, else CANNOT_TELL.

    Reached, else by completion: at least 0.95 on track, 0.60 slow, 0 behind, below 0 reversed.
    """
    raise NotImplementedError


def settling_width(target: Target, lower: float, upper: float, year: float) -> float | None:
    """How much of the interval must go until both ends have one status; 0 where they have; None without a target."""
    raise NotImplementedError
