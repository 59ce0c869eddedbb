"""What supervisors ask: alive or ready, what is counted, and a gateway that asks too much."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from prometheus_client.parser import text_string_to_metric_families

from api.journal.day_file import DayFile
from gateway.wire import MAX_DECODED_BYTES, Announce, DevicePresence, Live
from metrics.record import Records
from tests.api.county_fixtures import NOW_S, CountyUnderTest, minutes, running_county, served_county
from tests.waiting import until

Samples = dict[tuple[str, tuple[str, ...]], float]


async def scraped(county: CountyUnderTest) -> Samples:
    """Every sample by name and label values, read by Prometheus' own parser."""
    answer = await county.client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name.removeprefix("plantpulse_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_the_journals_age_and_the_stores_lag_are_counted(county: CountyUnderTest) -> None:
    empty = await scraped(county)
    assert empty["journal_position", ()] == 0
    assert ("journal_age_seconds", ()) not in empty, "an empty journal has no age"
    gateway = county.gateway()
    await gateway.send(["a"], minutes(0, NOW_S - 600, 3))
    await county.settle()
    county.clock.advance(90)
    await gateway.send(["a"], minutes(0, NOW_S - 300, 2))
    await asyncio.to_thread(county.county.applier.wait_applied, 2, 10.0)
    assert (await scraped(county))["days_dirty", ()] == 1
    county.clock.advance(10)
    await county.settle()
    now = await scraped(county)
    assert now["journal_age_seconds", ()] == pytest.approx(101, abs=1)
    assert now["journal_silence_seconds", ()] == pytest.approx(11, abs=1)
    assert now["journal_days", ()] == 1
    assert now["journal_bytes", ()] > 0
    assert (now["store_lag_batches", ()], now["store_lag_seconds", ()]) == (0, 0)
    assert now["records_stored", ()] == 5
    assert now["days_dirty", ()] == 0
    assert now["days_computed_total", ()] >= 1
    assert now["data_disk_free_bytes", ()] > 0


async def test_a_store_that_stands_still_shows_its_lag_in_batches_and_seconds(
    county: CountyUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(type(county.county.store), "append", broken)
    gateway = county.gateway()
    for i in range(3):
        await gateway.send(["a"], minutes(0, NOW_S - 600 + 60 * i, 1))
    await until(lambda: county.county.applier.last_error)
    county.clock.advance(120)
    now = await scraped(county)
    assert now["store_lag_batches", ()] == 3
    assert now["store_lag_seconds", ()] == pytest.approx(120, abs=2)
    assert now["failing", ("store",)] == 1
    assert now["failing", ("journal",)] == 0


async def test_what_is_rejected_is_counted_by_reason(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    columns = minutes(0, NOW_S - 600, 4).columns()
    columns["connected"] = np.array([600, 601, 600, 601])
    columns["device"] = np.array([0, 0, 7, 0])
    await gateway.send(["a"], Records.from_columns(columns))
    await gateway.send(["a"], minutes(0, NOW_S + 3600, 2))
    gateway.sequence = 0
    await gateway.send(["a"], minutes(0, NOW_S - 900, 1))  # a conflict
    await county.client.post("/api/v1/ingest", content=b"nothing", headers=gateway.headers)
    await county.client.post("/api/v1/live", content=b"nothing", headers=gateway.headers)
    await county.client.post("/api/v1/ingest", content=b"", headers={"authorization": "Bearer nobody"})
    await county.gateway("gw-2").post("announce", Announce("gw-1", 1, []))
    now = await scraped(county)
    assert now["rejected_rows_total", ("connected",)] == 2
    assert now["rejected_rows_total", ("device",)] == 1
    assert now["rejected_rows_total", ("ahead",)] == 2
    assert now["conflicts_total", ()] == 1
    assert now["rejected_bodies_total", ("bad-message",)] == 2
    assert now["rejected_bodies_total", ("gateway-unknown",)] == 1
    assert now["rejected_bodies_total", ("gateway-foreign",)] == 1


async def test_a_service_whose_register_is_gone_is_alive_and_not_ready(
    county: CountyUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    def gone(*_: object, **__: object) -> None:
        raise OperationalError("select 1", {}, Exception("the server is away"))

    monkeypatch.setattr(type(county.county.engine), "connect", gone)
    answer = await county.client.get("/healthz")
    assert (answer.status_code, answer.json()["alive"], answer.json()["ready"]) == (503, True, False)
    assert answer.json()["checks"]["register"] == "OperationalError"
    assert (await county.client.get("/healthz/alive")).json()["alive"] is True
    now = await scraped(county)
    assert now["failing", ("register",)] == 1
    assert ("days_dirty", ()) not in now, "unknown is not zero"


async def test_a_journal_that_cannot_be_written_is_not_ready_until_it_can(
    county: CountyUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = county.gateway()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    batch = gateway.batch(["a"], minutes(0, NOW_S - 60, 1))
    with monkeypatch.context() as patch:
        patch.setattr("api.journal.day_file.DayFile.write", full)
        assert (await gateway.post("ingest", batch)).status_code == 503
        answer = await county.client.get("/healthz")
        assert (answer.status_code, answer.json()["checks"]["journal"]) == (503, "no space left on device")
    assert (await gateway.ingest(batch)).result == "journalled"
    assert (await county.client.get("/healthz")).status_code == 200


async def test_a_gateway_beyond_its_limit_is_told_when_to_come_again_and_the_others_are_served(tmp_path: Path) -> None:
    async with running_county(tmp_path, gateway_requests_per_s=0.2) as county:  # two at once, then one in 5 s
        wild, calm = county.gateway("gw-1"), county.gateway("gw-2")
        batches = [wild.batch(["a"], minutes(0, NOW_S - 600 + 60 * i, 1)) for i in range(3)]
        assert [(await wild.post("ingest", b)).status_code for b in batches] == [200, 200, 429]
        refused = await wild.post("live", Live("gw-1", 1, [DevicePresence("a", True, "unknown", 0, 0)]))
        assert (refused.status_code, refused.json()["code"]) == (429, "too-fast")
        assert 1 <= int(refused.headers["retry-after"]) <= 5
        assert (await calm.send(["a"], minutes(0, NOW_S - 60, 1))).result == "journalled"
        await county.sign_in()
        (shown,) = [g for g in (await county.get("/gateways"))["items"] if g["id"] == "gw-1"]
        assert "turned away 2 times" in shown["alarm_en"]
        county.clock.advance(int(refused.headers["retry-after"]))
        assert (await wild.ingest(batches[2])).result == "journalled"
        assert (await scraped(county))["rejected_bodies_total", ("too-fast",)] == 2
        county.clock.advance(600)
        (shown,) = [g for g in (await county.get("/gateways"))["items"] if g["id"] == "gw-1"]
        assert "turned away" not in shown["alarm_en"]


async def test_a_gateways_bytes_are_limited_too_over_a_socket(tmp_path: Path) -> None:
    async with served_county(tmp_path, gateway_bytes_per_s=10.0) as county:
        gateway = county.gateway()
        big = await county.client.post("/api/v1/ingest", content=b"x" * 1000, headers=gateway.headers)
        assert (big.status_code, big.json()["code"]) == (400, "bad-message")
        answer = await gateway.post("ingest", gateway.batch(["a"], minutes(0, NOW_S - 60, 1)))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "90")


async def test_a_body_that_unpacks_without_end_is_refused_and_counted(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    zeros = bytes(MAX_DECODED_BYTES + 1)
    stream = zstandard.ZstdCompressor().compressobj()  # a frame that does not say how large it is
    for body in (zstandard.ZstdCompressor().compress(zeros), stream.compress(zeros) + stream.flush()):
        answer = await county.client.post("/api/v1/ingest", content=body, headers=gateway.headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-message")
    assert (await scraped(county))["rejected_bodies_total", ("bad-message",)] == 2
    assert county.county.journal.position == 0


async def test_a_limit_of_0_is_none(tmp_path: Path) -> None:
    async with running_county(tmp_path, gateway_requests_per_s=0, gateway_bytes_per_s=0) as county:
        gateway = county.gateway()
        for i in range(20):
            assert (await gateway.send(["a"], minutes(0, NOW_S - 6000 + 60 * i, 1))).result == "journalled"


async def test_a_journal_that_falls_behind_turns_batches_away_with_a_time_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.journal.writer._MAX_WAITING", 2)
    async with running_county(tmp_path) as county:
        gateway = county.gateway()
        batches = [gateway.batch(["a"], minutes(0, NOW_S - 6000 + 60 * i, 1)) for i in range(12)]
        slow, go_on = threading.Event(), threading.Event()
        write = DayFile.write

        def stand_still(self: DayFile, *given: Any) -> None:
            slow.set()
            assert go_on.wait(20)
            write(self, *given)

        monkeypatch.setattr(DayFile, "write", stand_still)
        sending = [asyncio.create_task(gateway.post("ingest", batches[0]))]
        assert await asyncio.to_thread(slow.wait, 20)
        sending += [asyncio.create_task(gateway.post("ingest", batch)) for batch in batches[1:]]
        await until(lambda: sum(task.done() for task in sending) == 9)
        go_on.set()
        answers = await asyncio.gather(*sending)
        busy = [a for a in answers if a.status_code == 503]
        assert len(busy) == 9, "one is being written, two wait"
        assert all(a.json()["code"] == "busy" and a.headers["retry-after"].isdigit() for a in busy)
        assert (await scraped(county))["rejected_bodies_total", ("busy",)] == 9
        again = [(await gateway.ingest(batch)).result for batch in batches]
        assert sorted(again) == ["duplicate"] * 3 + ["journalled"] * 9
