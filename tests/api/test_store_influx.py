"""The store in a real InfluxDB 1.x behind the shipped nginx file: same figures as DuckDB, whatever fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from api.store.duckdb import DuckDBStore
from api.store.influx_address import InfluxAddress
from api.store.influx_aside import SetAside
from api.store.influx_http import InfluxServer
from api.store.influx_seen import SeenKeys
from api.store.influxdb import InfluxDBStore
from api.store.port import Append, StoreError
from metrics.days import day_states
from metrics.record import RECORD_COLUMNS, Records, local_day
from tests.api.influx_batches import DAY, GATEWAYS, KEYS, append_in_groups, digests, troubled_batches
from tests.servers_influx import Influx1, influx_1


@pytest.fixture(scope="module")
def server() -> Iterator[Influx1]:
    with influx_1() as running:
        yield running


@pytest.fixture
def bucket(server: Influx1, tmp_path: Path) -> str:
    server.bucket(tmp_path.name)
    return tmp_path.name


def open_influx(server: Influx1, bucket: str, folder: Path, read_s: float = 30.0) -> InfluxDBStore:
    address = InfluxAddress.parse(server.url(bucket))
    return InfluxDBStore(InfluxServer(address, server.token_file, read_s=read_s), SetAside(folder / "refused.lp"))


def expected(batches: list[Append], folder: Path) -> dict[tuple[str, int], str]:
    """What DuckDB makes of the same batches."""
    store = DuckDBStore(folder / "records.duckdb")
    append_in_groups(store, batches, 5)
    made = digests(store)
    store.close()
    return made


def points(server: Influx1, bucket: str) -> int:
    """Points of both measurements, counted by the server."""
    found = server.query(bucket, 'SELECT count("position") FROM "record","record_again"')
    return sum(series["values"][0][1] for series in found)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_day_states_have_the_digests_that_duckdb_gives(server: Influx1, bucket: str, tmp_path: Path, seed: int) -> None:
    batches = troubled_batches(seed)
    store = open_influx(server, bucket, tmp_path)
    append_in_groups(store, batches[:7], 3)
    store.close()
    store = open_influx(server, bucket, tmp_path)
    store._seen = SeenKeys(store._load, max_cells=1)  # every hour is asked for again in every append
    append_in_groups(store, batches, 2)
    rows = sum(len(b.records) for b in batches)
    made = digests(store)
    assert len(made) == 6
    assert made == expected(batches, tmp_path)
    assert store.rows() == points(server, bucket) == rows
    assert store.gateway_days(GATEWAYS[0]) == [DAY - 1, DAY, DAY + 1]
    (day,) = store.read_days([(GATEWAYS[0], DAY)])
    states = day_states(day.records, day.position, day.day, len(day.devices))
    assert min(states.duplicates.sum(), states.conflicts.sum(), states.supplements.sum()) > 0
    store.close()


class Failing(InfluxServer):
    """Fails at one write: before the server has it, or after it has stored it."""

    fail_at = 0
    after = False
    writes = 0

    def write(self, lines: bytes, precision: str = "s") -> None:
        self.writes += 1
        if self.writes != self.fail_at:
            super().write(lines, precision)
            return
        if self.after:
            super().write(lines, precision)
        raise StoreError("time-out")


@pytest.mark.parametrize("after", [False, True])
def test_a_write_that_fails_anywhere_is_written_again_to_the_same_points(
    server: Influx1, bucket: str, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.store.influxdb._LINES_A_REQUEST", 50)
    batches = troubled_batches(4, count=6)
    failing = Failing(InfluxAddress.parse(server.url(bucket)), server.token_file)
    failing.after = after
    store = InfluxDBStore(failing, SetAside(tmp_path / "refused.lp"))
    failures = 0
    for fail_at in range(1, 40):
        failing.writes, failing.fail_at = 0, fail_at
        before = store.applied()
        try:
            append_in_groups(store, batches, 3)
        except StoreError:
            failures += 1
            assert store.applied() in (before, before + 3)
            applied = sum(len(b.records) for b in batches if b.position <= store.applied())
            assert applied == store.rows()
            assert applied == sum(len(r.records) for r in store.read_days(KEYS)), "what failed is not read"
    failing.fail_at = 0
    append_in_groups(store, batches, 6)
    assert failures > 5
    assert digests(store) == expected(batches, tmp_path)
    assert points(server, bucket) == store.rows() == sum(len(b.records) for b in batches)
    store.close()


_KILLED = """
import os, sys, threading
from pathlib import Path
from api.store import influxdb
from api.store.influx_address import InfluxAddress
from api.store.influx_aside import SetAside
from api.store.influx_http import InfluxServer
from tests.api.influx_batches import append_in_groups, troubled_batches
influxdb._LINES_A_REQUEST = 40
url, token, folder, at = sys.argv[1:]
class Killed(InfluxServer):
    writes = 0
    def write(self, lines, precision="s"):
        self.writes += 1
        if self.writes == int(at):
            threading.Timer(0.002, os.kill, (os.getpid(), 9)).start()
        super().write(lines, precision)
store = influxdb.InfluxDBStore(Killed(InfluxAddress.parse(url), Path(token)), SetAside(Path(folder) / "refused.lp"))
append_in_groups(store, troubled_batches(5, count=8), 2)
"""


def test_kill_9_applies_nothing_twice_and_skips_nothing(server: Influx1, bucket: str, tmp_path: Path) -> None:
    batches = troubled_batches(5, count=8)
    for at in (3, 7):
        arguments = [server.url(bucket), str(server.token_file), str(tmp_path), str(at)]
        done = subprocess.run([sys.executable, "-c", _KILLED, *arguments], timeout=60, check=False, cwd=Path.cwd())
        assert done.returncode == -9
    store = open_influx(server, bucket, tmp_path)
    assert store.applied() < 8
    append_in_groups(store, batches, 3)
    assert digests(store) == expected(batches, tmp_path)
    assert points(server, bucket) == store.rows() == sum(len(b.records) for b in batches)
    store.close()


def test_a_lost_mark_and_a_journal_that_has_dropped_its_first_days_overwrite_nothing(
    server: Influx1, bucket: str, tmp_path: Path
) -> None:
    batches = troubled_batches(6, count=10)
    store = open_influx(server, bucket, tmp_path)
    append_in_groups(store, batches, 4)
    before = server.query(bucket, 'SELECT * FROM "record","record_again"')
    store.close()
    server.query(bucket, 'DROP MEASUREMENT "applied"')
    store = open_influx(server, bucket, tmp_path)
    assert store.applied() == 0
    append_in_groups(store, batches[4:], 5)
    assert server.query(bucket, 'SELECT * FROM "record","record_again"') == before
    assert digests(store) == expected(batches, tmp_path)
    store.close()


def now_records(starts: list[int], **columns: list[int]) -> Records:
    n = len(starts)
    made = {c.name: np.zeros(n, c.dtype) for c in RECORD_COLUMNS}
    made |= {"start": np.array(starts), "length": np.full(n, 600), "observed": np.full(n, 600)}
    return Records.from_columns(made | {name: np.array(values) for name, values in columns.items()})


def test_records_older_than_the_retention_are_set_aside_and_the_others_kept(server: Influx1, tmp_path: Path) -> None:
    bucket = tmp_path.name
    server.bucket(bucket, "1h")
    store = open_influx(server, bucket, tmp_path)
    now_s = int(time.time()) // 60 * 60
    recent = [now_s - 60 * i for i in range(40)]
    old = [now_s - 86_400 - 60 * i for i in range(3)]
    batch = Append(1, "g", ["a"], now_records(recent[:20] + old + recent[20:]))
    store.append([batch], 1)
    assert (store.rows(), store.set_aside, points(server, bucket)) == (40, 3, 40)
    kept = Path(store.set_aside_where).read_text(encoding="utf-8").splitlines()
    assert [int(line.rsplit(" ", 1)[1]) for line in kept if not line.startswith("#")] == old
    assert all(line.startswith("# 400 ") for line in kept[::2])
    stored = [r.records for r in store.read_days([("g", local_day(s)) for s in recent])]
    assert sum(len(r) for r in stored) == 40
    store.close()
    again = open_influx(server, bucket, tmp_path)
    assert (again.set_aside, again.applied()) == (3, 1)
    again.append([Append(2, "g", ["a"], now_records([now_s - 3000]))], 2)
    assert (again.rows(), again.set_aside) == (41, 3)
    again.close()


def test_a_measurement_of_another_type_holds_back_only_what_it_hits(
    server: Influx1, bucket: str, tmp_path: Path
) -> None:
    starts = [1_795_000_020 + 60 * i for i in range(32)]
    assert server.write_raw(bucket, f"record,device=b,gateway=g,part=0 fault=1.5 {starts[0]}") == 204
    store = open_influx(server, bucket, tmp_path)
    plain = Append(1, "g", ["a"], now_records(starts))
    hit = Append(2, "g", ["b"], now_records(starts, fault=[7] * 32))
    store.append([plain, hit], 2)
    assert (store.rows(), store.set_aside) == (32, 32)
    store.close()


def test_a_token_that_is_wrong_is_said_and_works_once_it_is_replaced(
    server: Influx1, bucket: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("wrong", encoding="utf-8")
    server_there = InfluxServer(InfluxAddress.parse(server.url(bucket)), token)
    store = InfluxDBStore(server_there, SetAside(tmp_path / "refused.lp"))
    with pytest.raises(StoreError, match=r"401 令牌无效.*PLANTPULSE_STORE_TOKEN_FILE"):
        store.applied()
    token.write_text(server.token_file.read_text(encoding="utf-8"), encoding="utf-8")
    assert store.applied() == 0
    batch = Append(1, "g", ["a"], now_records([1_795_000_020]))
    token.write_text("wrong again", encoding="utf-8")
    with pytest.raises(StoreError, match="401"):
        store.append([batch], 1)
    token.unlink()
    with pytest.raises(StoreError, match="无法读取"):
        store.append([batch], 1)
    token.write_text(server.token_file.read_text(encoding="utf-8"), encoding="utf-8")
    store.append([batch], 1)
    assert (store.applied(), store.set_aside, points(server, bucket)) == (1, 0, 1)
    store.close()


def test_a_bucket_that_is_not_there_is_said_and_works_once_it_is_made(server: Influx1, tmp_path: Path) -> None:
    store = open_influx(server, "made-later", tmp_path)
    with pytest.raises(StoreError, match=r"存储桶.*made-later"):
        store.applied()
    server.bucket("made-later")
    assert store.applied() == 0
    server.drop_bucket("made-later")
    batch = Append(1, "g", ["a"], now_records([1_795_000_020]))
    with pytest.raises(StoreError):
        store.append([batch], 1)
    with pytest.raises(StoreError, match="404 没有该存储桶"):
        store._server.write(b"record,gateway=g position=1i 1795000020")
    server.bucket("made-later")
    store.append([batch], 1)
    assert (store.applied(), store.set_aside, points(server, "made-later")) == (1, 0, 1)
    store.close()


def test_a_server_that_is_down_or_stands_still_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    with influx_1() as own:
        own.bucket("b")
        store = open_influx(own, "b", tmp_path, read_s=0.3)
        store.append([Append(1, "g", ["a"], now_records([1_795_000_020]))], 1)
        batch = Append(2, "g", ["a"], now_records([1_795_000_080]))
        own.pause()
        with pytest.raises(StoreError, match=r"0\.3 秒内无应答"):
            store.append([batch], 2)
        own.resume()
        store.append([batch], 2)
        own.stop_influxd()
        late = Append(3, "g", ["a"], now_records([1_795_000_020], parts=[5]))
        with pytest.raises(StoreError, match="502"):
            store.append([late], 3)
        own.start_influxd()
        store.append([late], 3)
        assert (store.rows(), points(own, "b")) == (3, 3)
        (day,) = store.read_days([("g", local_day(1_795_000_020))])
        assert list(zip(day.position.tolist(), day.records.parts.tolist(), strict=True)) == [(1, 0), (3, 5), (2, 0)]
        own.stop()
        with pytest.raises(StoreError, match="无法连接 InfluxDB"):
            store.append([late], 4)
        store.close()
