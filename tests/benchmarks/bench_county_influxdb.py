"""Group county_influxdb: records into an InfluxDB, against the rate at which it takes the same lines ready-made."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from api.store.influx_address import InfluxAddress
from api.store.influx_aside import SetAside
from api.store.influx_http import InfluxServer
from api.store.influxdb import InfluxDBStore
from api.store.port import Append
from metrics.record import Records
from tests.benchmarks.bench_gateway import plant_minutes
from tests.benchmarks.measure import Line, interleaved, ratio_at_most, wall_ns
from tests.servers_influx import Influx1, influx_1

GATEWAYS = 64
DEVICES = 50
MINUTES = 20
RUNS = 15
GROUPS = 1
"""Appends in a run: many short runs in turn, so that other work on the machine falls on both sides."""
BATCHES = 60
"""Batches of 1,000 in an append."""


class _Written(InfluxServer):
    """Keeps what is written, and writes it."""

    def __init__(self, address: InfluxAddress, token_file: Path) -> None:
        super().__init__(address, token_file)
        self.bodies: list[tuple[bytes, str]] = []

    def write(self, lines: bytes, precision: str = "s") -> None:
        self.bodies.append((lines, precision))
        super().write(lines, precision)


def ingest_influxdb(*, long: bool) -> Iterator[Line]:
    """Groups of 60 batches of 1,000 from 64 gateways; each run into buckets of its own, both sides in turn.

    Ready-made: the very requests that the store sends, one after the other, through the same client.
    """
    runs = RUNS * 3 if long else RUNS
    names = (f"b{i}" for i in itertools.count())
    groups = _groups()
    records = sum(len(batch.records) for group in groups for batch in group)
    with tempfile.TemporaryDirectory() as folder, influx_1() as influx:

        def address() -> InfluxAddress:
            name = next(names)
            influx.bucket(name)
            return InfluxAddress.parse(influx.url(name))

        recorder = _Written(address(), influx.token_file)
        _append(InfluxDBStore(recorder, SetAside(Path(folder) / "aside.lp")), groups)
        fresh = {side: [address() for _ in range(runs + 1)] for side in ("store", "ready-made")}
        checked = [side[i].bucket for side in fresh.values() for i in (0, -1)]

        def store() -> None:
            server = InfluxServer(fresh["store"].pop(), influx.token_file)
            _append(InfluxDBStore(server, SetAside(Path(folder) / "aside.lp")), groups)

        def ready_made() -> None:
            server = InfluxServer(fresh["ready-made"].pop(), influx.token_file)
            for lines, precision in recorder.bodies:
                server.write(lines, precision)
            server.close()

        ours, theirs = interleaved(runs, store, ready_made, clock=wall_ns)
        _check(influx, checked, records)
    rate = f"{records / ours * 1e6:.0f},000 records/s, ready-made lines {records / theirs * 1e6:.0f},000/s"
    yield ratio_at_most(
        "county.ingest_influxdb", ours / records / 1000, "us a record", theirs / records / 1000, rate, 1 / 0.8
    )


def _append(store: InfluxDBStore, groups: list[list[Append]]) -> None:
    for group in groups:
        store.append(group, group[-1].position)
    store.close()


def _check(influx: Influx1, buckets: list[str], records: int) -> None:
    """The buckets have every record: a rate of what was lost is none."""
    for name in buckets:
        (series,) = influx.query(name, 'SELECT count("position") FROM "record"')
        assert series["values"][0][1] == records, series


def _groups() -> list[list[Append]]:
    """Batches in the order in which gateways deliver: each gateway's minutes go on."""
    position = 0
    groups = []
    table = [f"device-{k}" for k in range(DEVICES)]
    for _ in range(GROUPS):
        group = []
        for _ in range(BATCHES):
            gateway = position % GATEWAYS
            minutes = plant_minutes(DEVICES, MINUTES, seed=position)
            start = minutes.start + 60 * MINUTES * (position // GATEWAYS)
            position += 1
            records = Records(**{**minutes.columns(), "start": start})
            group.append(Append(position, f"gw-{gateway}", table, records))
        groups.append(group)
    return groups


BENCHMARKS = (ingest_influxdb,)
