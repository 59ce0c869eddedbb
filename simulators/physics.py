"""Machines that behave: shifts, cycles, faults, power that follows the state, counters that follow power.

A machine's day is a table of pieces of 5 s, drawn once from (seed, machine id, day): state, power and
water flow of each piece and the parts finished at its end. Every counter is a sum over that table, so
the value at any time is found without stepping, a month is made in milliseconds, and history and the
live plant continue one another exactly. Days are days in Asia/Shanghai (UTC+8).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

PIECE_S: Final = 5
DAY_S: Final = 86_400
PIECES: Final = DAY_S // PIECE_S
LOCAL_OFFSET_S: Final = 8 * 3600
STATES: Final = ("running", "idle", "fault", "off")
_RUNNING, _IDLE, _FAULT, _OFF = range(4)
_MAX_DAYS_KEPT: Final = 3
_DAY_ZERO: Final = date(1970, 1, 1)

Floats = NDArray[np.float64]
Pattern = Literal["two-shifts", "always"]

_SHIFTS_H: Final = ((8.0, 17.0), (17.5, 25.5))
"""Two shifts in local hours; the second ends at 01:30 of the next day."""
_BREAKS_H: Final = ((12.0, 12.75), (21.0, 21.5))


@dataclass(frozen=True, slots=True)
class Traits:
    """What is typical of a kind of machine. Powers in kW, times in s, flow in m³/h."""

    cycle_s: tuple[int, int]
    gap_s: tuple[int, int]
    running_kw: float
    idle_kw: float
    off_kw: float
    parts_per_cycle: int = 1
    flow_m3_h: float = 0.0
    power_factor: float = 0.86
    faults_per_day: float = 0.7


TRAITS: Final[dict[str, Traits]] = {
    "cnc": Traits((60, 140), (15, 40), 9.5, 1.8, 0.15),
    "robot": Traits((20, 40), (5, 20), 2.6, 0.6, 0.08),
    "moulding": Traits((30, 45), (5, 15), 21.0, 4.2, 0.3, parts_per_cycle=4, power_factor=0.82),
    "lathe-meter": Traits((150, 400), (30, 120), 4.6, 0.75, 0.0, power_factor=0.78),
    "edm": Traits((300, 900), (20, 60), 3.8, 0.9, 0.1),
    "stamping": Traits((5, 10), (5, 5), 11.0, 2.4, 0.1, parts_per_cycle=2),
    "assembly": Traits((25, 50), (5, 20), 1.2, 0.35, 0.05),
    "meter-electricity": Traits(
        (600, 1800), (60, 300), 14.0, 11.0, 6.0, parts_per_cycle=0, faults_per_day=0.0, power_factor=0.91
    ),
    "meter-water": Traits((120, 600), (60, 300), 0.0, 0.0, 0.0, parts_per_cycle=0, flow_m3_h=1.9, faults_per_day=0.0),
}


@dataclass(frozen=True, slots=True)
class _Day:
    """One local day of a machine as columns of PIECES rows; cumulated columns have one row more."""

    state: NDArray[np.int8]
    power_kw: Floats
    energy_kwh: Floats
    water_m3: Floats
    parts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windows:
    """A machine's windows as columns of n rows; counters have n + 1 rows: one per edge."""

    start_s: NDArray[np.int64]
    running_s: Floats
    idle_s: Floats
    fault_s: Floats
    off_s: Floats
    energy_kwh: Floats
    energy_not_running_kwh: Floats
    """Energy of each window while on and not running (n rows)."""
    water_m3: Floats
    parts: NDArray[np.int64]


def local_day(at_s: float) -> int:
    """Number of the Asia/Shanghai day that holds a UTC time in s."""
    return int((at_s + LOCAL_OFFSET_S) // DAY_S)


def day_start_s(day: int) -> int:
    """UTC time in s at which the Asia/Shanghai day number `day` begins."""
    return day * DAY_S - LOCAL_OFFSET_S


def local_date(at_s: float) -> date:
    """The Asia/Shanghai day that holds a UTC time in s, as a date."""
    return _DAY_ZERO + timedelta(days=local_day(at_s))


def date_start_s(day: date) -> int:
    """UTC time in s at which a day of Asia/Shanghai begins."""
    return day_start_s((day - _DAY_ZERO).days)


class Machine:
    """One simulated machine: deterministic given its seed and the times it is advanced to.

    Parameters: `machine_id`, `kind` (a key of TRAITS); `seed`; `origin_s`: the local day that holds this
    UTC time begins with the counters at their starting values (default: the day of the first
    `advance`); `pattern` of the days before `always_from_s`, from whose day on the machine works at
    every hour; starting values of the counters.
    """

    def __init__(
        self,
        machine_id: str,
        kind: str,
        *,
        seed: int = 1,
        origin_s: float | None = None,
        pattern: Pattern = "always",
        always_from_s: float | None = None,
        start_energy_kwh: float = 0.0,
        start_parts: int = 0,
        start_water_m3: float = 0.0,
        manufacturer: str = "",
        model: str = "",
        serial: str = "",
        product_uri: str = "",
    ) -> None:
        if kind not in TRAITS:
            raise ValueError(f"kind {kind!r}: one of {', '.join(TRAITS)}")
        self.id = machine_id
        self.kind = kind
        self.manufacturer = manufacturer
        self.model = model
        self.serial = serial
        self.product_uri = product_uri
        self.state: str = "idle"
        self.power_kw = 0.0
        self.energy_kwh = start_energy_kwh
        self.parts = start_parts
        self.water_m3 = start_water_m3
        self.voltage_v: tuple[float, float, float] = (230.0, 230.0, 230.0)
        self.current_a: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._traits = TRAITS[kind]
        self._seed = seed
        self._pattern: Pattern = pattern
        self._always_from_day = None if always_from_s is None else local_day(always_from_s)
        self._start = (start_energy_kwh, start_parts, start_water_m3)
        self._origin_day = None if origin_s is None else local_day(origin_s)
        self._bases: list[tuple[float, int, float]] = []
        self._days: dict[int, _Day] = {}
        self._time_s: float | None = None
        self._lag_s = 0.0
        self._held = False
        self._phase = np.random.default_rng([seed, zlib.crc32(machine_id.encode()), 7]).uniform(0, 2 * np.pi, 3)

    def advance(self, now_s: float) -> None:
        """Bring every value to `now_s` (s UTC). Earlier times than the last one change nothing."""
        if self._held and self._time_s is not None:
            self._lag_s = max(self._lag_s, now_s - self._time_s)
            return
        time_s = now_s - self._lag_s
        if self._time_s is not None and time_s <= self._time_s:
            return
        self._time_s = time_s
        number = local_day(time_s)
        day = self._day(number)
        energy_kwh, parts, water_m3 = self._base(number)
        into_s = time_s - day_start_s(number)
        piece = min(int(into_s // PIECE_S), PIECES - 1)
        share = into_s / PIECE_S - piece
        self.state = STATES[int(day.state[piece])]
        self.power_kw = float(day.power_kw[piece])
        self.energy_kwh = energy_kwh + _between(day.energy_kwh, piece, share)
        self.water_m3 = water_m3 + _between(day.water_m3, piece, share)
        self.parts = parts + int(day.parts[piece])
        self._set_phases(time_s)

    def hold(self) -> None:
        """Stand still: no value changes until `release`."""
        self._held = True

    def release(self) -> None:
        """Go on from where the machine stood."""
        self._held = False

    @property
    def held(self) -> bool:
        """Whether the machine stands still by order."""
        return self._held

    def windows(self, start_s: int, end_s: int, length_s: int) -> Windows:
        """What the machine did in each window of `[start_s, end_s)`, as if never held.

        `start_s` and `end_s` are local midnights in s UTC; `length_s` divides a day and is a multiple
        of 5. Raises ValueError for other values or times before the machine's origin.
        """
        if length_s % PIECE_S or DAY_S % length_s or any((t + LOCAL_OFFSET_S) % DAY_S for t in (start_s, end_s)):
            raise ValueError("windows are multiples of 5 s that divide a day, from local midnight to local midnight")
        step = length_s // PIECE_S
        days = range(local_day(start_s), local_day(end_s))
        seconds: list[Floats] = []
        energy: list[Floats] = []
        waste: list[Floats] = []
        water: list[Floats] = []
        parts: list[NDArray[np.int64]] = []
        for number in days:
            base = self._base(number)
            day = self._day(number)
            by_window = day.state.reshape(-1, step)
            seconds.append(np.stack([(by_window == s).sum(axis=1) * float(PIECE_S) for s in range(4)]))
            kwh = np.diff(day.energy_kwh)
            on_not_running = (day.state == _IDLE) | (day.state == _FAULT)
            waste.append(np.where(on_not_running, kwh, 0.0).reshape(-1, step).sum(axis=1))
            energy.append(base[0] + day.energy_kwh[:-1:step])
            parts.append(base[1] + day.parts[:-1:step])
            water.append(base[2] + day.water_m3[:-1:step])
        last = self._base(local_day(end_s))
        states = np.concatenate(seconds, axis=1) if seconds else np.zeros((4, 0))
        return Windows(
            start_s=np.arange(start_s, end_s, length_s, dtype=np.int64),
            running_s=states[_RUNNING],
            idle_s=states[_IDLE],
            fault_s=states[_FAULT],
            off_s=states[_OFF],
            energy_kwh=np.concatenate([*energy, [last[0]]]),
            energy_not_running_kwh=np.concatenate(waste) if waste else np.zeros(0),
            water_m3=np.concatenate([*water, [last[2]]]),
            parts=np.concatenate([*parts, [last[1]]]).astype(np.int64),
        )

    def _set_phases(self, time_s: float) -> None:
        """Voltages sway a few volts, each phase by itself; currents carry the power, not quite evenly."""
        sway = np.sin(time_s / np.array([611.0, 733.0, 857.0]) + self._phase)
        volts = 231.0 + np.array([0.0, -1.3, 1.9]) + 2.4 * sway
        shares = np.array([0.352, 0.331, 0.317])
        amps = self.power_kw * 1000.0 * shares / (volts * self._traits.power_factor)
        self.voltage_v = (float(volts[0]), float(volts[1]), float(volts[2]))
        self.current_a = (float(amps[0]), float(amps[1]), float(amps[2]))

    def _base(self, number: int) -> tuple[float, int, float]:
        """Energy in kWh, parts and water in m³ at the start of a local day."""
        if self._origin_day is None:
            self._origin_day = number
        if number < self._origin_day:
            raise ValueError(f"machine {self.id}: day {number} lies before its origin {self._origin_day}")
        if not self._bases:
            self._bases.append(self._start)
        while len(self._bases) <= number - self._origin_day:
            day = self._day(self._origin_day + len(self._bases) - 1)
            energy_kwh, parts, water_m3 = self._bases[-1]
            self._bases.append(
                (
                    energy_kwh + float(day.energy_kwh[-1]),
                    parts + int(day.parts[-1]),
                    water_m3 + float(day.water_m3[-1]),
                )
            )
        return self._bases[number - self._origin_day]

    def _day(self, number: int) -> _Day:
        if number not in self._days:
            while len(self._days) >= _MAX_DAYS_KEPT:
                del self._days[min(self._days)]
            always = self._pattern == "always" or (
                self._always_from_day is not None and number >= self._always_from_day
            )
            rng = np.random.default_rng([self._seed, zlib.crc32(self.id.encode()), number])
            self._days[number] = _draw_day(rng, self._traits, number, always=always)
        return self._days[number]


class PlantMeter(Machine):
    """A main meter: its own load (light, air, cooling) and everything that the members draw."""

    def __init__(
        self, machine_id: str, members: Sequence[Machine], *, kind: str = "meter-electricity", **given: object
    ):
        super().__init__(machine_id, kind, **given)  # type: ignore[arg-type]
        self._members = tuple(members)
        self._member_start_kwh = sum(m.energy_kwh for m in self._members)

    def advance(self, now_s: float) -> None:
        """As a machine; the members are brought to `now_s` too."""
        for member in self._members:
            member.advance(now_s)
        if self._held:
            super().advance(now_s)
            return
        before_s = self._time_s
        super().advance(now_s)
        if self._time_s == before_s:
            return
        number = local_day(self._time_s or now_s)
        into_s = (self._time_s or now_s) - day_start_s(number)
        piece = min(int(into_s // PIECE_S), PIECES - 1)
        day = self._day(number)
        own_kwh = self._base(number)[0] + _between(day.energy_kwh, piece, into_s / PIECE_S - piece)
        self.energy_kwh = own_kwh + sum(m.energy_kwh for m in self._members) - self._member_start_kwh
        self.power_kw = float(day.power_kw[piece]) + sum(m.power_kw for m in self._members)
        self._set_phases(self._time_s or now_s)

    def windows(self, start_s: int, end_s: int, length_s: int) -> Windows:
        """As a machine, with the members' energy."""
        own = super().windows(start_s, end_s, length_s)
        energy_kwh = own.energy_kwh - self._member_start_kwh
        for member in self._members:
            energy_kwh = energy_kwh + member.windows(start_s, end_s, length_s).energy_kwh
        return Windows(
            start_s=own.start_s,
            running_s=own.running_s,
            idle_s=own.idle_s,
            fault_s=own.fault_s,
            off_s=own.off_s,
            energy_kwh=energy_kwh,
            energy_not_running_kwh=own.energy_not_running_kwh,
            water_m3=own.water_m3,
            parts=own.parts,
        )


def _between(cumulated: Floats, piece: int, share: float) -> float:
    """Value of a cumulated column `share` (0 to 1) into a piece."""
    return float(cumulated[piece] + (cumulated[piece + 1] - cumulated[piece]) * share)


def _draw_day(rng: np.random.Generator, traits: Traits, number: int, *, always: bool) -> _Day:
    """Draw one local day: cycles, then what interrupts them, then power and counters from both."""
    state, finished = _draw_cycles(rng, traits)
    if not always:
        on_shift = _hours_mask(_SHIFTS_H)
        weekday = (number + 3) % 7  # day 0 was a Thursday: 0 is Monday
        if weekday == 6:
            on_shift[:] = False
        state[_hours_mask(_BREAKS_H)] = _IDLE
        _interrupt(rng, state, _IDLE, mean=4.0, minutes=(8, 45))
        _interrupt(rng, state, _FAULT, mean=traits.faults_per_day, minutes=(5, 50))
        state[~on_shift] = _OFF
    else:
        # short and often, so that a visitor of a few minutes sees states change
        _interrupt(rng, state, _IDLE, mean=70.0, minutes=(1, 4))
        _interrupt(rng, state, _FAULT, mean=24.0 * min(traits.faults_per_day, 1.0), minutes=(1, 3))
    level = np.array([traits.running_kw, traits.idle_kw, 0.8 * traits.idle_kw, traits.off_kw])
    power_kw = np.clip(level[state] * rng.normal(1.0, 0.035, PIECES), 0.0, None)
    flow = np.where(state == _RUNNING, traits.flow_m3_h, 0.04 * traits.flow_m3_h) * rng.uniform(0.7, 1.3, PIECES)
    finished[state != _RUNNING] = 0
    return _Day(
        state=state,
        power_kw=power_kw,
        energy_kwh=np.concatenate([[0.0], np.cumsum(power_kw) * (PIECE_S / 3600.0)]),
        water_m3=np.concatenate([[0.0], np.cumsum(flow) * (PIECE_S / 3600.0)]),
        parts=np.concatenate([[0], np.cumsum(finished)]).astype(np.int64),
    )


def _draw_cycles(rng: np.random.Generator, traits: Traits) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """State of each piece when nothing interrupts, and the parts finished at each piece's end."""
    most = PIECES // 2 + 1
    run = rng.integers(traits.cycle_s[0] // PIECE_S, traits.cycle_s[1] // PIECE_S + 1, most)
    gap = rng.integers(traits.gap_s[0] // PIECE_S, traits.gap_s[1] // PIECE_S + 1, most)
    lengths = np.stack([run, gap], axis=1).ravel()
    state = np.repeat(np.tile(np.array([_RUNNING, _IDLE], np.int8), most), lengths)[:PIECES].copy()
    ends = np.cumsum(lengths)[::2] - 1
    finished = np.zeros(PIECES, np.int64)
    finished[ends[ends < PIECES]] = traits.parts_per_cycle
    return state, finished


def _hours_mask(spans_h: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Pieces within spans of local hours; a span past 24 h wraps to the day's beginning."""
    hour = np.arange(PIECES) * (PIECE_S / 3600.0)
    inside = np.zeros(PIECES, np.bool_)
    for first, last in spans_h:
        inside |= (hour >= first) & (hour < last)
        inside |= hour < last - 24.0
    return inside


def _interrupt(
    rng: np.random.Generator, state: NDArray[np.int8], value: int, *, mean: float, minutes: tuple[float, float]
) -> None:
    """Lay a Poisson number of interruptions of `minutes` length over a day."""
    for _ in range(int(rng.poisson(mean))):
        first = int(rng.integers(0, PIECES))
        state[first : first + int(rng.uniform(*minutes) * 60 / PIECE_S)] = value
