"""What the definitions do, drawn by the code that computes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metrics.decomposition import decompose
from metrics.projection import project
from metrics.rates import Assets, networking_rate
from metrics.rollup import ConnectionPeriod
from metrics.targets import Target, required
from tests.figures.svg import BLUE, GREEN, GREY, ORANGE, Chart

DAY_TENTHS = 864_000


def per_cent(value: float) -> str:
    return f"{value * 100:.0f} %"


def bounds_against_coverage() -> str:
    """100 machines, 60 of them connected: what is evidenced rises with coverage, and the bounds close on the truth."""
    machines, connected = 100, 60
    rng = np.random.default_rng(1)
    able = rng.permutation(machines) < connected
    in_turn = rng.permutation(machines)
    covered, value, upper = [], [], []
    for watched in range(0, machines + 1, 5):
        seen = in_turn < watched
        bound = np.full(machines, DAY_TENTHS)
        period = ConnectionPeriod(
            bound=bound,
            observed=np.where(seen, bound, 0),
            shown=seen & able,
            connected=np.where(seen & able, bound, 0),
            state_bound=bound,
            state_observed=np.where(seen, bound, 0),
            first_connected_s=np.full(machines, -1),
            last_connected_s=np.full(machines, -1),
        )
        register = Assets(
            in_scope=np.ones(machines, np.bool_),
            enterprise=np.zeros(machines, np.int64),
            confirmed=np.ones(machines, np.bool_),
            control=np.ones(machines, np.int64),
            evidence=np.ones(machines, np.int64),
            value=np.full(machines, -1),
        )
        got = networking_rate(register, period, np.zeros(machines, np.int64), 1, DAY_TENTHS)
        covered.append(float(got.coverage[0]))
        value.append(float(got.value[0]))
        upper.append(float(got.upper[0]))
    chart = Chart(
        "设备联网率的上下界随覆盖率收拢 Bounds close as coverage grows",
        "A hundred machines, sixty connected. The value is the lower bound; the upper bound falls to meet it at 60 %.",
        (0, 1),
        (0, 1),
    )
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    chart.axes(ticks, ticks, "覆盖率 coverage", "联网率 networking rate", per_cent, per_cent)
    chart.band(covered, value, upper)
    chart.line(covered, upper, BLUE, dashed=True)
    chart.line(covered, value, BLUE)
    chart.line([0, 1], [0.6, 0.6], GREY, dashed=True)
    chart.note(0.02, 0.6, "真值 truth 60 %", GREY, up=10)
    chart.note(covered[14], upper[14], "上界 upper (c+u)/n", BLUE, up=8)
    chart.note(covered[10], value[10], "已证实 evidenced c/n", BLUE, up=-16)
    return chart.svg()


def target_paths() -> str:
    """Output of 96.948 to 136 (billion CNY) by both methods."""
    compound, linear = (Target(m, 2020, 969.48, 2025, 1360.0) for m in ("compound", "linear"))  # type: ignore[arg-type]
    years = [2020 + i / 8 for i in range(41)]
    chart = Chart(
        "规上工业总产值的两种路径 Two paths to one target",
        "From 969.48 in 2020 to 1360 in 2025. In 2023 the compound path stands at 1187.8, the linear one at 1203.8.",
        (2020, 2025),
        (900, 1400),
    )
    chart.axes(range(2020, 2026), [900, 1000, 1100, 1200, 1300, 1400], "年 year", "亿元 CNY 100 million")
    for target, colour, dashed in ((compound, BLUE, False), (linear, ORANGE, True)):
        path = [required(target, year) or 0.0 for year in years]
        chart.line(years, path, colour, dashed=dashed)
        at_2023 = required(target, 2023) or 0.0
        chart.dots([2023], [at_2023], colour)
        if target is compound:
            chart.note(2023, at_2023, f"复合增长 compound {at_2023:.1f}", colour, up=-14)
        else:
            chart.note(2023, at_2023, f"线性 linear {at_2023:.1f}", colour, anchor="end", up=12)
    chart.dots([2020, 2025], [969.48, 1360.0], BLUE)
    chart.note(2025, 1360.0, "目标 target 1360")
    return chart.svg()


def energy_decomposition() -> str:
    """Three industries, made up: more activity, a lighter mix, less energy per activity."""
    energy = np.array([60.0, 30.0, 10.0]), np.array([58.0, 38.0, 14.0])
    activity = np.array([120.0, 150.0, 100.0]), np.array([130.0, 200.0, 170.0])
    _, by_activity, by_structure, by_intensity = decompose(*energy, *activity).totals()
    before, after = float(energy[0].sum()), float(energy[1].sum())
    chart = Chart(
        "能耗变化的分解 Why energy changed (LMDI-I)",
        "From energy before to energy after, by activity, structure and intensity; the parts add up exactly.",
        (0, 5),
        (0, 140),
    )
    chart.axes([], [0, 20, 40, 60, 80, 100, 120, 140], "", "千吨标准煤 1,000 tce")
    level = before
    chart.bar(0.5, 0.7, 0, before, GREY)
    chart.note(0.5, before, f"{before:.1f}", anchor="middle", up=10)
    for place, effect in ((1.5, by_activity), (2.5, by_structure), (3.5, by_intensity)):
        chart.bar(place, 0.7, level, level + effect, ORANGE if effect > 0 else GREEN)
        chart.note(place, max(level, level + effect), f"{effect:+.1f}", anchor="middle", up=10)
        level += effect
    chart.bar(4.5, 0.7, 0, after, GREY)
    chart.note(4.5, after, f"{after:.1f}", anchor="middle", up=10)
    for place, words in zip(
        (0.5, 1.5, 2.5, 3.5, 4.5),
        ("基期 before", "规模 activity", "结构 structure", "强度 intensity", "报告期 after"),
        strict=True,
    ):
        chart.note(place, 0, words, anchor="middle", up=-16)
    return chart.svg()


def projection_interval() -> str:
    """A rate of five years, projected by three, with 50 %, 80 % and 95 % intervals."""
    years, values = [2018, 2019, 2020, 2021, 2022], [0.44, 0.465, 0.50, 0.515, 0.545]
    chart = Chart(
        "预测区间 A projection says how far it may be wrong",
        "A made-up networking rate of 2018 to 2022, projected to 2025 with intervals of 50, 80 and 95 %.",
        (2018, 2025),
        (0.4, 0.8),
    )
    chart.axes(range(2018, 2026), [0.4, 0.5, 0.6, 0.7, 0.8], "年 year", "联网率 networking rate", y_text=per_cent)
    ahead = [2022 + i / 4 for i in range(1, 13)]
    for share in (0.95, 0.8, 0.5):
        got = [p for year in ahead if (p := project(years, values, year, share=share, within=(0, 1)))]
        chart.band([2022, *ahead], [values[-1], *(p.lower for p in got)], [values[-1], *(p.upper for p in got)])
        chart.note(2025, got[-1].upper, f"{share * 100:.0f} %", BLUE)
    chart.line([2022, *ahead], [values[-1], *(p.value for p in got)], BLUE, dashed=True)
    chart.line(years, values, BLUE)
    chart.dots(years, values, BLUE)
    return chart.svg()


FIGURES: dict[str, Callable[[], str]] = {
    "bounds-against-coverage": bounds_against_coverage,
    "target-paths": target_paths,
    "energy-decomposition": energy_decomposition,
    "projection-interval": projection_interval,
}
