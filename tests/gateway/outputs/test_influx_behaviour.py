"""The plant's own InfluxDB, well and unwell, under a running gateway: never at the expense of the uplink."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from collectors.model import Batch, Quality, Samples
from gateway.config import PlantConfig
from gateway.links import Link
from gateway.outputs import sender as sending_module
from gateway.outputs.influx import HALVINGS_MOST, InfluxSink
from gateway.outputs.rows import RowQueue
from gateway.outputs.sender import Sender
from gateway.runner import Gateway
from gateway.troubles import Troubles
from tests.gateway.county_stub import CountyStub
from tests.gateway.outputs.plants import (
    START_NS,
    codes,
    has_next_step,
    influx_output,
    is_accounted_for,
    one_machine,
    rows_of,
    samples,
    sending,
    told,
)
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, device, steady
from tests.servers_influx import INFLUX_2, AnsweringServer, Influx1, Reply
from tests.waiting import until

Make = Callable[..., PlantConfig]
DISK_FULL = Reply(500, '{"error":"engine: error writing WAL entry: write /wal/_00001.wal: no space left on device"}')


def outputs_of(gateway: Gateway) -> list[Sender]:
    assert gateway.outputs is not None
    return gateway.outputs.senders


def stored(server: Influx1, bucket: str, fields: str, where: str = "") -> list[list[Any]]:
    series = server.query(bucket, f"SELECT {fields} FROM plantpulse{where}")
    return series[0]["values"] if series else []


async def test_every_sample_that_the_gateway_took_is_in_the_plants_influxdb(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, server: Influx1, bucket: str
) -> None:
    output = influx_output(f"http://{server.host}", bucket=bucket, token_file=server.token_file, batch_rows=50)
    config = sending(plant(county.url), output)
    async with gateway_of(config, monkeypatch, one_machine()) as (gateway, _):
        (sender,) = outputs_of(gateway)
        await until(lambda: sender.sent_rows >= 200)
        assert codes(gateway) == set()
    assert sender.dropped.total() == 0
    assert sender.sent_rows == sender.taken_rows == gateway.intake.samples["modbus"]
    assert sum(row[1] for row in stored(server, bucket, "count(quality)")) == sender.sent_rows
    (series,) = server.query(bucket, "SELECT last(value) FROM plantpulse WHERE \"tag\" = 'temperature' GROUP BY *")
    assert series["tags"] == {"gateway": "g-1", "device": "m-1", "tag": "temperature", "unit": "°C"}
    assert series["values"][0][1] == 20.0


async def test_quality_and_the_machines_own_time_are_kept(server: Influx1, bucket: str) -> None:
    sink = InfluxSink(influx_output(f"http://{server.host}", bucket=bucket, token_file=server.token_file), "g-1")
    at_ns = 1_790_000_000_123_456_789
    assert sink.write(rows_of(5.0, at_ns=at_ns, source_ns=2_000_000)) == 0
    assert sink.write(rows_of(1.0, tag=1, at_ns=at_ns, quality=Quality.BAD)) == 0
    assert sink.write(rows_of(2.0, tag=2, at_ns=at_ns, quality=Quality.UNCERTAIN)) == 0
    sink.close()
    kept = stored(server, bucket, 'value, quality, lag_us, "tag"')
    assert sorted(row[1:] for row in kept if row[4] == "state") == [[5.0, 0, 2000, "state"]]
    assert sorted(row[1:] for row in kept if row[4] == "energy") == [[None, 2, None, "energy"]]
    assert sorted(row[1:] for row in kept if row[4] == "parts") == [[2.0, 1, None, "parts"]]


async def test_writing_again_what_was_written_doubles_nothing(server: Influx1, bucket: str) -> None:
    sink = InfluxSink(influx_output(f"http://{server.host}", bucket=bucket, token_file=server.token_file), "g-1")
    for _ in range(3):
        sink.write(rows_of(1.0, 2.0, 3.0))
    sink.close()
    assert sum(row[1] for row in stored(server, bucket, "count(value)")) == 3


async def test_only_the_entries_that_an_output_names_are_sent(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(_: PlantConfig, clock: Any) -> list[Link]:
        return [Link("modbus", ScriptedCollector(steady(), clock, device_id=d)) for d in ("m-1", "m-2")]

    with AnsweringServer(INFLUX_2) as database:
        output = influx_output(f"http://127.0.0.1:{database.port}", devices=("m-2",))
        async with gateway_of(sending(plant(county.url, "m-1", "m-2"), output), monkeypatch, two) as (gateway, _):
            await until(lambda: outputs_of(gateway)[0].sent_rows >= 40)
        assert {line.split("device=")[1].split(",")[0] for line in database.lines} == {"m-2"}


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("hangs", "output_silent"),
        ("refuses connections", "output_server_failed"),
        ("has a full disk", "output_server_failed"),
        ("wants another token", "output_login_refused"),
        ("lost the bucket", "output_no_bucket"),
    ],
)
async def test_a_broken_influxdb_is_told_and_the_countys_records_are_as_if_there_were_none(
    county: CountyStub,
    plant: Make,
    monkeypatch: pytest.MonkeyPatch,
    server: Influx1,
    bucket: str,
    trouble: str,
    code: str,
) -> None:
    token_file = server.token_file.with_name(f"token-of-{bucket}")
    token_file.write_text(server.token_file.read_text())
    kept: list[ScriptedCollector] = []
    with AnsweringServer(INFLUX_2) as full:
        full.next_replies = [DISK_FULL] * 10_000
        url = f"http://127.0.0.1:{full.port}" if trouble == "has a full disk" else f"http://{server.host}"
        output = influx_output(url, bucket=bucket, token_file=token_file, queue_rows=1000)
        config = sending(plant(county.url), output)
        if trouble == "hangs":
            server.pause()
        elif trouble == "refuses connections":
            server.stop_influxd()
        elif trouble == "wants another token":
            token_file.write_text("revoked")
        elif trouble == "lost the bucket":
            server.drop_bucket(bucket)
        try:
            made = one_machine(kept, period_s=0.005)
            async with gateway_of(config, monkeypatch, made, close_short=True) as (gateway, _):
                await until(lambda: told(gateway, code))
                assert has_next_step(told(gateway, code))
                (sender,) = outputs_of(gateway)
                await until(lambda: sender.dropped["queue_full"] and county.live, 60)
                assert has_next_step(told(gateway, "output_queue_full"))
                assert is_accounted_for(gateway)
                assert sender.sent_rows == 0
                assert not gateway.health.reasons()
                assert gateway.status.summary()["outputs"][0]["dropped"]["queue_full"] > 0
                assert gateway.status.summary()["shed"] == {}
        finally:
            server.resume() if trouble == "hangs" else None
            if trouble == "refuses connections":
                server.start_influxd()
            if trouble == "lost the bucket":
                server.bucket(bucket)
    assert county.doubled == []
    assert county.total("m-1", "good") == gateway.intake.samples["modbus"] == 4 * kept[0].read_batches
    assert is_accounted_for(gateway)


async def test_an_influxdb_that_comes_back_gets_what_waited(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, server: Influx1, bucket: str
) -> None:
    output = influx_output(f"http://{server.host}", bucket=bucket, token_file=server.token_file)
    server.stop_influxd()
    try:
        async with gateway_of(sending(plant(county.url), output), monkeypatch, one_machine()) as (gateway, _):
            (sender,) = outputs_of(gateway)
            await until(lambda: sender.failures >= 2)
            server.start_influxd()
            await until(lambda: sender.sent_rows >= 100 and not gateway.troubles.listed())
    finally:
        if server._influxd is None:
            server.start_influxd()
    assert sender.dropped.total() == 0
    assert sum(row[1] for row in stored(server, bucket, "count(quality)")) == gateway.intake.samples["modbus"]


async def test_a_token_that_is_replaced_works_without_a_restart(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, server: Influx1, bucket: str
) -> None:
    token_file = server.token_file.with_name(f"rotated-{bucket}")
    token_file.write_text("old")
    output = influx_output(f"http://{server.host}", bucket=bucket, token_file=token_file)
    async with gateway_of(sending(plant(county.url), output), monkeypatch, one_machine()) as (gateway, _):
        await until(lambda: "output_login_refused" in codes(gateway))
        token_file.write_text(server.token_file.read_text())
        await until(lambda: outputs_of(gateway)[0].sent_rows > 0 and not gateway.troubles.listed())


def test_lines_that_a_server_refuses_are_found_counted_and_hold_no_other_back() -> None:
    with AnsweringServer(INFLUX_2) as database:
        database.poison, database.whole_refused = (lambda line: "value=13.0" in line), True
        sink = InfluxSink(influx_output(f"http://127.0.0.1:{database.port}"), "g-1")
        assert sink.write(rows_of(*range(200))) == 1
        assert len(database.lines) == 199
        assert not any("value=13.0" in line for line in database.lines)
        database.poison = lambda _line: True
        before = len(database.requests)
        assert sink.write(rows_of(*range(900))) == 900
        assert len(database.requests) - before <= HALVINGS_MOST + 20
        sink.close()


def test_a_request_that_is_too_large_is_sent_in_parts() -> None:
    with AnsweringServer(INFLUX_2) as database:
        database.largest_body = 4000
        sink = InfluxSink(influx_output(f"http://127.0.0.1:{database.port}"), "g-1")
        assert sink.write(rows_of(*range(300))) == 0
        assert len(database.lines) == 300
        sink.close()


async def test_refused_rows_are_told_and_the_telling_ends_when_none_are_refused(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "REFUSED_TOLD_S", 0.2)
    with AnsweringServer(INFLUX_2) as database:
        database.poison = lambda line: "tag=parts" in line
        output = influx_output(f"http://127.0.0.1:{database.port}")
        async with gateway_of(sending(plant(county.url), output), monkeypatch, one_machine()) as (gateway, _):
            (sender,) = outputs_of(gateway)
            await until(lambda: sender.dropped["refused"] >= 3 and told(gateway, "output_rows_refused"))
            assert has_next_step(told(gateway, "output_rows_refused"))
            database.poison = lambda _line: False
            await until(lambda: not gateway.troubles.listed())
            assert is_accounted_for(gateway)


async def test_a_welcome_page_is_no_influxdb(county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with AnsweringServer(INFLUX_2) as page:
        page.next_replies = [Reply(200, "<html>welcome</html>")] * 1000
        output = influx_output(f"http://127.0.0.1:{page.port}")
        async with gateway_of(sending(plant(county.url), output), monkeypatch, one_machine()) as (gateway, _):
            await until(lambda: "output_not_influxdb" in codes(gateway))
            assert outputs_of(gateway)[0].sent_rows == 0


async def test_a_server_that_never_ends_its_answer_is_told_and_does_not_keep_the_gateway_from_ending(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "STUCK_S", 0.3)
    release = threading.Event()
    try:
        output = influx_output("http://127.0.0.1:9")
        config = sending(plant(county.url), output)
        monkeypatch.setattr(InfluxSink, "write", lambda self, rows: release.wait(30) and 0)
        async with gateway_of(config, monkeypatch, one_machine(), close_short=True) as (gateway, task):
            await until(lambda: "output_stuck" in codes(gateway))
            before = gateway.intake.samples["modbus"]
            await until(lambda: gateway.intake.samples["modbus"] >= before + 40)
            began_s = time.monotonic()
            gateway.stop()
            assert await task == 0
            assert time.monotonic() - began_s < 15
        assert county.total("m-1", "good") == gateway.intake.samples["modbus"]
        assert outputs_of(gateway)[0].dropped["stopped"] > 0
        assert is_accounted_for(gateway)
    finally:
        release.set()


async def test_a_mistake_of_ours_costs_one_batch_and_is_told(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.supervision.RESTART_FIRST_S", 0.05)
    mistakes = [ZeroDivisionError("a bug")]

    def write(self: InfluxSink, rows: Any) -> int:
        if mistakes:
            raise mistakes.pop()
        return 0

    monkeypatch.setattr(InfluxSink, "write", write)
    config = sending(plant(county.url), influx_output("http://127.0.0.1:9"))
    async with gateway_of(config, monkeypatch, one_machine()) as (gateway, _):
        (sender,) = outputs_of(gateway)
        await until(lambda: sender.sent_rows > 0)
        assert "part_failed" in codes(gateway)
        assert sender.dropped["failed"] > 0
        assert is_accounted_for(gateway)


async def test_a_mistake_of_ours_before_the_queue_costs_samples_never_a_record(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(*_: Any) -> int:
        raise ZeroDivisionError("a bug")

    kept: list[ScriptedCollector] = []
    monkeypatch.setattr(RowQueue, "put", put)
    config = sending(plant(county.url), influx_output("http://127.0.0.1:9"))
    async with gateway_of(config, monkeypatch, one_machine(kept), close_short=True) as (gateway, _):
        (sender,) = outputs_of(gateway)
        await until(lambda: sender.dropped["failed"] >= 40)
        assert kept[0].connects == 1
    assert sender.dropped["failed"] == sender.taken_rows == gateway.intake.samples["modbus"]
    assert county.total("m-1", "good") == 4 * kept[0].read_batches


async def test_a_mistake_of_ours_at_the_end_does_not_keep_the_records_from_being_written(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping: list[bool] = []

    def write(self: InfluxSink, rows: Any) -> int:
        if stopping:
            raise ZeroDivisionError("a bug")
        return 0

    monkeypatch.setattr(InfluxSink, "write", write)
    config = sending(plant(county.url), influx_output("http://127.0.0.1:9"))
    async with gateway_of(config, monkeypatch, one_machine(), close_short=True) as (gateway, task):
        (sender,) = outputs_of(gateway)
        await until(lambda: sender.sent_rows > 0)
        await until(lambda: sender.waiting_rows > 0 and sender._writing is None)
        stopping.append(True)
        gateway.stop()
        assert await task == 0
    assert county.total("m-1", "good") == gateway.intake.samples["modbus"]
    assert sender.taken_rows == sender.sent_rows + sender.dropped.total()


async def test_without_a_clock_samples_wait_and_are_sent_under_the_right_date() -> None:
    with AnsweringServer(INFLUX_2) as database:
        output = influx_output(f"http://127.0.0.1:{database.port}")
        sender = Sender(output, InfluxSink(output, "g-1"), Troubles(), time.time_ns, time_is_known=False)
        running = asyncio.create_task(sender.run())
        sender.take(device(), samples([1.0], at_ns=5_000_000_000), 0)
        sender.take(device(), samples([2.0], tag=1, at_ns=6_000_000_000), 0)
        for _ in range(20):
            await asyncio.sleep(0.01)  # time in which a sender that did not wait would have sent
        assert database.requests == []
        sender.correct(START_NS)
        await until(lambda: sender.sent_rows == 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sender.finish(5)
        assert sorted(int(line.rsplit(" ", 1)[1]) - START_NS for line in database.lines) == [5 * 10**9, 6 * 10**9]


async def test_a_gateway_that_never_learns_the_time_counts_what_it_could_not_send() -> None:
    output = influx_output("http://127.0.0.1:9")
    sender = Sender(output, InfluxSink(output, "g-1"), Troubles(), time.time_ns, time_is_known=False)
    sender.take(device(), samples([1.0, 2.0]), 0)
    await sender.finish(5)
    assert sender.dropped == {"stopped": 2}


async def test_a_tag_that_the_device_does_not_have_is_counted(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wild(ScriptedCollector):
        async def read(self) -> Batch:
            batch = await super().read()
            wild = Samples.of([0, 99], [1.0, 2.0], self.clock())
            return Batch([*batch.samples, (self.device.id, wild)], batch.proofs, batch.devices, ack=batch.ack)

    with AnsweringServer(INFLUX_2) as database:
        config = sending(plant(county.url), influx_output(f"http://127.0.0.1:{database.port}"))
        make = lambda _, clock: [Link("modbus", Wild(steady(), clock))]  # noqa: E731
        async with gateway_of(config, monkeypatch, make) as (gateway, _):
            await until(lambda: outputs_of(gateway)[0].dropped["unknown_tag"] >= 3)
            assert is_accounted_for(gateway)


async def test_samples_wait_in_a_thread_of_the_outputs_own_not_on_the_event_loop() -> None:
    threads: list[str] = []

    class Slow:
        def write(self, rows: Any) -> int:
            threads.append(threading.current_thread().name)
            time.sleep(0.5)
            return 0

        def close(self) -> None:
            threads.append("closed")

    sender = Sender(influx_output("http://127.0.0.1:9"), Slow(), Troubles(), time.time_ns)
    sender.take(device(), samples([1.0]), 0)
    running = asyncio.create_task(sender.run())
    turns = 0
    while not sender.sent_rows:
        await asyncio.sleep(0.005)
        turns += 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await sender.finish(5)
    assert turns >= 10
    assert threads == ["output historian", "closed"]
