"""The model of a Modbus device profile: points in the maker's own numbering, with what the device needs and tells.

The sheet's numbers are kept (`count_from` is the number it gives to protocol address 0); the loader
shifts them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from collectors.modbus.point import REGISTERS_OF, STATED_RATIOS, Hole, IdentityPoint, Point, RegisterType, Table
from collectors.model import PowerThresholds, Role, Tag
from collectors.profiles.loader import ProfileHeader, load
from collectors.profiles.vocabulary import count_name
from collectors.strict_yaml import StrictModel

_FAST_POLL_S: Final = 2.0
_FAST_LIVENESS_S: Final = 6.0
_LIVENESS_PERIODS: Final = 2.5
_MAX_REGISTERS: Final = 125


class SaysItIs(StrictModel):
    """What device identification (function 43/14) answers for this model: beginnings, in any case."""

    manufacturer: Annotated[str, Field(min_length=2)]
    model: str = ""


class Serial(StrictModel):
    """Factory settings of the serial line; an address may say otherwise."""

    baudrate: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1


class Timing(StrictModel):
    """What the device needs between and around requests, in ms."""

    timeout_ms: Annotated[int, Field(ge=20, le=10_000)] = 500
    request_gap_ms: Annotated[int, Field(ge=0, le=1000)] = 0
    connect_pause_ms: Annotated[int, Field(ge=0, le=5000)] = 0


class Thresholds(StrictModel):
    """State of an old machine from its power, in kW and s (see `PowerThresholds`)."""

    off_below_kw: Annotated[float, Field(gt=0)]
    running_above_kw: Annotated[float, Field(gt=0)]
    hysteresis_kw: Annotated[float, Field(ge=0)]
    dwell_s: Annotated[float, Field(ge=0, le=600)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.off_below_kw + self.hysteresis_kw >= self.running_above_kw:
            raise ValueError(
                "running_above_kw 必须大于 off_below_kw + hysteresis_kw。",
                "running_above_kw must lie above off_below_kw + hysteresis_kw.",
            )
        return self

    def as_model(self) -> PowerThresholds:
        """The same for the gateway."""
        return PowerThresholds(self.off_below_kw, self.running_above_kw, self.hysteresis_kw, self.dwell_s)


class Plausible(StrictModel):
    """A reading that tells the model among strangers: the tag's value lies within `[least, most]`."""

    tag: str
    least: float
    most: float


class ModbusProfile(ProfileHeader):
    """A Modbus device model."""

    protocol: Literal["modbus"]
    count_from: int = 0
    """The number that the sheet gives to protocol address 0."""
    table: Table = "holding"
    every_s: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    gap_limit: Annotated[int, Field(ge=0, le=120)] = 16
    """Registers nobody asked for that may be read along to save a request."""
    max_registers: Annotated[int, Field(ge=1, le=_MAX_REGISTERS)] = _MAX_REGISTERS
    holes: tuple[Hole, ...] = ()
    """Registers within its map that the device refuses, or that have a side effect when read."""
    absent: dict[RegisterType, tuple[float, ...]] = Field(default_factory=dict)
    serial: Serial = Serial()
    timing: Timing = Timing()
    identification: bool = True
    """Whether to ask function 43/14; false for devices that stumble over it."""
    rated_max_per_h: Annotated[float, Field(gt=0)] | None = None
    power_thresholds: Thresholds | None = None
    identity: tuple[IdentityPoint, ...] = ()
    says_it_is: tuple[SaysItIs, ...] = ()
    recognise: tuple[Plausible, ...] = ()
    points: Annotated[tuple[Point, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _points_fit(self) -> Self:
        tags = [point.tag for point in self.points]
        for tag in tags:
            if tags.count(tag) > 1:
                raise ValueError(f"tag {tag} 出现了两次。", f"tag {tag} stands twice.")
        roles = [point.quantity.role for point in self.points if point.quantity.role is not Role.GAUGE]
        for role in roles:
            if roles.count(role) > 1 and role is not Role.QUANTITY:
                raise ValueError(f"有两个 {role} 点，只能有一个。", f"two points of role {role}; one is permitted.")
        for point in self.points:
            address = self.address_of(point)
            if not 0 <= address <= 0xFFFF + 1 - REGISTERS_OF[point.type]:
                raise ValueError(
                    f"{point.tag}：at 减去 count_from 后为 {address}，超出 0 到 65535。",
                    f"{point.tag}: at minus count_from is {address}, outside 0 to 65535.",
                )
        self._check_blocks()
        self._check_factors()
        self._check_holes()
        if self.fastest_s <= _FAST_POLL_S and self.liveness_s > _FAST_LIVENESS_S:
            raise ValueError(
                f"每 {self.fastest_s} s 读取时 liveness_s 最大为 {_FAST_LIVENESS_S}。",
                f"liveness_s is at most {_FAST_LIVENESS_S} when polled every {self.fastest_s} s.",
            )
        if self.liveness_s < 2 * self.fastest_s:
            raise ValueError(
                f"liveness_s 至少为读取周期的两倍（{2 * self.fastest_s}）。",
                f"liveness_s is at least twice the poll period ({2 * self.fastest_s}).",
            )
        if (self.power_thresholds is not None) and Role.POWER not in roles:
            raise ValueError("power_thresholds 需要一个 power 点。", "power_thresholds need a point power.")
        unknown = [plausible.tag for plausible in self.recognise if plausible.tag not in tags]
        if unknown:
            raise ValueError(f"recognise 中的 {unknown[0]} 不是点。", f"{unknown[0]} in recognise is no point.")
        return self

    def _check_blocks(self) -> None:
        for name in {point.block for point in self.points if point.block}:
            members = [point for point in self.points if point.block == name]
            if len({(point.table or self.table, point.every_s or self.every_s) for point in members}) > 1:
                raise ValueError(
                    f"块 {name} 的点必须在同一个表、同一个读取周期。",
                    f"points of block {name} must share one table and one poll period.",
                )
            first = min(point.at for point in members)
            count = max(point.at + REGISTERS_OF[point.type] for point in members) - first
            if count > self.max_registers:
                raise ValueError(
                    f"块 {name} 有 {count} 个寄存器，一次最多读 {self.max_registers} 个。",
                    f"block {name} has {count} registers, one request reads at most {self.max_registers}.",
                )

    def _check_factors(self) -> None:
        """What a value is multiplied by must be read with it, and be a plain number itself."""
        by_tag = {point.tag: point for point in self.points}
        for point in self.points:
            for name in (*point.times, *((point.exponent,) if point.exponent else ())):
                factor = by_tag.get(name)
                if factor is None and name in STATED_RATIOS and name != point.exponent:
                    continue  # stated by the entry
                if factor is None:
                    raise ValueError(
                        f"{point.tag} 引用的 {name} 不是点。", f"{name}, named by {point.tag}, is no point."
                    )
                if factor.times or factor.exponent or factor.type == "bit" or factor.quantity.role is Role.STATE:
                    raise ValueError(
                        f"{name} 被 {point.tag} 用作变比，自己不能再有 times、exponent 或状态。",
                        f"{name} is a factor of {point.tag} and cannot have times, exponent or states itself.",
                    )
                if (factor.every_s or self.every_s) != (point.every_s or self.every_s):
                    raise ValueError(
                        f"{name} 和 {point.tag} 必须用同一个读取周期。",
                        f"{name} and {point.tag} must share one poll period.",
                    )

    def _check_holes(self) -> None:
        for hole in self.holes:
            for point in self.points:
                inside = point.at <= hole.last and point.at + REGISTERS_OF[point.type] > hole.first
                if inside and (point.table or self.table) == (hole.table or self.table):
                    raise ValueError(
                        f"{point.tag} 位于不可读的区间 {hole.first} 到 {hole.last} 内。",
                        f"{point.tag} lies within the hole {hole.first} to {hole.last}.",
                    )

    @property
    def fastest_s(self) -> float:
        """Period of the point that is read most often, in s."""
        return min(point.every_s or self.every_s for point in self.points)

    def address_of(self, point: Point) -> int:
        """The point's protocol address, counted from 0."""
        return point.at - self.count_from

    def absent_of(self, point: Point) -> tuple[float, ...]:
        """Raw values of the point that mean "not there"."""
        return point.absent if point.absent is not None else self.absent.get(point.type, ())

    @cached_property
    def tags(self) -> tuple[Tag, ...]:
        """The device's tags, in the order of the points."""
        return tuple(Tag(p.tag, p.quantity.unit, p.quantity.role, p.wraps_at) for p in self.points)

    @property
    def counters(self) -> dict[str, Point]:
        """What the device can count, by the name under which an entry asks for it."""
        return {count_name(point.quantity): point for point in self.points if point.quantity.carrier}

    @property
    def counted(self) -> tuple[str, ...]:
        """What it counts where the entry says nothing: one name for each carrier."""
        return tuple(name for name, point in self.counters.items() if point.quantity.role is Role.QUANTITY)

    def no_faster_than(self, every_s: float) -> ModbusProfile:
        """The profile with every period at least this long; the liveness follows where it has to."""
        points = tuple(
            point.model_copy(update={"every_s": max(point.every_s or self.every_s, every_s)}) for point in self.points
        )
        fastest_s = min(point.every_s or every_s for point in points)
        liveness_s = (
            max(self.liveness_s, _LIVENESS_PERIODS * fastest_s) if fastest_s > _FAST_POLL_S else self.liveness_s
        )
        return self._changed(points=points, liveness_s=liveness_s)

    def with_ratios(self, stated: Mapping[str, float]) -> ModbusProfile:
        """The profile with the ratios that an entry states worked into its scales."""
        points = []
        for point in self.points:
            times = tuple(name for name in point.times if name not in stated)
            factor = 1.0
            for name in point.times:
                factor *= stated.get(name, 1.0)
            modulus = None if point.modulus is None else point.modulus * factor
            points.append(
                point.model_copy(
                    update={
                        "times": times,
                        "scale": point.scale * factor,
                        "offset": point.offset * factor,
                        "modulus": modulus,
                    }
                )
            )
        return self.with_points(points)

    def with_points(self, points: Sequence[Point]) -> ModbusProfile:
        """The profile with other points."""
        return self._changed(points=tuple(points))

    def _changed(self, **update: object) -> ModbusProfile:
        changed = self.model_copy(update=update)
        changed.__dict__.pop("tags", None)  # cached on the original, of other points
        return changed

    @property
    def ratios_to_state(self) -> tuple[str, ...]:
        """Ratios that only an entry can state: used by points, not readable."""
        tags = {point.tag for point in self.points}
        return tuple(name for name in STATED_RATIOS if name not in tags and any(name in p.times for p in self.points))


def load_modbus(name: str, site_folders: Sequence[Path] = ()) -> ModbusProfile:
    """The Modbus profile of that name. Raises FileError where there is none or it is wrong."""
    return load(name, ModbusProfile, site_folders)
