"""What a person can count on of a running gateway: real sockets, real disk, scripted machines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collectors.model import Batch, Clock, ConfigError, LinkError, Trouble
from gateway import clock_watch, runner
from gateway.config import PlantConfig
from gateway.links import Link
from gateway.outbox import Outbox, OutboxError
from gateway.runner import Gateway, Options
from metrics.record import Flag
from tests.gateway.county_stub import CountyStub
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, steady
from tests.waiting import until

Make = Callable[..., PlantConfig]


@asynccontextmanager
async def running(
    config: PlantConfig,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Clock], Sequence[ScriptedCollector]],
    **options: Any,
) -> AsyncIterator[tuple[Gateway, list[ScriptedCollector], asyncio.Task[int]]]:
    """A gateway over scripted machines until the block ends; then it is stopped in order."""
    made: list[ScriptedCollector] = []

    def links(_: PlantConfig, clock: Clock) -> list[Link]:
        made.extend(make(clock))
        return [Link("modbus", collector) for collector in made]

    async with gateway_of(config, monkeypatch, links, **options) as (gateway, task):
        yield gateway, made, task


def one(clock: Clock) -> list[ScriptedCollector]:
    return [ScriptedCollector(steady(), clock)]


async def test_from_a_machine_to_the_county(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = tmp_path / "status.json"
    config = plant(county.url, "m-1", "ghost")
    async with running(config, monkeypatch, one, close_short=True, status_file=status) as (gateway, _, task):
        await until(lambda: gateway.intake.samples["modbus"] >= 40)
        gateway.stop()
        assert await task == 0
    row = next(row for (device, _, _), row in county.rows.items() if device == "m-1")
    assert county.refused == []
    assert row["quantity"] > 0
    assert row["flags"] & Flag.CLOSED_SHORT or len(county.rows) > 2
    assert county.total("ghost", "observed") > 0
    assert county.total("ghost", "connected") == 0
    assert county.announcements[1].serial == "0001"
    assert {d.id for d in county.live[-1].devices} == {"m-1", "ghost"}
    summary = json.loads(status.read_text())
    assert summary["samples"]["modbus"] == gateway.intake.samples["modbus"]
    assert summary["records_written"] == len(county.rows)
    assert summary["batches_unsent"] == 0
    assert summary["connected_devices"] == 1
    assert summary["shed"] == {}
    assert summary["troubles"] == []


@pytest.mark.parametrize("name", ["x" * 200, "line\nbreak"], ids=["too long", "not printable"])
async def test_a_device_whose_name_the_county_cannot_take_is_told_and_keeps_nobody_else_waiting(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def both(clock: Clock) -> list[ScriptedCollector]:
        strange = ScriptedCollector(steady(), clock, device_id=f"cell/{name}")
        return [*one(clock), strange]

    config = plant(county.url, "m-1", "cell")
    async with running(config, monkeypatch, both, close_short=True) as (gateway, (_, strange), _):
        await until(lambda: gateway.intake.samples["modbus"] >= 20 and strange.read_batches >= 5)
        (trouble,) = [t for t in gateway.troubles.listed() if t.code == "device_id_unusable"]
        assert (trouble.subject, bool(trouble.next_zh), bool(trouble.next_en)) == ("cell/name", True, True)
        assert gateway.windows.shed["device_refused"] == 1
        assert gateway.windows.shed["unknown_device"] > 0, "what is not counted is counted as such"
    assert county.total("m-1", "good") > 0
    assert {device for device, _, _ in county.rows} == {"m-1", "cell"}


async def test_the_run_ends_by_itself_after_its_seconds(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plant(county.url), monkeypatch, one, close_short=True, seconds=0.5) as (_, _, task):
        assert await asyncio.wait_for(task, 5) == 0
    assert county.total("m-1", "good") > 0


async def test_samples_are_acknowledged_only_after_a_synced_checkpoint(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(county.url, checkpoint_s=1.0, window_s=900)
    async with running(config, monkeypatch, one) as (gateway, (collector,), _):
        await until(lambda: collector.read_batches >= collector.acked + 3)
        before, acked = gateway.thread.outbox.checkpoint(), collector.acked
        await until(lambda: collector.acked >= acked + 3)
        assert gateway.thread.outbox.checkpoint() != before


async def test_a_stop_in_order_resumes_as_a_kill_does(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, machine = plant(county.url, window_s=900), steady()

    def make(clock: Clock) -> list[ScriptedCollector]:
        return [ScriptedCollector(machine, clock)]

    async with running(config, monkeypatch, make) as (gateway, _, _):
        await until(lambda: gateway.intake.samples["modbus"] >= 20)
        first = gateway.windows.accounts["m-1"]
    assert county.rows == {}
    async with running(config, monkeypatch, make, close_short=True) as (gateway, _, _):
        await until(lambda: gateway.intake.samples["modbus"] >= 20)
        second = gateway.windows.accounts["m-1"]
    (row,) = county.rows.values()
    assert row["flags"] & Flag.RESUMED
    assert row["good"] >= 40
    assert row["quantity"] > (first.quantity.last or 0) - 100_000
    assert row["quantity"] <= (second.quantity.last or 0) - 100_000


async def test_an_unplugged_machine_is_shown_as_not_connected(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(clock: Clock) -> list[ScriptedCollector]:
        return [ScriptedCollector(steady(), clock, liveness_s=0.5)]

    async with running(plant(county.url), monkeypatch, make) as (_, (collector,), _):
        await county.until(lambda: county.live and county.live[-1].devices[0].connected)
        collector.plugged = False
        await county.until(lambda: not county.live[-1].devices[0].connected, timeout_s=3)
        assert county.live[-1].devices[0].state == "unknown"
        collector.plugged = True
        await county.until(lambda: county.live[-1].devices[0].connected, timeout_s=3)


async def test_a_collector_that_fails_restarts_alone_and_is_shown(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(clock: Clock) -> list[ScriptedCollector]:
        return [ScriptedCollector(steady(), clock, device_id=f"m-{i}") for i in (1, 2)]

    async with running(plant(county.url, "m-1", "m-2"), monkeypatch, make) as (gateway, (bad, good), _):
        await until(lambda: bad.read_batches >= 2)
        bad.fail = [ZeroDivisionError("a bug")]
        await until(lambda: gateway.troubles.listed())
        (trouble,) = gateway.troubles.listed()
        assert (trouble.subject, trouble.code) == (bad.link, "collector_failed")
        before = good.read_batches
        await until(lambda: bad.connects == 2 and bad.read_batches >= 4)
        assert good.connects == 1
        assert good.read_batches > before
        assert gateway.troubles.listed() == []
        watched = gateway.windows.accounts["m-1"].track.watched
        assert len(watched) == 2  # while it was down nobody looked


async def test_a_cancellation_from_inside_a_collector_does_not_end_the_gateway(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plant(county.url), monkeypatch, one) as (_, (collector,), task):
        await until(lambda: collector.read_batches >= 1)
        collector.fail = [asyncio.CancelledError()]  # type: ignore[list-item]
        await until(lambda: collector.connects == 2)
        assert not task.done()


async def test_a_lost_link_is_told_once_and_again_when_it_is_well(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    async with running(plant(county.url), monkeypatch, one) as (gateway, (collector,), _):
        await until(lambda: collector.read_batches >= 1)
        collector.plugged = False
        await until(lambda: collector.connects >= 4)
        collector.plugged = True
        await until(lambda: not gateway.troubles.listed())
    about = [line["event"] for line in log if line.get("subject") == collector.link]
    assert about == ["trouble", "trouble over"]


async def test_a_configuration_that_cannot_work_stops_only_that_link(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(clock: Clock) -> list[ScriptedCollector]:
        return [ScriptedCollector(steady(), clock, device_id=f"m-{i}") for i in (1, 2)]

    async with running(plant(county.url, "m-1", "m-2"), monkeypatch, make) as (gateway, (bad, good), _):
        await until(lambda: bad.read_batches >= 1)
        bad.fail = [ConfigError("no_such_node", "没有这个节点", "no such node")]
        await until(lambda: gateway.troubles.listed())
        before, connects = good.read_batches, bad.connects
        await until(lambda: good.read_batches >= before + 5)
        assert bad.connects == connects
        assert [t.code for t in gateway.troubles.listed()] == ["no_such_node"]


async def test_what_a_collector_drops_or_tells_is_shown(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Telling(ScriptedCollector):
        async def read(self) -> Batch:
            batch = await super().read()
            if self.read_batches > 1:
                return batch
            told = Trouble("m-1", "odd", "奇怪", "odd")
            return Batch(batch.samples, batch.proofs, batch.devices, [told], {"queue_full": 3}, batch.ack)

    async with running(plant(county.url), monkeypatch, lambda clock: [Telling(steady(), clock)]) as (gateway, _, _):
        await until(lambda: gateway.troubles.listed())
        assert gateway.windows.shed_counts() == {"queue_full": 3}
        await county.until(lambda: county.live[-1].shed == {"queue_full": 3})


async def test_a_county_that_is_away_for_a_while_gets_everything_once(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plant(county.url), monkeypatch, one, close_short=True) as (gateway, _, _):
        await until(lambda: gateway.intake.samples["modbus"] >= 20)
        await county.stop()
        gateway.keeper.unwritten += gateway.windows.close_short(gateway.clock())
        await until(lambda: gateway.keeper.records_written >= 1)
        await until(lambda: gateway.troubles.listed())
        await county.start()
        await county.until(lambda: county.rows)
    account = gateway.windows.accounts["m-1"]
    assert county.doubled == []
    assert county.total("m-1", "quantity") <= (account.quantity.last or 0)


async def test_a_full_disk_ends_nothing_and_loses_nothing(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plant(county.url), monkeypatch, one, close_short=True) as (gateway, (collector,), task):
        await until(lambda: collector.acked >= 1)
        db = gateway.thread.outbox.db
        await gateway.thread.call(db.execute, "PRAGMA max_page_count=1")
        await gateway.thread.call(db.execute, "PRAGMA query_only=1")
        await until(lambda: [t.code for t in gateway.troubles.listed()] == ["disk_not_writable"])
        acked = collector.acked
        gateway.keeper.unwritten += gateway.windows.close_short(gateway.clock())
        before = collector.read_batches
        await until(lambda: collector.read_batches >= before + 10)
        assert collector.acked == acked
        assert gateway.keeper.records_written == 0
        await gateway.thread.call(db.execute, "PRAGMA query_only=0")
        await gateway.thread.call(db.execute, "PRAGMA max_page_count=1000000")
        await until(lambda: gateway.keeper.records_written >= 1 and collector.acked > acked)
        await until(lambda: not gateway.troubles.listed())
    assert not task.cancelled()
    assert county.doubled == []


async def test_a_window_length_can_be_changed_without_losing_what_was_counted(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = steady()

    def make(clock: Clock) -> list[ScriptedCollector]:
        return [ScriptedCollector(machine, clock)]

    async with running(plant(county.url, window_s=900), monkeypatch, make) as (gateway, _, _):
        await until(lambda: gateway.intake.samples["modbus"] >= 20)
    async with running(plant(county.url, window_s=10), monkeypatch, make) as (gateway, _, _):
        await county.until(lambda: county.rows)
        assert gateway.windows.closed_ns % (900 * 10**9) == 0
    (row,) = county.rows.values()
    assert row["length"] == 9000
    assert row["flags"] & Flag.CLOSED_SHORT
    assert row["good"] >= 20


async def test_a_data_folder_serves_one_process_only(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(county.url)
    async with running(config, monkeypatch, one):
        with pytest.raises(OutboxError, match="another gateway process"):
            await runner.run(config, Options(), lambda config, clock: [])
    async with running(config, monkeypatch, one) as (gateway, _, _):
        await until(lambda: gateway.intake.samples["modbus"])


async def test_a_process_that_was_stopped_for_a_while_says_that_it_did_not_watch(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_watch, "PROGRESS_S", 0.05)
    monkeypatch.setattr(clock_watch, "NOT_WATCHING_NS", 300_000_000)
    async with running(plant(county.url, window_s=900), monkeypatch, one) as (gateway, _, _):
        await until(lambda: gateway.intake.samples["modbus"])
        account = gateway.windows.accounts["m-1"]
        time.sleep(0.6)  # noqa: ASYNC251 (the event loop stands still, as in a stopped process)
        await until(lambda: len(account.track.watched) == 2)
        (_, end_ns), (start_ns, _) = account.track.watched
        assert 0.5e9 < start_ns - end_ns < 5e9


def test_link_errors_say_what_to_do_next() -> None:
    error = LinkError("unreachable", "连不上", "cannot be reached", "检查网线", "check the cable")
    trouble = error.trouble("x")
    assert (trouble.next_zh, trouble.next_en) == ("检查网线", "check the cable")


async def test_a_damaged_checkpoint_is_kept_and_told_and_the_work_goes_on(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(county.url)
    folder = config.gateway.data_dir
    for n in range(7):
        outbox = Outbox(folder / "outbox.sqlite3", config.site)
        outbox.save_checkpoint(b"damaged %d" % n)
        outbox.close()
        async with running(config, monkeypatch, one) as (gateway, (collector,), _):
            await until(lambda: collector.acked)
            (told,) = [t for t in gateway.troubles.listed() if t.code == "checkpoint_damaged"]
        latest = max(folder.glob("checkpoint.damaged-*"))
        assert latest.read_bytes() == b"damaged %d" % n
        assert str(latest) in told.zh
        assert str(latest) in told.en
    assert len(list(folder.glob("checkpoint.damaged-*"))) == 5
    async with running(config, monkeypatch, one) as (gateway, _, _):
        await until(lambda: gateway.intake.samples["modbus"])
        assert gateway.troubles.listed() == []
