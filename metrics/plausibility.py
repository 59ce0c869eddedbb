"""Is this believable? Checks that find what records and registers say and machines cannot do.

A finding is a question to a person, with its severity and reason; it changes no figure. Each check speaks once per
device, enterprise or asset, of the worst it saw. Limits are set so that a healthy plant raises none: what a
meter's resolution, an outage, a break or a holiday explains is never a finding, and an energy counted over a
long span is judged by that span.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.record import TENTHS_PER_S, UNKNOWN_READING, Flag, Records
from metrics.timeline import Windows, windows


class Severity(IntEnum):
    """How much a finding matters; `label` has the words."""

    INFO = 0
    WARNING = 1
    ERROR = 2

    @property
    def label(self) -> Reason:
        """The severity in both languages."""
        return (Reason("提示", "note"), Reason("待核", "to be checked"), Reason("错误", "error"))[self]


class Check(StrEnum):
    """What was looked at."""

    FLAT_LINE = "flat-line"
    STUCK_COUNTER = "stuck-counter"
    IMPOSSIBLE_JUMP = "impossible-jump"
    ENERGY_AGAINST_STATE = "energy-against-state"
    RATE_ABOVE_REGISTER = "rate-above-register"
    CNC_NOT_IDENTIFIED = "cnc-not-identified"


class Reason(NamedTuple):
    """A text in both languages."""

    zh: str
    en: str


class Finding(NamedTuple):
    """One thing that is hard to believe."""

    check: Check
    severity: Severity
    row: int
    """Row of the device, enterprise or asset in the caller's table."""
    from_s: int
    to_s: int
    """When, s UTC; -1 where it is not about a time."""
    measured: float
    limit: float
    """What was found, and what would have been believable, in the unit that the reason names."""
    reason: Reason


UNKNOWN: Final = -1
"""A rated maximum, or a number on a form, that is not known."""

FLAT_S: Final = 4 * 3600
FLAT_WINDOWS: Final = 60
FLAT_STEPS: Final = 50
"""A load of so many of the counter's steps a window never counts the same for FLAT_S and so many windows: the mains
voltage alone moves it by more than 1 %."""

STUCK_S: Final = 1800
STUCK_SILENT_S: Final = 4 * 3600
STUCK_STEPS: Final = 10
"""A counter stands still though the machine ran STUCK_S and should have counted so many steps; or ran STUCK_SILENT_S
and it never moved at all."""

ABOVE_RATED: Final = 1.2
ABOVE_USUAL: Final = 8.0
ABOVE_ANY: Final = 1000.0
"""A jump: above the rated maximum by so much; without one, above the fifth largest rate while running; where the
state is not known either, above the fifth largest of all."""

SUSTAINED: Final = 1.05
SUSTAINED_HOURS: Final = 3
"""More than the register allows: an hour's mean above its rated maximum by so much, in half of the hour's windows or in
so many hours."""

LEAST_WINDOWS: Final = 60
LEAST_CORRELATION: Final = 0.2
OFF_OVER_RUNNING: Final = 0.5
"""Energy follows the state: it correlates with the running time of a window by so much, and off takes less than this
share of running."""

CLAIM_DAYS: Final = 30
"""A machine that answered on so many days had its chance to say that it is a CNC."""

_NTH: Final = 5
_LARGEST_STEP: Final = 1000  # 1 kWh or 1 m³: no counter is coarser
_S_PER_H: Final = 3600
_THOUSANDTHS: Final = 1000


@dataclass(frozen=True, slots=True)
class Devices:
    """What is known of devices. Arrays of length d."""

    rated_max: NDArray[np.int64]
    """Largest rate that the register or the profile allows, 0.001 unit per hour; UNKNOWN."""
    is_energy: NDArray[np.bool_]
    """Whether the quantity is the energy of the machine whose state the device tells (not of a whole hall)."""

    def __len__(self) -> int:
        return len(self.rated_max)


def check_records(records: Records, position: NDArray[np.int64] | None, devices: Devices) -> list[Finding]:
    """Every check on records, by device; `records` of any days as `metrics.days.day_states` takes them.

    Raises ValueError for a device outside the table.
    """
    w = windows(records, position)
    if len(w) == 0:
        return []
    if int(w.device[-1]) >= len(devices):
        raise ValueError(f"device {int(w.device[-1])}, the table has {len(devices)}")
    seen = _Seen(w, devices)
    sustained = list(_sustained(seen))
    too_large = {finding.row for finding in sustained}
    found = [
        *_flat_lines(seen),
        *_stuck(seen, "quantity"),
        *_stuck(seen, "parts"),
        *(finding for finding in _jumps(seen) if finding.row not in too_large),
        *_readings(seen),
        *_parts_jumps(seen),
        *sustained,
        *_energy_against_state(seen),
    ]
    return sorted(_worst(found), key=lambda f: (f.row, f.check))


def _worst(found: Iterable[Finding]) -> list[Finding]:
    worst: dict[tuple[int, Check], Finding] = {}
    for finding in found:
        key = (finding.row, finding.check)
        if key not in worst or finding.severity > worst[key].severity:
            worst[key] = finding
    return list(worst.values())


class _Seen:
    """Windows by device, with what several checks need."""

    def __init__(self, w: Windows, devices: Devices):
        self.w = w
        self.devices = devices
        first = w.first_of_device()
        self.heads = np.flatnonzero(first)
        self.device = w.device[self.heads]
        self.counts = np.diff(self.heads, append=len(w))
        self.group = np.repeat(np.arange(len(self.heads)), self.counts)
        """Place of each window's device in `device`."""
        self.joins = np.zeros(len(w), np.bool_)
        self.end_s = w.end_s
        self.joins[1:] = ~first[1:] & (w.start_s[1:] == self.end_s[:-1])
        """Whether a window begins where the one before it ended."""
        self.counted = w.span_s > 0
        self.rate = np.zeros(len(w))
        np.divide(w.quantity * float(_S_PER_H), w.span_s, out=self.rate, where=self.counted)
        """0.001 unit per hour."""
        self.divisor = np.gcd.reduceat(w.quantity, self.heads)
        self.step = np.clip(self.divisor, 1, _LARGEST_STEP)
        """Smallest step of each device's counter, as far as its quantities show it."""
        self.rated = devices.rated_max[self.device]

    def by_device(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.add.reduceat(values, self.heads))

    def nth_largest(self, values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The _NTH largest chosen value of each device; NaN where fewer are chosen."""
        out = np.full(len(self.heads), np.nan)
        rows = np.flatnonzero(chosen)
        group = self.group[rows]
        order = np.lexsort((values[rows], group))
        ends = np.searchsorted(group, np.arange(len(self.heads)), side="right")
        begins = np.searchsorted(group, np.arange(len(self.heads)))
        enough = ends - begins >= _NTH
        out[enough] = values[rows][order][ends[enough] - _NTH]
        return out

    def runs(self, chosen: NDArray[np.bool_], same: NDArray[np.bool_] | None = None) -> tuple[Any, Any]:
        """First rows and lengths of unbroken runs of chosen windows; `same`: a row goes on with the one before."""
        goes_on = self.joins & chosen
        goes_on[1:] &= chosen[:-1]
        if same is not None:
            goes_on &= same
        heads = np.flatnonzero(chosen & ~goes_on)
        if not len(heads):
            return heads, heads
        edges = np.flatnonzero(~goes_on)
        return heads, np.append(edges, len(chosen))[np.searchsorted(edges, heads) + 1] - heads


def _flat_lines(seen: _Seen) -> Iterable[Finding]:
    w = seen.w
    chosen = seen.counted & (w.quantity >= FLAT_STEPS * seen.step[seen.group])
    # Of a value frozen all the time the step cannot be seen: then a power of ten is taken for it.
    constant = np.maximum.reduceat(w.quantity, seen.heads) == seen.divisor
    decimal = np.select([seen.divisor % 1000 == 0, seen.divisor % 100 == 0, seen.divisor % 10 == 0], [1000, 100, 10], 1)
    chosen |= seen.counted & constant[seen.group] & (w.quantity >= FLAT_STEPS * decimal[seen.group])
    same = np.zeros(len(w), np.bool_)
    same[1:] = (w.quantity[1:] == w.quantity[:-1]) & (w.span_s[1:] == w.span_s[:-1])
    heads, counts = seen.runs(chosen, same)
    lasts = heads + counts - 1
    lengths_s = seen.end_s[lasts] - w.start_s[heads]
    long = (lengths_s >= FLAT_S) & (counts >= FLAT_WINDOWS)
    for head, last, length_s in zip(heads[long].tolist(), lasts[long].tolist(), lengths_s[long].tolist(), strict=True):
        running = w.running[head : last + 1]
        moved = int(running.max()) - int(running.min()) > int(w.length[head]) // 2
        hours = length_s / _S_PER_H
        yield Finding(
            Check.FLAT_LINE, Severity.ERROR if moved else Severity.WARNING, int(w.device[head]),
            int(w.start_s[head]), int(seen.end_s[last]), hours, FLAT_S / _S_PER_H,
            Reason(
                f"连续 {hours:.1f} 小时每个窗口的读数增量完全相同({w.quantity[head] / _THOUSANDTHS:g}),"
                + ("期间设备状态却有变化。" if moved else "真实负荷不会如此平直。"),
                f"for {hours:.1f} h every window counted exactly {w.quantity[head] / _THOUSANDTHS:g}"
                + (", though the machine's state changed." if moved else "; no real load is so steady."),
            ),
        )  # fmt: skip


def _stuck(seen: _Seen, counter: str) -> Iterable[Finding]:
    """A counter that stands still while the machine runs."""
    w = seen.w
    values = w.quantity if counter == "quantity" else w.parts
    step = seen.step if counter == "quantity" else np.ones(len(seen.heads), np.int64)
    known = seen.counted if counter == "quantity" else w.connected > 0
    totals, running = seen.by_device(values), seen.by_device(np.where(known, w.running, 0))
    heads, counts = seen.runs(known & (values == 0))
    if not len(heads):
        return
    cumulated = np.concatenate((np.zeros(1, np.int64), np.cumsum(w.running)))
    ran = cumulated[heads + counts] - cumulated[heads]
    group = seen.group[heads]
    # By the mean over all its running time, standstill included: too little rather than too much.
    expected = np.zeros(len(heads))
    np.divide(totals[group] * ran.astype(np.float64), running[group], out=expected, where=running[group] > 0)
    moves = totals[group] > 0
    least_s = np.where(moves, STUCK_S, STUCK_SILENT_S)
    stuck = (ran >= least_s * TENTHS_PER_S) & (~moves | (expected >= STUCK_STEPS * step[group]))
    if counter == "parts":
        stuck &= moves  # a machine that counts no parts at all has no such counter
    else:
        stuck &= seen.devices.is_energy[seen.device[group]]
    what = (
        Reason("电能计量", "the energy counter") if counter == "quantity" else Reason("产量计数", "the parts counter")
    )
    for i in np.flatnonzero(stuck).tolist():
        head, last = int(heads[i]), int(heads[i] + counts[i] - 1)
        hours = float(ran[i]) / TENTHS_PER_S / _S_PER_H
        yield Finding(
            Check.STUCK_COUNTER, Severity.ERROR if counter == "quantity" else Severity.WARNING, int(w.device[head]),
            int(w.start_s[head]), int(seen.end_s[last]), hours, float(least_s[i]) / _S_PER_H,
            Reason(
                f"设备加工了 {hours:.1f} 小时,{what.zh}没有走动。",
                f"the machine ran {hours:.1f} h and {what.en} stood still.",
            ),
        )  # fmt: skip


def _jumps(seen: _Seen) -> Iterable[Finding]:
    """Rates that no machine of this size has."""
    w = seen.w
    # One step of a coarse counter looks like a large rate: it may have been due long before.
    surely = np.zeros(len(w))
    above_step = np.maximum(w.quantity - seen.step[seen.group], 0) * float(_S_PER_H)
    np.divide(above_step, w.span_s, out=surely, where=seen.counted)
    running = seen.counted & (w.running > 0)
    usual = seen.nth_largest(seen.rate, running)
    often = seen.by_device(running) >= LEAST_WINDOWS // 2
    any_rate = seen.nth_largest(seen.rate, seen.counted)
    own_limit = np.where(often & (usual > 0), ABOVE_USUAL * usual, ABOVE_ANY * any_rate)
    own_limit = np.where(own_limit > 0, own_limit, np.inf)
    rated = seen.rated >= 0
    limit = np.where(rated, ABOVE_RATED * seen.rated, own_limit)
    above = np.flatnonzero(surely > limit[seen.group])
    for i in _largest(above, surely, seen.group).tolist():
        group = int(seen.group[i])
        measured, most = float(surely[i]) / _THOUSANDTHS, float(limit[group]) / _THOUSANDTHS
        known = bool(rated[group])
        yield Finding(
            Check.IMPOSSIBLE_JUMP, Severity.ERROR if known else Severity.WARNING, int(w.device[i]),
            int(seen.end_s[i] - w.span_s[i]), int(seen.end_s[i]), measured, most,
            Reason(
                f"计数突跳:折合每小时 {measured:.1f},{'额定上限' if known else '平时最大值'}只允许 {most:.1f}。",
                f"the counter jumped: {measured:.1f} an hour, where"
                f" {'the rated maximum' if known else 'what is usual'} allows {most:.1f}.",
            ),
        )  # fmt: skip


def _largest(rows: NDArray[np.int64], values: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each group's rows the one with the largest value."""
    if not len(rows):
        return rows
    order = rows[np.lexsort((values[rows], group[rows]))]
    last = np.ones(len(order), np.bool_)
    last[:-1] = group[order][1:] != group[order][:-1]
    return order[last]


def _readings(seen: _Seen) -> Iterable[Finding]:
    """Readings that fall, or move by less than was counted between them."""
    w = seen.w
    known = np.flatnonzero(w.reading != UNKNOWN_READING)
    if len(known) < 2:
        return
    a, b = known[:-1], known[1:]
    excused = np.cumsum((w.flags & int(Flag.COUNTER_RESET | Flag.COUNTER_REPLACED | Flag.ESTIMATED)) != 0)
    pair = (w.device[a] == w.device[b]) & (excused[b] - excused[a] == 0)
    moved = w.reading[b] - w.reading[a]
    total = np.cumsum(w.quantity)
    counted = total[b] - total[a]
    fell = pair & (moved < 0)
    tolerance = 2 * seen.step[seen.group[b]] + counted // 1000
    more = pair & ~fell & (counted > moved + tolerance)
    for chosen in (fell, more):
        rows = np.flatnonzero(chosen)
        for i in _largest(rows, np.abs(moved - counted).astype(np.float64), seen.group[b]).tolist():
            measured, limit = float(moved[i]) / _THOUSANDTHS, float(counted[i]) / _THOUSANDTHS
            yield Finding(
                Check.IMPOSSIBLE_JUMP, Severity.ERROR, int(w.device[b[i]]),
                int(seen.end_s[a[i]]), int(seen.end_s[b[i]]), measured, limit,
                Reason(
                    f"表计读数变化 {measured:.3f},期间累计却为 {limit:.3f},且没有换表或清零标记。",
                    f"the reading moved by {measured:.3f} while {limit:.3f} was counted, and no reset or replacement"
                    " was reported.",
                ),
            )  # fmt: skip


def _parts_jumps(seen: _Seen) -> Iterable[Finding]:
    w = seen.w
    rate = np.zeros(len(w))
    np.divide(w.parts * float(_S_PER_H * TENTHS_PER_S), w.length, out=rate)
    some = w.parts > 0
    usual = seen.nth_largest(rate, some)
    enough = (seen.by_device(some) >= LEAST_WINDOWS // 2) & (usual > 0)
    limit = np.where(enough, ABOVE_USUAL * usual, np.inf)
    # A few pieces more than usual are chance, not a jump.
    above = np.flatnonzero((rate > limit[seen.group]) & (w.parts >= 100))
    for i in _largest(above, rate, seen.group).tolist():
        measured, most = float(rate[i]), float(limit[seen.group[i]])
        yield Finding(
            Check.IMPOSSIBLE_JUMP, Severity.WARNING, int(w.device[i]),
            int(w.start_s[i]), int(seen.end_s[i]), measured, most,
            Reason(
                f"产量突跳:折合每小时 {measured:.0f} 件,平时最多 {most / ABOVE_USUAL:.0f} 件。",
                f"parts jumped: {measured:.0f} an hour, where {most / ABOVE_USUAL:.0f} is the most that is usual.",
            ),
        )  # fmt: skip


def _sustained(seen: _Seen) -> Iterable[Finding]:
    """More than the register allows, hour after hour: a wrong CT ratio, unit or binding."""
    w = seen.w
    known = seen.counted & (seen.rated >= 0)[seen.group]
    hour = w.start_s // _S_PER_H
    new = w.first_of_device()
    new[1:] |= hour[1:] != hour[:-1]
    heads = np.flatnonzero(new)
    above = known & (seen.rate > SUSTAINED * seen.rated[seen.group])
    span_s = np.add.reduceat(np.where(known, w.span_s, 0), heads)
    span_above_s = np.add.reduceat(np.where(above, w.span_s, 0), heads)
    group = seen.group[heads]
    quantity = np.add.reduceat(np.where(known, w.quantity, 0), heads)
    # A coarse counter's step may have been due before the hour began.
    mean = np.maximum(quantity - seen.step[group], 0) * float(_S_PER_H) / np.maximum(span_s, 1)
    too_much = (mean > SUSTAINED * seen.rated[group]) & (span_s >= _S_PER_H // 2)
    # One jump makes one such hour; windows that are too large for half an hour, or several hours, are no jump.
    hours = np.bincount(group[too_much], minlength=len(seen.heads))
    often = span_above_s * 2 >= np.maximum(span_s, _S_PER_H)
    chosen = np.flatnonzero(too_much & (often | (hours[group] >= SUSTAINED_HOURS)))
    for i in _largest(chosen, mean, seen.group[heads]).tolist():
        row = int(heads[i])
        measured, most = float(mean[i]) / _THOUSANDTHS, float(seen.rated[seen.group[row]]) / _THOUSANDTHS
        yield Finding(
            Check.RATE_ABOVE_REGISTER, Severity.WARNING, int(w.device[row]),
            int(hour[row]) * _S_PER_H, (int(hour[row]) + 1) * _S_PER_H, measured, most,
            Reason(
                f"一小时内平均每小时 {measured:.1f},超过登记的额定上限 {most:.1f};请核对互感器变比、单位和绑定。",
                f"a mean of {measured:.1f} an hour over an hour, where the register allows {most:.1f}: check CT ratio,"
                " unit and binding.",
            ),
        )  # fmt: skip


def _energy_against_state(seen: _Seen) -> Iterable[Finding]:
    """Energy that does not care what the machine does."""
    w = seen.w
    fresh = seen.counted & (w.span_s * TENTHS_PER_S <= 2 * w.length) & seen.devices.is_energy[w.device]
    usual = seen.nth_largest(seen.rate, seen.counted)[seen.group]
    fresh &= ~(seen.rate > ABOVE_USUAL * usual)  # a jump has a check of its own
    on = fresh & (w.running + w.idle + w.fault >= w.length * 99 // 100)
    share = w.running / w.length
    n = seen.by_device(on)
    sums = {
        name: seen.by_device(np.where(on, values, 0.0))
        for name, values in (
            ("x", share), ("y", seen.rate), ("xx", share**2), ("yy", seen.rate**2), ("xy", share * seen.rate),
        )
    }  # fmt: skip
    least = np.maximum(n, 1)
    var_x = sums["xx"] / least - (sums["x"] / least) ** 2
    var_y = sums["yy"] / least - (sums["y"] / least) ** 2
    cov = sums["xy"] / least - sums["x"] * sums["y"] / least**2
    steps = seen.by_device(np.where(on, w.quantity, 0)) / least / seen.step
    judged = (n >= LEAST_WINDOWS) & (var_x >= 0.01) & (steps >= 20)
    correlation = np.zeros(len(n))
    np.divide(cov, np.sqrt(np.maximum(var_x * var_y, 0)), out=correlation, where=judged & (var_x * var_y > 0))
    for i in np.flatnonzero(judged & (correlation < LEAST_CORRELATION)).tolist():
        against = bool(correlation[i] < -LEAST_CORRELATION)
        yield _of_day(
            seen, i, Check.ENERGY_AGAINST_STATE, Severity.ERROR if against else Severity.WARNING,
            float(correlation[i]), LEAST_CORRELATION,
            Reason(
                f"用电量与运行状态{'相反' if against else '无关'}(相关系数 {correlation[i]:.2f});"
                "请核对绑定和状态映射。",
                f"energy {'runs against' if against else 'does not follow'} the state (correlation"
                f" {correlation[i]:.2f}): check binding and state mapping.",
            ),
        )  # fmt: skip

    pure_off, pure_running = fresh & (w.off == w.length), fresh & (w.running == w.length)
    both = (seen.by_device(pure_off) >= LEAST_WINDOWS // 2) & (seen.by_device(pure_running) >= LEAST_WINDOWS // 2)
    off_rate, running_rate = (
        seen.by_device(np.where(which, seen.rate, 0.0)) / np.maximum(seen.by_device(which), 1)
        for which in (pure_off, pure_running)
    )
    for i in np.flatnonzero(both & (running_rate > 0) & (off_rate >= OFF_OVER_RUNNING * running_rate)).tolist():
        ratio = float(off_rate[i] / running_rate[i])
        yield _of_day(
            seen, i, Check.ENERGY_AGAINST_STATE, Severity.ERROR, ratio, OFF_OVER_RUNNING,
            Reason(
                f"关机时的功率是加工时的 {ratio:.0%};请核对绑定和状态映射。",
                f"it draws {ratio:.0%} of its running power while off: check binding and state mapping.",
            ),
        )  # fmt: skip


def _of_day(
    seen: _Seen, place: int, check: Check, severity: Severity, measured: float, limit: float, reason: Reason
) -> Finding:
    first = int(seen.heads[place])
    last = first + int(seen.counts[place]) - 1
    from_s, to_s = int(seen.w.start_s[first]), int(seen.end_s[last])
    return Finding(check, severity, int(seen.device[place]), from_s, to_s, measured, limit, reason)


# ------------------------------------------------------------------------------- the register


@dataclass(frozen=True, slots=True)
class Claims:
    """What enterprises say on a form, and what register and evidence hold. Arrays of length e; UNKNOWN: not known."""

    declared_total: NDArray[np.int64]
    declared_digital: NDArray[np.int64]
    declared_networked: NDArray[np.int64]
    """Production machines on the form: all, numerically controlled, networked."""
    confirmed: NDArray[np.bool_]
    """Whether the register is confirmed: only then does it limit anything."""
    registered: NDArray[np.int64]
    """Assets in scope."""
    may_be_networked: NDArray[np.int64]
    """Assets shown connected, and those that could not be observed: c + u."""
    may_be_digital: NDArray[np.int64]
    """Assets under numerical control, and those of unknown control."""
    answering: NDArray[np.int64]
    """Production devices that answered in the period, bound to an asset or not."""

    def __len__(self) -> int:
        return len(self.registered)


def check_claims(claims: Claims) -> list[Finding]:
    """Rates above what the register allows, one finding at most per enterprise and the gravest.

    A form that contradicts itself is an error. A declared rate above the upper bound of a confirmed register (by
    more than one machine) and more machines answering than the register lists are to be checked.
    """
    c = claims
    found: list[Finding] = []

    def say(rows: NDArray[np.bool_], severity: Severity, measured: Any, limit: Any, zh: str, en: str) -> None:
        for i in np.flatnonzero(rows).tolist():
            values = {"measured": float(measured[i]), "limit": float(limit[i])}
            reason = Reason(zh.format(**values), en.format(**values))
            found.append(
                Finding(Check.RATE_ABOVE_REGISTER, severity, i, -1, -1, values["measured"], values["limit"], reason)
            )

    formed = c.declared_total >= 0
    for part, zh, en in (
        (c.declared_networked, "联网", "networked"),
        (c.declared_digital, "数字化", "numerically controlled"),
    ):
        say(
            formed & (part > c.declared_total), Severity.ERROR, part, c.declared_total,
            f"填报的{zh}设备 {{measured:.0f}} 台多于设备总数 {{limit:.0f}} 台。",
            f"{{measured:.0f}} machines are declared {en}, of {{limit:.0f}} in all.",
        )  # fmt: skip
    for part, most, zh, en in (
        (c.declared_networked, c.may_be_networked, "联网率", "networking rate"),
        (c.declared_digital, c.may_be_digital, "数控化率", "CNC rate"),
    ):
        can = formed & (part >= 0) & (c.declared_total > 0) & c.confirmed & (c.registered > 0) & (most >= 0)
        above = can & (part <= c.declared_total) & (part * c.registered > (most + 1) * c.declared_total)
        say(
            above, Severity.WARNING,
            100 * part / np.maximum(c.declared_total, 1), 100 * most / np.maximum(c.registered, 1),
            f"填报{zh} {{measured:.1f}}%,高于台账允许的上限 {{limit:.1f}}%。",
            f"a {en} of {{measured:.1f}} % is declared; the register allows {{limit:.1f}} % at most.",
        )  # fmt: skip
    say(
        c.confirmed & (c.answering > c.registered), Severity.WARNING, c.answering, c.registered,
        "有 {measured:.0f} 台生产设备在线应答,台账只登记了 {limit:.0f} 台。",
        "{measured:.0f} production devices answered; the register lists {limit:.0f} assets.",
    )  # fmt: skip
    return sorted(_worst(found), key=lambda f: f.row)


class Identified(IntEnum):
    """What the devices bound to an asset said of its kind, best first."""

    AS_NUMERICAL = 0
    """A CNC, robot or PLC by its own identification."""
    AS_OTHER = 1
    """Something else by its own identification."""
    NOT_SAID = 2
    """Its own controller answers without saying what it is."""
    METER_ONLY = 3
    """Only a meter or sensor fitted to it answers, which can prove no control."""
    NO_DEVICE = 4


def check_cnc(
    claimed: NDArray[np.bool_], identified: NDArray[np.int64], connected_days: NDArray[np.int64]
) -> list[Finding]:
    """Machines that the register calls CNC and that never identified themselves as one.

    Parameters, each (a,): `claimed` numerically controlled by the register; `identified` see Identified;
    `connected_days` days on which a device bound to it answered. Identified as something else is an error
    at once; a controller silent about itself is to be checked after CLAIM_DAYS; a machine known by a meter only is
    noted after as long. A machine without a device is `declared`, which every rate shows beside it: no finding.
    """
    found: list[Finding] = []
    long_enough = connected_days >= CLAIM_DAYS
    texts = {
        Identified.AS_OTHER: (
            Severity.ERROR,
            Reason(
                "台账登记为数控,设备自报却是其他类型。", "the register says CNC; the device says it is something else."
            ),
        ),
        Identified.NOT_SAID: (
            Severity.WARNING,
            Reason(
                "台账登记为数控,控制器在线 {days} 天从未表明身份。",
                "the register says CNC; its controller answered on {days} days and never said what it is.",
            ),
        ),
        Identified.METER_ONLY: (
            Severity.INFO,
            Reason(
                "台账登记为数控,{days} 天来只有外接表计应答,不能证明数控。",
                "the register says CNC; for {days} days only a meter on it answered, which proves no control.",
            ),
        ),
    }
    for kind, (severity, text) in texts.items():
        chosen = claimed & (identified == kind)
        if kind is not Identified.AS_OTHER:
            chosen &= long_enough
        for i in np.flatnonzero(chosen).tolist():
            days = int(connected_days[i])
            reason = Reason(text.zh.format(days=days), text.en.format(days=days))
            found.append(Finding(Check.CNC_NOT_IDENTIFIED, severity, i, -1, -1, float(days), float(CLAIM_DAYS), reason))
    return sorted(found, key=lambda f: f.row)
