"""Ingest: what is refused, held, sent again, in conflict, missing; and who may send."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import select

from api.day_rows import read_content
from api.register.models import DeviceDay
from gateway.wire import (
    MAX_BODY_BYTES,
    Announce,
    Announcement,
    DeviceRef,
    Gap,
    IngestJson,
    Missing,
    encode,
)
from metrics.record import Records
from tests.api.county_fixtures import NOW_S, TODAY, CountyUnderTest, HandClock, minutes, running_county, served_county


def stored_rows(county: CountyUnderTest) -> int:
    return county.county.store.rows()


async def test_a_batch_is_journalled_and_stored_once_whatever_is_sent_again(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    batch = gateway.batch(["cnc-1"], minutes(0, NOW_S - 600, 10))
    first = await gateway.ingest(batch)
    assert (first.result, first.accepted, first.refused, first.held) == ("journalled", 10, [], 0)
    assert first.county_time_ns == county.clock.now_ns()
    again = await asyncio.gather(*(gateway.ingest(batch) for _ in range(5)))
    assert {a.result for a in again} == {"duplicate"}
    assert {a.accepted for a in again} == {10}
    await county.settle()
    assert stored_rows(county) == 10


async def test_two_copies_in_flight_at_once_are_journalled_once(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    batches = [gateway.batch(["cnc-1"], minutes(0, NOW_S - 600 + 60 * i, 1)) for i in range(20)]
    answers = await asyncio.gather(*(gateway.ingest(b) for b in batches for _ in range(3)))
    assert sorted(a.result for a in answers) == ["duplicate"] * 40 + ["journalled"] * 20
    await county.settle()
    assert stored_rows(county) == 20


async def test_the_same_key_with_other_bytes_is_a_conflict_that_is_counted_and_not_stored(
    plant: CountyUnderTest,
) -> None:
    gateway = plant.gateway()
    await gateway.send(["cnc-1"], minutes(0, NOW_S - 60, 1))
    gateway.sequence = 0
    answer = await gateway.send(["cnc-1"], minutes(0, NOW_S - 60, 1, parts=9))
    assert (answer.result, answer.accepted) == ("conflict", 0)
    await plant.settle()
    assert stored_rows(plant) == 1
    await plant.sign_in()
    shown = {g["id"]: g for g in (await plant.get("/gateways"))["items"]}
    assert shown["gw-1"]["conflicts"] == 1


async def test_what_a_card_imaged_weeks_ago_reads_now_is_no_duplicate_of_what_was_sent_then(tmp_path: Path) -> None:
    async with running_county(tmp_path / "county", journal_days=1) as county:
        gateway = county.gateway()
        then = gateway.batch(["cnc-1"], minutes(0, NOW_S - 600, 10))
        await gateway.ingest(then)
        await county.settle()
        county.clock.advance(20 * 86_400)
        await gateway.send(["cnc-1"], minutes(0, NOW_S + 20 * 86_400 - 1200, 10))
        await county.settle()
        assert county.county.journal.drop_before(2) == ["2026-11-18"]
        gateway.sequence = 0
        now = gateway.batch(["cnc-1"], minutes(0, NOW_S + 20 * 86_400 - 600, 10))
        assert (await gateway.ingest(now)).result == "conflict", "the gateway opens a new epoch and sends it again"
        assert (await gateway.ingest(then)).result == "duplicate"
        again = msgspec.structs.replace(now, epoch=5)
        assert (await gateway.ingest(again)).accepted == 10
        await county.settle()
        assert counted(county) == {TODAY: (10, 6000, 0), TODAY + 20: (20, 12_000, 0)}
        # where nobody can tell the gateway does the same: what is there already counts once
        assert (await gateway.ingest(msgspec.structs.replace(then, epoch=6))).result == "journalled"
        await county.settle()
        assert counted(county) == {TODAY: (10, 6000, 10), TODAY + 20: (20, 12_000, 0)}


def counted(county: CountyUnderTest) -> dict[int, tuple[int, int, int]]:
    """Records, connected time in 1/10 s and duplicates of each local day."""
    with county.county.engine.connect() as connection:
        rows = connection.execute(select(DeviceDay.day, DeviceDay.content)).all()
    days = {row.day: read_content(row.content) for row in rows}
    return {day: (int(s.records.sum()), int(s.connected.sum()), int(s.duplicates.sum())) for day, s in days.items()}


async def test_bad_rows_are_refused_by_index_and_the_others_are_kept(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    columns = minutes(0, NOW_S - 600, 4).columns()
    columns["connected"] = np.array([600, 601, 600, 600])
    columns["device"] = np.array([0, 0, 7, 0])
    answer = await gateway.send(["cnc-1"], Records.from_columns(columns))
    assert answer.accepted == 2
    assert [(r.index, r.column, r.value) for r in answer.refused] == [(1, "connected", 601), (2, "device", 7)]
    await county.settle()
    (day,) = county.county.store.read_days([("gw-1", TODAY)])
    assert day.records.start.tolist() == [NOW_S - 600, NOW_S - 420]


async def test_rows_far_ahead_of_the_clock_are_held_and_never_counted(plant: CountyUnderTest) -> None:
    gateway = plant.gateway()
    starts = [NOW_S - 60, NOW_S + 600, NOW_S + 660]
    records = Records.concat([minutes(0, s, 1) for s in starts])
    answer = await gateway.send(["cnc-1"], records)
    assert (answer.accepted, answer.held) == (2, 1)
    await plant.settle()
    assert stored_rows(plant) == 2
    await plant.sign_in()
    shown = {g["id"]: g for g in (await plant.get("/gateways"))["items"]}
    assert "1 rows lie in the future" in shown["gw-1"]["alarm_en"]


async def test_the_answer_names_what_the_county_lacks(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    one, two, three, four = (gateway.batch(["a"], minutes(0, NOW_S - 600 + 60 * i, 1)) for i in range(4))
    assert (await gateway.ingest(one)).missing == []
    answer = await gateway.ingest(four)
    assert answer.missing == [Missing(gateway.epoch, 2, 3)]
    assert (await gateway.ingest(three)).missing == [Missing(gateway.epoch, 2, 2)]
    assert (await gateway.ingest(two)).missing == []


async def test_a_county_that_knows_nothing_asks_for_everything_before(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    gateway.sequence = 41
    answer = await gateway.send(["a"], minutes(0, NOW_S - 60, 1))
    assert answer.missing == [Missing(gateway.epoch, 1, 41)]


async def test_a_gap_stands_for_the_batch_that_will_never_come(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    await gateway.send(["a"], minutes(0, NOW_S - 300, 1))
    gateway.sequence = 2
    gap = Gap(devices=["a"], start_s=NOW_S - 240, end_s=NOW_S - 180, rows=1, reason="expired", sequence=2)
    answer = await gateway.send(["a"], minutes(0, NOW_S - 180, 1), gaps=[gap])
    assert answer.missing == []


async def test_a_batch_that_names_an_unknown_announcement_is_answered_with_the_wish_for_it(
    county: CountyUnderTest,
) -> None:
    gateway = county.gateway()
    batch = gateway.batch(["a"], minutes(0, NOW_S - 600, 1))
    named = msgspec.structs.replace(batch, devices=[DeviceRef("a", 2)])
    assert (await gateway.ingest(named)).announce_again
    said = Announcement(2, NOW_S * 10**9, "a", "modbus-tcp://h:502", "p", "machine", "native")
    await gateway.post("announce", Announce("gw-1", gateway.epoch, [said]))
    assert not (await gateway.ingest(named)).announce_again
    older = msgspec.structs.replace(named, sequence=2, devices=[DeviceRef("a", 1)])
    assert not (await gateway.ingest(older)).announce_again
    assert (
        await gateway.ingest(msgspec.structs.replace(named, sequence=3, devices=[DeviceRef("a", 3)]))
    ).announce_again


async def test_a_gap_of_another_epoch_settles_that_epochs_number_and_not_its_own(county: CountyUnderTest) -> None:
    old, new = county.gateway(), county.gateway(epoch=78)
    old.credential = new.credential
    await old.send(["a"], minutes(0, NOW_S - 600, 1))
    old.sequence = 3
    await old.send(["a"], minutes(0, NOW_S - 420, 1))  # 2 and 3 never came
    first = new.batch(["a"], minutes(0, NOW_S - 360, 1), previous=(old.epoch, 4))
    assert (await new.ingest(first)).missing == [Missing(old.epoch, 2, 3)]
    lost = [Gap([], 0, 0, 0, "no longer kept", batch=(old.epoch, sequence)) for sequence in (2, 3)]
    assert (await new.send(["a"], minutes(0, NOW_S - 300, 1), gaps=lost)).missing == []
    assert (await new.ingest(first)).missing == []
    new.sequence = 3
    assert (await new.send(["a"], minutes(0, NOW_S - 240, 1))).missing == [Missing(new.epoch, 3, 3)]


async def test_a_gap_whose_numbers_nobody_can_keep_is_refused_and_the_service_goes_on(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    for broken in (
        Gap(["a"], 1 << 63, 0, 1, "expired"),
        Gap(["a"], 0, 0, 1, "expired", sequence=-1),
        Gap(["a"], 0, 0, 1, "expired", batch=(-1, 1)),
    ):
        batch = gateway.batch(["a"], minutes(0, NOW_S - 300, 1), gaps=[broken])
        assert (await gateway.post("ingest", batch)).status_code == 400
    assert (await gateway.send(["a"], minutes(0, NOW_S - 300, 1))).result == "journalled"


async def test_an_epoch_that_begins_late_is_not_asked_for_its_beginning(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    await gateway.send(["a"], minutes(0, NOW_S - 300, 1))
    second = county.gateway(epoch=77)
    second.sequence = 9
    first_of_epoch = second.batch(["a"], minutes(0, NOW_S - 240, 1), previous=(gateway.epoch, 1))
    assert (await second.ingest(first_of_epoch)).missing == []
    assert (await second.send(["a"], minutes(0, NOW_S - 180, 1))).missing == []


async def test_two_epochs_that_deliver_the_present_in_turn_raise_an_alarm(plant: CountyUnderTest) -> None:
    one = plant.gateway()
    clone = plant.gateway(epoch=5)
    one.credential = clone.credential  # a cloned card has the same credential
    await plant.sign_in()

    async def alarm() -> str:
        return next(g["alarm_en"] for g in (await plant.get("/gateways"))["items"] if g["id"] == "gw-1")

    async def counted() -> bool:
        return "plantpulse_gateways_two_epochs 1.0" in (await plant.client.get("/metrics")).text

    await one.send(["a"], minutes(0, NOW_S - 180, 1))
    await clone.send(["a"], minutes(0, NOW_S - 180, 1, parts=1))
    assert "epochs" not in await alarm()  # a new outbox after a repair looks like this
    assert not await counted()
    await one.send(["a"], minutes(0, NOW_S - 120, 1))
    assert "two epochs deliver present data" in await alarm()
    assert await counted()
    plant.clock.advance(601)
    assert "epochs" not in await alarm()


async def test_json_says_the_same_as_messagepack(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    columns = {name: [int(v) for v in values] for name, values in minutes(0, NOW_S - 120, 2).columns().items()}
    message = IngestJson("gw-1", 3, 1, ["cnc-1"], columns)
    headers = gateway.headers | {"content-type": "application/json"}
    answer = await county.client.post("/api/v1/ingest", content=msgspec.json.encode(message), headers=headers)
    assert answer.json()["result"] == "journalled"
    columns["parts"] = [1]
    broken = await county.client.post("/api/v1/ingest", content=msgspec.json.encode(message), headers=headers)
    assert broken.status_code == 400
    assert "unequal length" in broken.json()["detail"]
    await county.settle()
    assert stored_rows(county) == 2


@pytest.mark.parametrize("body", [b"", b"no zstd frame", encode(Announce("gw-1", 1, []))[:-3]])
async def test_a_body_that_is_no_message_gets_a_bilingual_problem(county: CountyUnderTest, body: bytes) -> None:
    gateway = county.gateway()
    answer = await county.client.post("/api/v1/ingest", content=body, headers=gateway.headers)
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["code"] == "bad-message"
    assert problem["title_zh"]
    assert problem["next_step_en"]
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_columns_that_do_not_fit_the_rows_are_refused_whole(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    batch = gateway.batch(["a"], minutes(0, NOW_S - 60, 1))
    shorter = msgspec.structs.replace(batch, rows=2)
    answer = await gateway.post("ingest", shorter)
    assert answer.status_code == 400
    assert county.county.journal.position == 0
    assert (await gateway.ingest(batch)).result == "journalled"


async def test_a_gateway_writes_only_under_its_own_name(county: CountyUnderTest) -> None:
    one, two = county.gateway("gw-1"), county.gateway("gw-2")
    batch = one.batch(["a"], minutes(0, NOW_S - 60, 1))
    answer = await two.post("ingest", batch)
    assert (answer.status_code, answer.json()["code"]) == (403, "gateway-foreign")
    assert (await two.post("announce", Announce("gw-1", 1, []))).status_code == 403
    assert county.county.journal.position == 0


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer nothing"}, {"authorization": "Basic abc"}])
async def test_without_a_valid_credential_nothing_is_taken(county: CountyUnderTest, headers: dict[str, str]) -> None:
    for route in ("ingest", "live", "announce"):
        answer = await county.client.post(f"/api/v1/{route}", content=b"", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "gateway-unknown")


async def test_a_new_credential_ends_the_one_before_it(county: CountyUnderTest) -> None:
    old = county.gateway()
    await old.send(["a"], minutes(0, NOW_S - 60, 1))
    new = county.gateway()
    county.clock.advance(31)
    assert (await old.post("announce", Announce("gw-1", 1, []))).status_code == 401
    assert (await new.post("announce", Announce("gw-1", 1, []))).status_code == 200


async def test_a_gateways_credential_opens_no_page(plant: CountyUnderTest) -> None:
    gateway = plant.gateway()
    for path in ("/api/v1/indicators", "/api/v1/assets", "/api/v1/live"):
        assert (await plant.client.get(path, headers=gateway.headers)).status_code == 401


async def test_a_body_beyond_the_limit_is_cut_off_over_a_socket(tmp_path: Path) -> None:
    async with served_county(tmp_path) as county:
        gateway = county.gateway()
        answer = await county.client.post(
            "/api/v1/ingest", content=b"x" * (MAX_BODY_BYTES + 1), headers=gateway.headers
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_announcements_are_kept_by_number_and_the_latest_counts(plant: CountyUnderTest) -> None:
    gateway = plant.gateway()

    def said(number: int, model: str) -> Announcement:
        return Announcement(number, 1, "cnc-1", "opc.tcp://x", "p", "cnc", "self-identified", "示例", model, "SN1")

    for _ in range(2):  # sent again on request
        answer = await gateway.post("announce", Announce("gw-1", gateway.epoch, [said(1, "old"), said(2, "new")]))
        assert answer.json()["accepted"] == 2
    await plant.sign_in()
    shown = {a["number"]: a for a in (await plant.get("/assets"))["items"] if a["kind"] == "asset"}
    assert shown["A1"]["announced"] == "示例 new SN1"
    assert shown["A1"]["evidence"] == "self-identified"
    assert shown["A1"]["announced_class"] == "cnc"


async def test_one_serial_announced_by_two_gateways_is_an_alarm(plant: CountyUnderTest) -> None:
    for name in ("gw-1", "gw-2"):
        gateway = plant.gateway(name)
        said = Announcement(1, 1, "cnc-1", "x", "p", "cnc", "native", "示例", "M", "SN1")
        await gateway.post("announce", Announce(name, 1, [said]))
    await plant.sign_in()
    assert all("SN1" in g["alarm_en"] for g in (await plant.get("/gateways"))["items"])


async def test_what_was_received_is_known_after_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path, clock) as county:
        gateway = county.gateway()
        batches = [gateway.batch(["a"], minutes(0, NOW_S - 600 + 60 * i, 1)) for i in range(5)]
        for batch in (*batches[:2], batches[3]):
            await gateway.ingest(batch)
    async with running_county(tmp_path, clock) as county:
        again = county.gateway()
        again.epoch, again.sequence = gateway.epoch, 5
        assert (await again.ingest(batches[0])).result == "duplicate"
        answer = await again.ingest(batches[4])
        assert (answer.result, answer.missing) == ("journalled", [Missing(gateway.epoch, 3, 3)])
        await county.settle()
        assert stored_rows(county) == 4


async def test_ranges_outlive_the_days_that_are_dropped(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path, clock, journal_days=1) as county:
        gateway = county.gateway()
        old = gateway.batch(["a"], minutes(0, NOW_S - 60, 1))
        await gateway.ingest(old)
        clock.advance(86_400)
        await gateway.send(["a"], minutes(0, NOW_S + 86_340, 1))
        await county.settle()
        dropped = county.county.journal.drop_before(county.county.applier.applied)
        assert len(dropped) == 1
        assert (await gateway.ingest(old)).result == "duplicate"
    async with running_county(tmp_path, clock, journal_days=1) as county:
        again = county.gateway()
        assert (await again.ingest(old)).result == "duplicate"
        again.sequence = 2
        answer = await again.send(["a"], minutes(0, NOW_S + 86_400, 1))
        assert answer.missing == []
        assert county.county.journal.position == 3
