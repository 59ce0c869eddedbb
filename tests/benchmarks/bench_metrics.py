"""Group metrics: day states of a county, a month at all scopes, growth and memory."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from metrics.days import DayStates, day_states, state_seconds
from metrics.rates import cnc_rate, networking_rate, networking_rates
from metrics.record import Records, local_day_start_s
from metrics.rollup import Bindings, asset_period, connection_period
from tests.benchmarks.county_data import (
    DAY,
    DEVICES_PER_GATEWAY,
    MINUTES,
    day_of_records,
    month_of_states,
    register_of,
    troubled,
    with_moves,
)
from tests.benchmarks.measure import Line, at_most, interleaved, ratio_at_most, wall_ns

COUNTY_DEVICES = 60_000
CHUNK_DEVICES = 2_400
"""Held in memory at a time in the short form; the county's 60,000 devices are so many of these, one after another."""

TIMES = ("observed", "connected", "running", "idle", "fault", "off")
COUNTS = ("quantity", "quantity_idle", "quantity_span", "parts", "good", "bad")
NS_PER_S = 1e9


def county_day_states(*, long: bool) -> Iterator[Line]:
    """60,000 devices × 1,440 records to day states: against bare numpy, and against DuckDB."""
    devices = COUNTY_DEVICES if long else CHUNK_DEVICES
    chunks = COUNTY_DEVICES // devices
    records = day_of_records(devices)
    ours_ns, bare_ns = interleaved(
        3 if long else 7,
        lambda: [day_states(records, None, DAY, devices) for _ in range(1 if long else 3)],
        lambda: [_bare_reductions(records, devices) for _ in range(1 if long else 3)],
    )
    scale = chunks / (1 if long else 3) / NS_PER_S
    yield ratio_at_most(
        "metrics.county_day_states", ours_ns * scale, "s CPU", bare_ns * scale, "bare numpy reductions", 1.5
    )
    with tempfile.TemporaryDirectory() as folder:
        connection = _duckdb_of(records, Path(folder) / "day.duckdb")
        ours_ns, duckdb_ns = interleaved(
            5,
            lambda: day_states(records, None, DAY, devices),
            lambda: connection.execute(_SAME_FIGURES).fetchnumpy(),
            clock=wall_ns,
        )
        alone_ns, duckdb_alone_ns = interleaved(
            7,
            lambda: state_seconds(records, None, DAY, devices),
            lambda: connection.execute(_STATE_SECONDS).fetchnumpy(),
            clock=wall_ns,
        )
        connection.close()
    scale = chunks / NS_PER_S
    against = f"DuckDB {duckdb.__version__}, {{}}, 2 threads, own file"
    yield ratio_at_most(
        "metrics.county_day_states", ours_ns * scale, "s", duckdb_ns * scale, against.format("the same columns"), 0.6
    )
    alone = against.format("state seconds alone")
    yield ratio_at_most("metrics.county_day_states", alone_ns * scale, "s", duckdb_alone_ns * scale, alone, 0.6)


def county_day_sparse(*, long: bool) -> Iterator[Line]:
    """Gateway by gateway, as the county computes them: 1 % missing, 1 % supplements, 5 % out of order."""
    gateways = 20 if long else 5
    clean = [day_of_records(DEVICES_PER_GATEWAY, seed) for seed in range(gateways)]
    sparse = [troubled(records, seed) for seed, records in enumerate(clean)]
    positions = [np.arange(len(records)) for records in sparse]

    def states(days: list[Records], places: list[NDArray[np.int64]] | None) -> None:
        for i, records in enumerate(days):
            day_states(records, places[i] if places else None, DAY, DEVICES_PER_GATEWAY)

    sparse_ns, dense_ns = interleaved(15, lambda: states(sparse, positions), lambda: states(clean, None))
    scale = COUNTY_DEVICES / DEVICES_PER_GATEWAY / gateways / NS_PER_S
    yield ratio_at_most(
        "metrics.county_day_sparse", sparse_ns * scale, "s CPU", dense_ns * scale, "the dense case", 2.5
    )


def county_month_all_scopes(*, long: bool) -> Iterator[Line]:
    """From day states (60,000 × 31) to the networking rate of every scope, with bounds and coverage."""
    n_days = 31
    states = month_of_states(COUNTY_DEVICES, n_days)
    assets, bindings = register_of(COUNTY_DEVICES)
    rng = np.random.default_rng(5)
    enterprises = int(assets.enterprise.max()) + 1
    scopes = [(np.zeros(COUNTY_DEVICES, np.int64), 1), (assets.enterprise, enterprises)]
    scopes += [(rng.integers(0, k, enterprises)[assets.enterprise], k) for k in (14, 6, 4)]
    now_s = local_day_start_s(DAY + n_days)

    def figures(states: DayStates, bindings: Bindings) -> None:
        period = connection_period(states, bindings, COUNTY_DEVICES, DAY, DAY + n_days, now_s)
        networking_rates(assets, period, scopes, n_days * 864_000)

    holes, moved = states.take(rng.random(len(states)) >= 0.02), with_moves(bindings, DAY + n_days // 2)
    taken_ns, troubled_ns = interleaved(15, lambda: figures(states, bindings), lambda: figures(holes, moved))
    yield at_most("metrics.county_month_all_scopes", taken_ns / 1e6, "ms CPU", 50)
    yield at_most(
        "metrics.county_month_all_scopes",
        troubled_ns / 1e6,
        "ms CPU",
        50,
        "2 % missing device-days, 2 % moved bindings",
    )


def linear(*, long: bool) -> Iterator[Line]:
    """Twice the devices, at most 2.1 × the time: day states, month and rates."""
    small, large = day_of_records(CHUNK_DEVICES // 2), day_of_records(CHUNK_DEVICES)
    repeat = 3

    def run(records: Records, devices: int) -> Callable[[], Any]:
        return lambda: [day_states(records, None, DAY, devices) for _ in range(repeat)]

    large_ns, small_ns = interleaved(11, run(large, CHUNK_DEVICES), run(small, CHUNK_DEVICES // 2))
    against = f"day states of {CHUNK_DEVICES // 2} devices; value: of {CHUNK_DEVICES}"
    yield ratio_at_most("metrics.linear", large_ns / repeat / 1e6, "ms CPU", small_ns / repeat / 1e6, against, 2.1)

    def month(devices: int) -> Callable[[], Any]:
        states = month_of_states(devices, 31)
        assets, bindings = register_of(devices)
        everywhere = np.zeros(devices, np.int64)
        now_s = local_day_start_s(DAY + 31)

        def figures() -> None:
            period = asset_period(states, bindings, devices, DAY, DAY + 31, now_s)
            networking_rate(assets, period, everywhere, 1, 31 * 864_000)
            cnc_rate(assets, everywhere, 1)

        return figures

    large_ns, small_ns = interleaved(11, month(COUNTY_DEVICES), month(COUNTY_DEVICES // 2))
    against = f"a month of {COUNTY_DEVICES // 2} devices; value: of {COUNTY_DEVICES}"
    yield ratio_at_most("metrics.linear", large_ns / 1e6, "ms CPU", small_ns / 1e6, against, 2.1)


def extra_memory(*, long: bool) -> Iterator[Line]:
    """Largest memory that numpy and Python hold beyond the data given, over every case above."""
    devices = COUNTY_DEVICES if long else CHUNK_DEVICES * 2
    records = day_of_records(devices)
    sparse = troubled(day_of_records(DEVICES_PER_GATEWAY))
    states = month_of_states(COUNTY_DEVICES, 31)
    assets, bindings = register_of(COUNTY_DEVICES)
    everywhere = np.zeros(COUNTY_DEVICES, np.int64)

    holes = states.take(np.random.default_rng(5).random(len(states)) >= 0.02)
    moved = with_moves(bindings, DAY + 15)

    def month(states: DayStates, bindings: Bindings) -> None:
        period = asset_period(states, bindings, COUNTY_DEVICES, DAY, DAY + 31, local_day_start_s(DAY + 31))
        networking_rate(assets, period, everywhere, 1, 31 * 864_000)

    for what, work in (
        (f"day states, {devices} devices", lambda: day_states(records, None, DAY, devices)),
        ("day states of a gateway, sparse", lambda: day_states(sparse, None, DAY, DEVICES_PER_GATEWAY)),
        (f"month, {COUNTY_DEVICES} devices", lambda: month(states, bindings)),
        (f"month, {COUNTY_DEVICES} devices, 2 % missing device-days, 2 % moved bindings", lambda: month(holes, moved)),
    ):
        tracemalloc.start()
        work()
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        yield at_most("metrics.extra_memory", peak_bytes / 2**20, "MB", 64, what)


def _bare_reductions(r: Records, devices: int) -> list[NDArray[Any]]:
    """What numpy alone takes to reduce the same columns, nothing checked: one call a column."""

    def table(name: str) -> NDArray[Any]:
        column: NDArray[Any] = getattr(r, name)
        return column.reshape(devices, MINUTES)

    return [
        *(table(name).sum(axis=1, dtype=np.uint32) for name in TIMES),
        *(table(name).sum(axis=1, dtype=np.int64) for name in COUNTS),
        np.bitwise_or.reduce(table("flags"), axis=1),
        table("start").min(axis=1),
        table("start").max(axis=1),
        table("reading").max(axis=1),
    ]


_SAME_FIGURES = f"""
    select device, {", ".join(f"sum({name})" for name in (*TIMES, *COUNTS))}, bit_or(flags),
        min(start) filter (connected > 0), max(start) filter (connected > 0),
        arg_min(reading, start) filter (reading >= 0), arg_max(reading, start) filter (reading >= 0), count(*)
    from record group by device order by device
"""


_STATE_SECONDS = (
    f"select device, {', '.join(f'sum({name})' for name in TIMES)} from record group by device order by device"
)


def _duckdb_of(records: Records, path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path), config={"threads": 2})
    given = records.columns()
    connection.register("given", given)
    connection.execute("create table record as select * from given")
    connection.unregister("given")
    connection.execute("checkpoint")
    return connection


BENCHMARKS = (county_day_states, county_day_sparse, county_month_all_scopes, linear, extra_memory)
