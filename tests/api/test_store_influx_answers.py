"""What InfluxDB 2.x and 3.x answer, by their documentation, and the trouble on the way there."""

from __future__ import annotations

import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.store.influx_address import InfluxAddress
from api.store.influx_aside import SetAside
from api.store.influx_http import InfluxServer
from api.store.influxdb import InfluxDBStore
from api.store.open import open_store
from api.store.port import Append, StoreError
from tests.api.county_fixtures import minutes
from tests.servers_influx import INFLUX_2, INFLUX_3, AnsweringServer, Generation, Reply

_SELF_SIGNED = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
    *("-subj", "/CN=influx", "-addext", "subjectAltName=IP:127.0.0.1"),
)
START_S = 1_795_000_020


@pytest.fixture(params=[INFLUX_2, INFLUX_3], ids=["2.x", "3.x"])
def there(request: pytest.FixtureRequest) -> Iterator[AnsweringServer]:
    with AnsweringServer(request.param) as server:
        yield server


def open_there(server: AnsweringServer, folder: Path, pauses: list[float] | None = None) -> InfluxDBStore:
    waited = [] if pauses is None else pauses
    influx = InfluxServer(InfluxAddress.parse(server.url()), read_s=0.5, pause=waited.append)
    return InfluxDBStore(influx, SetAside(folder / "refused.lp"))


def batches(count: int, rows: int = 100) -> list[Append]:
    return [Append(i + 1, "g", ["a"], minutes(0, START_S + 60 * rows * i, rows, quantity=i)) for i in range(count)]


def kept(server: AnsweringServer) -> set[str]:
    return {line for line in server.lines if line.startswith("record")}


def is_poison(line: str) -> bool:
    return line.startswith("record") and zlib.crc32(line.encode()) % 997 == 0


@pytest.mark.parametrize("whole_refused", [False, True])
def test_poison_lines_are_found_set_aside_once_and_the_good_ones_kept(
    there: AnsweringServer, tmp_path: Path, whole_refused: bool
) -> None:
    good = open_there(there, tmp_path)
    given = batches(60)
    there.poison, there.whole_refused = is_poison, whole_refused
    good.append(given, 60)
    poison = good.set_aside
    assert 2 <= poison <= 15
    assert len(kept(there)) == 6000 - poison
    assert (good.applied(), good.rows()) == (60, 6000 - poison)
    lines = Path(good.set_aside_where).read_text(encoding="utf-8").splitlines()
    assert all(is_poison(line) for line in lines if not line.startswith("#"))
    assert not any(is_poison(line) for line in there.lines)
    assert len(there.requests) < 20 * (poison + 2), "found by halving"
    assert max(there.requests) >= 5000
    good.close()


def test_where_the_mark_is_refused_too_nothing_is_set_aside(there: AnsweringServer, tmp_path: Path) -> None:
    store = open_there(there, tmp_path)
    there.poison, there.whole_refused = (lambda _: True), True
    with pytest.raises(StoreError, match="拒收"):
        store.append(batches(2), 2)
    assert (store.set_aside, store.applied(), store.rows()) == (0, 0, 0)
    assert not Path(store.set_aside_where).exists()
    there.poison = lambda _: False
    store.append(batches(2), 2)
    assert (len(kept(there)), store.applied()) == (200, 2)
    store.close()


def test_setting_aside_has_an_end(there: AnsweringServer, tmp_path: Path) -> None:
    influx = InfluxServer(InfluxAddress.parse(there.url()))
    store = InfluxDBStore(influx, SetAside(tmp_path / "refused.lp", max_lines=5))
    there.poison = lambda line: line.startswith("record")
    with pytest.raises(StoreError, match="已另存 5 行"):
        store.append(batches(1), 1)
    assert (store.applied(), store.set_aside) == (0, 5)
    there.poison = lambda _: False
    store.append(batches(1), 1)
    assert (store.applied(), len(kept(there))) == (1, 100)
    store.close()


def test_what_passes_is_tried_again_after_the_pause_that_the_server_asks_for(
    there: AnsweringServer, tmp_path: Path
) -> None:
    pauses: list[float] = []
    store = open_there(there, tmp_path, pauses)
    there.next_replies = [Reply(429, headers={"Retry-After": "3"}), Reply(503)]
    store.append(batches(1), 1)
    assert pauses == [3.0, 1.0]
    assert (len(kept(there)), store.applied()) == (100, 1)
    there.next_replies = [Reply(503, headers={"Retry-After": "60"})]
    with pytest.raises(StoreError, match="503 服务器暂不可用"):
        store.append(batches(2)[1:], 2)
    assert len(pauses) == 2, "a long pause is the caller's"
    assert store.applied() == 1
    store.append(batches(2)[1:], 2)
    assert (len(kept(there)), store.applied()) == (200, 2)
    store.close()


def test_a_full_disk_that_is_answered_500_keeps_everything_waiting(there: AnsweringServer, tmp_path: Path) -> None:
    pauses: list[float] = []
    store = open_there(there, tmp_path, pauses)
    there.next_replies = [Reply(500, '{"code":"internal error","message":"no space left on device"}')] * 3
    with pytest.raises(StoreError, match=r"应答 500，将自动重试.*no space left"):
        store.append(batches(1), 1)
    assert (len(pauses), store.applied(), store.set_aside) == (2, 0, 0)
    store.append(batches(1), 1)
    assert (store.applied(), len(kept(there))) == (1, 100)
    store.close()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(200, "<html>welcome</html>"), "200 而非 204"),
        (Reply(201), "201 而非 204"),
        (Reply(401, '{"code":"unauthorized"}'), "401 令牌无效"),
        (Reply(403), "403 令牌无权读写"),
        (Reply(404, '{"code":"not found","message":"bucket \\"plant\\" not found"}'), "404 没有该存储桶.*not found"),
        (Reply(302, headers={"Location": "/elsewhere"}), "302"),
        (Reply(418), "418"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else "",
)
def test_an_answer_that_is_not_204_is_no_success(
    there: AnsweringServer, tmp_path: Path, reply: Reply, words: str
) -> None:
    store = open_there(there, tmp_path)
    there.next_replies = [reply]
    with pytest.raises(StoreError, match=words):
        store.append(batches(1), 1)
    assert (store.applied(), store.set_aside) == (0, 0)
    store.append(batches(1), 1)
    assert (store.applied(), len(kept(there))) == (1, 100)
    store.close()


def test_a_request_that_is_too_large_is_halved_and_later_ones_are_smaller(
    there: AnsweringServer, tmp_path: Path
) -> None:
    store = open_there(there, tmp_path)
    there.largest_body = 100_000
    store.append(batches(80), 80)
    assert (len(kept(there)), store.applied(), store.set_aside) == (8000, 80, 0)
    there.requests.clear()
    later = [Append(80 + b.position, "h", b.devices, b.records) for b in batches(80)]
    store.append(later, 160)
    assert max(there.requests) < 2000
    there.largest_body = 50
    with pytest.raises(StoreError, match="413 单行请求也过大"):
        store.append([Append(161, "i", ["a"], minutes(0, START_S, 2))], 161)
    store.close()


def test_a_time_out_after_storing_writes_the_same_points_again(there: AnsweringServer, tmp_path: Path) -> None:
    store = open_there(there, tmp_path)
    conflicting = [
        Append(1, "g", ["a"], minutes(0, START_S, 30, parts=1)),
        Append(2, "g", ["a"], minutes(0, START_S, 30, parts=2)),
        Append(3, "g", ["a"], minutes(0, START_S, 30, parts=3)),
    ]
    for attempt in range(4):
        there.next_replies = [Reply(204, delay_s=1.0)] if attempt < 2 else []
        there.after_storing = True
        if attempt < 2:
            with pytest.raises(StoreError, match="秒内无应答"):
                store.append(conflicting, 3)
            assert store.applied() == 0
        elif attempt == 2:
            store.append(conflicting, 3)
    contents = {point: c for point, c in there.points().items() if point.startswith("record")}
    assert len(contents) == 90
    assert all(len(c) == 1 for c in contents.values()), "a point was given two contents"
    firsts = {next(iter(c)) for point, c in contents.items() if point.startswith("record,")}
    assert len(firsts) == 1
    assert "parts=1i" in firsts.pop()
    store.close()


@pytest.mark.parametrize(("generation", "version"), [(INFLUX_2, "2.7.12"), (INFLUX_3, "3.2.1")])
def test_a_server_is_known_by_its_version_header(generation: Generation, version: str, tmp_path: Path) -> None:
    with AnsweringServer(generation) as there:
        server = InfluxServer(InfluxAddress.parse(there.url()))
        assert (server.version, server.major) == (version, int(version[0]))
        server.close()
        there.named = False
        nameless = open_there(there, tmp_path)
        with pytest.raises(StoreError, match="X-Influxdb-Version"):
            nameless.applied()
        nameless.close()


def test_no_query_to_3_x_spans_more_than_72_hours(tmp_path: Path) -> None:
    with AnsweringServer(INFLUX_3) as there:
        store = open_there(there, tmp_path)
        store.append(batches(2), 2)
        assert list(store.read_days([("g", 20_775)])) == []
        assert store.gateway_days("g") == []
        spans = [re.search(r"time >= (\d+)s AND time < (\d+)s", s) for s in there.statements]
        assert len(spans) > 100
        assert all(s is not None and 0 < int(s[2]) - int(s[1]) <= 72 * 3600 for s in spans)
        store.close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"results":[{"statement_id":0,"partial":true}]}', "max-row-limit"),
        (
            '{"results":[{"series":[{"name":"applied","columns":["time"],"values":[[1]],"partial":true}]}]}',
            "max-row-limit",
        ),
        ('{"results":[{"error":"database not found: plant"}]}', "存储桶"),
        ('{"error":"parse error"}', "查询被拒绝"),
        ("<html>welcome</html>", "不是 InfluxDB 的 JSON"),
        ("{}", "应答为空"),
        ('{"results":[{"series":[{"name":"applied","columns":["time"],"values":[["a"]]}]}]}', "JSON"),
    ],
)
def test_an_answer_to_a_query_that_is_cut_short_or_strange_is_never_read_as_nothing(
    there: AnsweringServer, tmp_path: Path, body: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(there, "_query", lambda _path: body)
    store = open_there(there, tmp_path)
    with pytest.raises(StoreError, match=words):
        store.applied()
    with pytest.raises(StoreError, match=words):
        store.append(batches(1), 1)
    assert there.requests == []
    store.close()


def test_over_https_the_server_must_be_vouched_for(tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        [*_SELF_SIGNED, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
        timeout=30,
    )
    there = AnsweringServer(INFLUX_2)
    there.speak_tls(certificate, key)
    with there:
        url = there.url().replace("influxdb+http:", "influxdb+https:")
        store = open_store(url, folder=tmp_path, ca_file=certificate)
        store.append(batches(1), 1)
        assert len(kept(there)) == 100
        store.close()
        unknown = open_store(url, folder=tmp_path)
        with pytest.raises(StoreError, match="PLANTPULSE_STORE_CA_FILE"):
            unknown.applied()
        unknown.close()
        with pytest.raises(StoreError, match="PLANTPULSE_STORE_CA_FILE"):
            InfluxServer(InfluxAddress.parse(url)).write(
                b"m v=1i"
            )  # a certificate that expired since the last question
