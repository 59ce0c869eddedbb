"""The state of an old machine from its power alone: levels found in the data, hysteresis, dwell, confidence.

An old machine without a controller to ask draws next to nothing when off, a steady idle power when on, and more
when it cuts. `learn_levels` finds these levels in the distribution of the logarithm of power, where ratios
are distances and a 300 W lathe and a 30 kW press look alike. Levels are the peaks of a smoothed density that a
valley sets apart, and a threshold lies in the valley next to the idle level: light cuts, a little above idle,
stay running. Where no valley is deep enough, the answer is "cannot tell", and the states are unknown.

`infer_states` then follows the power as a gateway does it live: hysteresis about each threshold, and a change
that does not last for the dwell never happened.

Like N. Otsu's method (1979) it asks the histogram for the threshold, but by the persistence of peaks (H. Edelsbrunner,
J. Harer, Computational Topology (2010), VII.1), which does not mind levels of very unequal share.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.record import MachineState

Floats = NDArray[np.float64]


class Verdict(StrEnum):
    """What the power of a machine tells."""

    ALL = "all"
    """Off, idle and running."""
    OFF_ONLY = "off-only"
    """Off or on; idle and running overlap, or only one of them was seen."""
    CANNOT_TELL = "cannot-tell"


class Reason(NamedTuple):
    """A text in both languages."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class PowerLevels:
    """Thresholds as `infer_states` and a gateway's configuration take them. NaN where the power does not tell."""

    verdict: Verdict
    off_below_kw: float
    running_above_kw: float
    hysteresis_kw: float
    """An off machine is on above `off_below_kw` + this, a running one idle below `running_above_kw` − this."""
    off_kw: float
    idle_kw: float
    running_kw: float
    """Typical (median) power of each level; NaN: not seen."""
    off_confidence: float
    running_confidence: float
    """Depth of the valley at the threshold, 0 to 1: 1 less its density over that of the lower of its two peaks.
    NaN: no valley. Off never seen: NaN, and the threshold is OFF_OF_IDLE of the idle power."""
    reason: Reason


LEAST_S: Final = 3600.0
"""Less power known than this, and nothing is said."""
LEAST_DEPTH: Final = 0.6
"""A valley less deep does not part two levels."""
RIPPLE_DEPTH: Final = 0.25
"""Within the wide valley between idle and running, light cuts are a hump of their own from this depth on."""
FORD: Final = 0.3
"""A valley before such a hump may hold so much of the lower level's density: warm-up leaves traces there."""
LEAST_MASS: Final = 0.01
"""Idle and running must each hold this share of the time on."""
OFF_SHARE: Final = 0.12
"""The lowest level is off or standby at most at this share of the 95th percentile of power …"""
OFF_VISIT_S: Final = 300.0
"""… and where the median visit to it lasts so long: nobody switches a machine off between two work pieces."""
OFF_OF_IDLE: Final = 0.25
"""Where off was never seen: below this share of idle it is off."""
DWELL_S: Final = 4.0
"""Default dwell: longer than a spindle's start, shorter than a pause between two work pieces."""
STEADY_S: Final = 7.0
"""Levels are looked for in the median over so long: shorter than a pause."""
MAX_GAP_S: Final = 15.0
"""Longest time that a sample speaks for."""

_MOST_REACH: Final = 10
_BIN: Final = 0.02  # of ln kW
_BANDWIDTH: Final = 0.05
_FLOOR_SHARE: Final = 0.002  # of the 95th percentile: what is less is 0 to a meter
_PLATEAU: Final = 0.03
_INTO_VALLEY: Final = 0.35


def learn_levels(at_s: NDArray[np.int64] | Floats, power_kw: Floats) -> PowerLevels:
    """Find the levels of a machine's power.

    Parameters: `at_s` (n,) times of the samples, s, ascending; `power_kw` (n,) active power, of either sign (a
    reversed clamp), NaN where unknown. A sample speaks for the time to the next one, at most MAX_GAP_S. A
    day or more should be given, with the machine off, idle and running in it.

    Raises ValueError where times do not ascend or lengths differ.
    """
    weight_s = _holds_s(at_s, power_kw)
    known = np.isfinite(power_kw)
    power, weight_s = _steadied(np.abs(power_kw[known]), weight_s[known]), weight_s[known]
    if float(weight_s.sum()) < LEAST_S:
        return _cannot_tell(f"已知功率不足 {LEAST_S:.0f} 秒。", f"less than {LEAST_S:.0f} s of power are known.")
    top_kw = _quantile(power, weight_s, 0.95)
    if top_kw <= 0:
        return _cannot_tell("功率一直为零。", "the power was 0 all the time.")
    log_power = np.log(np.maximum(power, top_kw * _FLOOR_SHARE))
    curve = _Density(log_power, weight_s)
    peaks = curve.peaks()
    off_valley, on = None, peaks
    for k in range(len(peaks) - 1):
        if curve.x[peaks[k]] > np.log(OFF_SHARE * top_kw):
            break
        valley = curve.valley(int(peaks[k]), int(peaks[k + 1]))
        if _median_visit_s(power < np.exp(valley.middle(0.5)), weight_s) >= OFF_VISIT_S:
            off_valley, on = valley, peaks[k + 1 :]
    off_below_kw = np.nan if off_valley is None else float(np.exp(off_valley.middle(0.5)))
    run_valley = curve.first_valley(int(on[0]), int(on[1])) if len(on) > 1 else None
    if run_valley is not None:
        threshold_kw = float(np.exp(run_valley.middle(_INTO_VALLEY)))
        if off_valley is None:
            off_below_kw = OFF_OF_IDLE * float(np.exp(curve.x[on[0]]))
        levels = [
            (power < off_below_kw),
            (power >= off_below_kw) & (power <= threshold_kw),
            (power > threshold_kw),
        ]
        seconds = [float(weight_s[level].sum()) for level in levels]
        if min(seconds[1:]) >= LEAST_MASS * (seconds[1] + seconds[2]):
            off_kw, idle_kw, running_kw = (
                _quantile(power[level], weight_s[level], 0.5) if level.any() else np.nan for level in levels
            )
            # Half of the way down to the idle level's edge, and never so much that an off machine counts as on.
            edge_kw = float(np.exp(run_valley.lower))
            hysteresis_kw = min((threshold_kw - edge_kw) / 2, (idle_kw - off_below_kw) / 2)
            return PowerLevels(
                Verdict.ALL, off_below_kw, threshold_kw, max(hysteresis_kw, 0.0), off_kw, idle_kw, running_kw,
                np.nan if off_valley is None else off_valley.depth, run_valley.depth,
                Reason(
                    f"待机约 {idle_kw:.2f} kW,加工约 {running_kw:.2f} kW,分界 {threshold_kw:.2f} kW。",
                    f"idle about {idle_kw:.2f} kW, running about {running_kw:.2f} kW, parted at {threshold_kw:.2f} kW.",
                ),
            )  # fmt: skip
    if off_valley is None:
        return _cannot_tell("功率没有可分的档位。", "the power has no levels that can be told apart.")
    off_level = power < off_below_kw
    return PowerLevels(
        Verdict.OFF_ONLY, off_below_kw, np.nan, off_below_kw / 4, _quantile(power[off_level], weight_s[off_level], 0.5),
        np.nan, np.nan, off_valley.depth, np.nan,
        Reason(
            "待机与加工的功率重叠,只能判断开机或关机。",
            "idle and running overlap in power: only on or off can be told.",
        ),
    )  # fmt: skip


def _cannot_tell(zh: str, en: str) -> PowerLevels:
    unknown = (np.nan,) * 8
    return PowerLevels(Verdict.CANNOT_TELL, *unknown, Reason(f"无法判断:{zh}", f"cannot tell: {en}"))


def infer_states(
    at_s: NDArray[np.int64] | Floats, power_kw: Floats, levels: PowerLevels, dwell_s: float = DWELL_S
) -> NDArray[np.int64]:
    """MachineState at each sample, (n,); it holds until the next one, at most MAX_GAP_S.

    Parameters as for `learn_levels`. Between its thresholds a state stays what it was (hysteresis); a state that
    does not last for `dwell_s` is taken for the one before it, and one that does counts from its first sample.
    After a gap or a sample of unknown power the first state counts at once. UNKNOWN where the power is not known, and
    where the levels do not tell: all of it, or (OFF_ONLY) whatever is not off. Warm-up is idle, as far as it
    stays below the running threshold. A meter never shows a fault.
    """
    holds_s = _holds_s(at_s, power_kw)
    n = len(power_kw)
    states = np.full(n, int(MachineState.UNKNOWN), np.int64)
    if n == 0 or levels.verdict is Verdict.CANNOT_TELL:
        return states
    power = np.abs(power_kw)
    known = np.isfinite(power)
    running_above_kw = np.inf if levels.verdict is Verdict.OFF_ONLY else levels.running_above_kw
    sure = np.select(
        [power < levels.off_below_kw, power > running_above_kw], [MachineState.OFF, MachineState.RUNNING], _IN_BETWEEN
    ).astype(np.int64)
    near_off = (sure == _IN_BETWEEN) & (power < levels.off_below_kw + levels.hysteresis_kw)
    near_running = (sure == _IN_BETWEEN) & (power > running_above_kw - levels.hysteresis_kw)
    sure[(sure == _IN_BETWEEN) & ~near_off & ~near_running] = MachineState.IDLE
    # In a band about a threshold the last sure state decides, of the same stretch without a gap.
    begins = np.ones(n, np.bool_)
    begins[1:] = ~known[:-1] | (np.diff(at_s) > MAX_GAP_S)
    begins |= ~known
    decides = begins | (sure != _IN_BETWEEN)
    last = sure[np.maximum.accumulate(np.where(decides, np.arange(n), 0))]
    held = np.where(near_off, np.where(last == MachineState.OFF, MachineState.OFF, MachineState.IDLE), sure)
    held = np.where(near_running, np.where(last == MachineState.RUNNING, MachineState.RUNNING, MachineState.IDLE), held)
    states = _dwell(held.astype(np.int64), begins, holds_s, dwell_s)
    if levels.verdict is Verdict.OFF_ONLY:
        states[states != MachineState.OFF] = MachineState.UNKNOWN
    states[~known] = MachineState.UNKNOWN
    return states


_IN_BETWEEN: Final = -1


def _steadied(power_kw: Floats, holds_s: Floats) -> Floats:
    """Median over STEADY_S about each sample: takes the meter's noise away and leaves the steps where they are."""
    reach = min(int(STEADY_S / (2 * np.median(holds_s))), _MOST_REACH) if len(holds_s) else 0
    if reach == 0 or len(power_kw) <= 2 * reach:
        return power_kw
    padded = np.concatenate((np.full(reach, power_kw[0]), power_kw, np.full(reach, power_kw[-1])))
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1), np.float64)


def _dwell(held: NDArray[np.int64], begins: NDArray[np.bool_], holds_s: Floats, dwell_s: float) -> NDArray[np.int64]:
    """Give each run that is too short to the run before it; the first run of a stretch always counts."""
    change = begins.copy()
    change[1:] |= held[1:] != held[:-1]
    heads = np.flatnonzero(change)
    counts = np.diff(heads, append=len(held))
    lasts = (np.add.reduceat(holds_s, heads) >= dwell_s) | begins[heads]
    accepted = np.maximum.accumulate(np.where(lasts, np.arange(len(heads)), 0))
    return np.repeat(held[heads][accepted], counts)


def _holds_s(at_s: NDArray[np.int64] | Floats, power_kw: Floats) -> Floats:
    """How long each sample speaks, s; the last one for as long as samples usually do."""
    if len(at_s) != len(power_kw):
        raise ValueError(f"{len(at_s)} times for {len(power_kw)} samples")
    if len(at_s) == 0:
        return np.empty(0)
    step_s = np.diff(np.asarray(at_s, np.float64))
    if bool((step_s <= 0).any()):
        raise ValueError(f"sample {int(np.argmax(step_s <= 0)) + 1} is not later than the one before it")
    usual_s = float(np.median(step_s)) if len(step_s) else 0.0
    return np.asarray(np.minimum(np.append(step_s, usual_s), MAX_GAP_S), np.float64)


def _median_visit_s(inside: NDArray[np.bool_], holds_s: Floats) -> float:
    """Median length of the visits to a level, s."""
    heads = np.flatnonzero(np.diff(inside, prepend=~inside[:1]))
    return float(np.median(np.add.reduceat(holds_s, heads)[inside[heads]]))


def _quantile(values: Floats, weight: Floats, share: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1])])


class _Valley(NamedTuple):
    """Where two peaks part: the stretch of low density between them, in ln kW, and how low it is."""

    lower: float
    upper: float
    depth: float

    def middle(self, share: float) -> float:
        """A point `share` of the way from the lower to the upper edge."""
        return self.lower + share * (self.upper - self.lower)


class _Density:
    """Smoothed density of log power, in seconds a bin."""

    def __init__(self, log_power: Floats, weight_s: Floats):
        margin = 4 * _BANDWIDTH
        low, high = float(log_power.min()) - margin, float(log_power.max()) + margin
        bins = max(1, int(np.ceil((high - low) / _BIN)))
        seconds, edges = np.histogram(log_power, bins, (low, low + bins * _BIN), weights=weight_s)
        reach = int(4 * _BANDWIDTH / _BIN)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _BIN / _BANDWIDTH) ** 2)
        self.x = (edges[:-1] + edges[1:]) / 2
        self.y = np.convolve(seconds, kernel / kernel.sum(), "same")

    def peaks(self, least_depth: float = LEAST_DEPTH) -> NDArray[np.int64]:
        """Bins of the peaks that persist, ascending.

        The level of the sea falls: islands rise at each maximum, and where two meet, the lower one goes under
        unless the sea there is `least_depth` below its summit. An island of next to no time is none.
        """
        y = self.y
        least = LEAST_MASS * 0.1 * float(y.sum()) * _BIN / (_BANDWIDTH * np.sqrt(2 * np.pi))
        summit = np.full(len(y), -1, np.int64)  # root of each bin above the sea
        kept: set[int] = set()

        def root(at: int) -> int:
            while summit[at] != at:
                at = int(summit[at])
            return at

        for at in np.argsort(-y, kind="stable").tolist():
            if y[at] <= least:
                break
            summit[at] = at
            kept.add(at)
            for side in (at - 1, at + 1):
                if not 0 <= side < len(y) or summit[side] < 0:
                    continue
                one, other = root(at), root(side)
                if one == other:
                    continue
                low, high = (one, other) if y[one] <= y[other] else (other, one)
                summit[low] = high
                if y[at] > (1 - least_depth) * y[low]:
                    kept.discard(low)
        return np.array(sorted(kept), np.int64)

    def first_valley(self, low: int, high: int) -> _Valley:
        """Between two peaks, before the first hump that the lower one leaves room for."""
        lesser = min(float(self.y[low]), float(self.y[high]))
        for hump in self.peaks(RIPPLE_DEPTH).tolist():
            if low < hump < high and float(self.y[low:hump].min()) <= FORD * lesser:
                return self.valley(low, hump, lesser)
        return self.valley(low, high)

    def valley(self, low: int, high: int, lesser: float | None = None) -> _Valley:
        """Between two peaks; its depth is against `lesser` (the lower one of the two)."""
        between = self.y[low : high + 1]
        lesser = min(float(self.y[low]), float(self.y[high])) if lesser is None else lesser
        bottom = float(between.min())
        flat = np.flatnonzero(between <= bottom + _PLATEAU * lesser)
        at = low + int(between.argmin())
        # The flat stretch that holds the lowest point.
        parts = np.split(flat, np.flatnonzero(np.diff(flat) > 1) + 1)
        stretch = next(part for part in parts if part[0] <= at - low <= part[-1])
        return _Valley(float(self.x[low + int(stretch[0])]), float(self.x[low + int(stretch[-1])]), 1 - bottom / lesser)
