from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.clock import NS_PER_S
from gateway.outbox import Outbox, OutboxError, OutboxThread, Pending, SetAside, schema
from gateway.outbox.limits import Limits
from gateway.outbox.salvage import Wreck
from gateway.outbox.schema import DiskError
from gateway.wire import Announcement, DeviceRef, Ingest, decode, records_of
from metrics.record import DAY_S, RECORD_COLUMNS, Records

DAY_NS = DAY_S * NS_PER_S


def batch(start: int = 0, rows: int = 2) -> tuple[list[DeviceRef], Records]:
    columns = {c.name: [0] * rows for c in RECORD_COLUMNS}
    columns |= {"device": list(range(rows)), "start": [start * 60] * rows, "length": [600] * rows}
    columns["quantity"] = [(start * 7919 + i * 104_729) % 1_000_003 for i in range(rows)]
    return [DeviceRef(f"m-{i}") for i in range(rows)], Records.from_columns(columns)


def announcement(device: str = "m-1", **changes: object) -> Announcement:
    found = Announcement(0, 5, device, "modbus-tcp://h:502", "p", "machine", "native", serial="0001")
    return msgspec.structs.replace(found, **changes)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox.sqlite3", "g-1")
    yield made
    made.close()


def reopened(outbox: Outbox, **limits: int) -> Outbox:
    outbox.close()
    return Outbox(outbox.path, outbox.gateway, Limits(**limits))


def pending(outbox: Outbox) -> list[Pending]:
    found = []
    while (batch := outbox.next_unsent(newest=False)) is not None:
        found.append(batch)
        outbox.mark_acked(batch.ordinal, 1)
    return found


def test_a_batch_names_its_predecessor(outbox: Outbox) -> None:
    for start in range(3):
        outbox.commit([batch(start)], b"c", 1)
    messages = [decode(p.body, Ingest) for p in pending(outbox)]
    epoch = outbox.epoch()
    assert [(m.epoch, m.sequence) for m in messages] == [(epoch, 1), (epoch, 2), (epoch, 3)]
    assert [m.previous for m in messages] == [None, (epoch, 1), (epoch, 2)]
    assert [int(records_of(m).start[0]) for m in messages] == [0, 60, 120]


def test_what_was_committed_is_there_after_opening_again(outbox: Outbox) -> None:
    assert outbox.commit([batch(1), batch(2)], b"first", 1) == 4
    outbox.save_checkpoint(b"second")
    again = reopened(outbox)
    assert again.checkpoint() == b"second"
    assert again.depth().unsent_rows == 4
    again.commit([batch(3)], b"third", 1)
    assert [p.sequence for p in pending(again)] == [1, 2, 3]
    again.close()


def test_batches_and_checkpoint_are_written_together_or_not_at_all(outbox: Outbox) -> None:
    outbox.commit([batch(1)], b"old", 1)
    refs, records = batch(2)
    with pytest.raises(TypeError):
        outbox.commit([(refs, records), (refs, None)], b"new", 1)  # type: ignore[list-item]
    assert outbox.checkpoint() == b"old"
    assert outbox.depth().unsent == 1
    outbox.commit([batch(2)], b"new", 1)
    assert [p.sequence for p in pending(outbox)] == [1, 2]


def test_a_full_disk_leaves_the_outbox_as_it_was(outbox: Outbox) -> None:
    outbox.commit([batch(1)], b"old", 1)
    pages = outbox.db.execute("PRAGMA page_count").fetchone()[0]
    outbox.db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        outbox.commit([batch(i, rows=500) for i in range(200)], b"new", 1)
    assert outbox.checkpoint() == b"old"
    outbox.db.execute("PRAGMA max_page_count=1000000")
    outbox.commit([batch(2)], b"new", 1)
    assert [p.sequence for p in pending(outbox)] == [1, 2]


def test_newest_and_oldest_can_be_asked_for(outbox: Outbox) -> None:
    for start in range(3):
        outbox.commit([batch(start)], b"c", start)
    newest, oldest = outbox.next_unsent(newest=True), outbox.next_unsent(newest=False)
    assert newest is not None
    assert oldest is not None
    assert (newest.sequence, oldest.sequence) == (3, 1)


def test_confirmed_batches_are_kept_for_their_days(outbox: Outbox) -> None:
    outbox.commit([batch(1)], b"c", 0)
    outbox.mark_acked(1, now_ns=DAY_NS)
    outbox.commit([batch(2)], b"c", 14 * DAY_NS)
    assert outbox.depth().acked == 1
    outbox.commit([batch(3)], b"c", 15 * DAY_NS + 1)
    depth = outbox.depth()
    assert (depth.acked, depth.unsent) == (0, 2)


LARGE = 1500
"""Rows of a batch that fills pages of its own: the limit counts pages."""


def test_the_oldest_go_first_when_the_limit_is_reached_and_each_leaves_a_gap(outbox: Outbox) -> None:
    for start in range(1, 5):
        outbox.commit([batch(start, LARGE)], b"c", 1)
    outbox.mark_acked(4, 1)
    limit = outbox.depth().size_bytes + 4096
    box = reopened(outbox, bytes=limit)
    box.commit([batch(5, LARGE)], b"c", 1)  # the confirmed one goes before any unsent one
    assert (box.depth().acked, box.depth().unsent) == (0, 4)
    assert box.depth().dropped_batches == 0
    box.commit([batch(6, LARGE)], b"c", 1)
    assert box.depth().dropped_batches >= 1
    assert box.depth().size_bytes <= limit + 4 * 4096, "the gap, which the next batch takes"
    box.commit([batch(7, LARGE)], b"c", 1)
    found = [decode(p.body, Ingest) for p in pending(box)]
    gaps = [gap for message in found for gap in message.gaps]
    assert gaps
    assert (gaps[0].devices, gaps[0].start_s, gaps[0].end_s, gaps[0].rows) == (
        [f"m-{i}" for i in range(LARGE)],
        60,
        120,
        LARGE,
    )
    assert gaps[0].sequence == 1
    box.close()


def test_what_rates_need_stays_longest_when_the_limit_is_reached(outbox: Outbox) -> None:
    """The first window of each hour is left: who was connected, and the counters' readings. Then those go as well."""
    rows, room_for = LARGE, 8
    for start in range(1, room_for + 1):
        outbox.commit([batch(start, rows)], b"c", 1)
    limit = outbox.depth().size_bytes
    box = reopened(outbox, bytes=limit)

    def waiting() -> list[int]:
        found = box.db.execute("SELECT body FROM batches WHERE state = 0 ORDER BY ordinal").fetchall()
        return [int(records_of(decode(body, Ingest)).start[0]) // 60 for (body,) in found]

    for start in range(room_for + 1, 126):
        box.commit([batch(start, rows)], b"c", 1)
    kept = waiting()
    assert kept[:2] == [60, 120]
    assert kept[2:] == list(range(126 - len(kept[2:]), 126)), "and the newest minutes"
    after = [hour * 60 + minute for hour in range(3, 20) for minute in range(3)]
    for start in after:
        box.commit([batch(start, rows)], b"c", 1)
    kept = waiting()
    hours = [start for start in kept if start % 60 == 0]
    assert hours == list(range(hours[0], 20 * 60, 60)), "the oldest hours went first"
    assert hours[0] > 60
    assert kept[len(hours) :] == after[-1:]
    assert box.depth().dropped_batches == 125 + len(after) - len(kept)
    box.close()


def test_an_outbox_that_has_been_full_for_long_stays_within_its_limit_and_counts_what_it_dropped(
    outbox: Outbox,
) -> None:
    limit = 400_000
    box = reopened(outbox, bytes=limit)
    for start in range(2_000):
        box.commit([batch(start, rows=60)], b"c", 1)
    depth = box.depth()
    assert depth.size_bytes < 1.5 * limit, "gaps included, of which each takes as much room as its batch did"
    assert depth.dropped_batches == 2_000 - depth.unsent > 1_000
    told = [gap for found in pending(box) for gap in decode(found.body, Ingest).gaps]
    for _ in range(20):  # the county is back, and what waits to be told goes with what follows
        box.commit([batch(5_000)], b"c", 1)
        told += [gap for found in pending(box) for gap in decode(found.body, Ingest).gaps]
    assert sum(gap.rows for gap in told) == depth.dropped_rows == 60 * depth.dropped_batches
    assert {device for gap in told for device in gap.devices} == {f"m-{i}" for i in range(60)}
    covered = {minute for gap in told for minute in range(gap.start_s // 60, gap.end_s // 60)}
    assert covered >= set(range(2_000 - depth.unsent)) - set(range(0, 2_000, 60))
    box.close()


def test_unsent_records_that_are_too_old_are_dropped_and_counted(outbox: Outbox) -> None:
    box = reopened(outbox, unsent_s=10 * DAY_S)
    box.commit([batch(1)], b"c", 0)
    box.commit([batch(2)], b"c", 5 * DAY_NS)
    box.commit([batch(3)], b"c", 10 * DAY_NS + 1)
    box.commit([batch(4)], b"c", 11 * DAY_NS)
    depth = box.depth()
    assert (depth.dropped_batches, depth.dropped_rows, depth.unsent) == (1, 2, 3)
    gaps = [gap for p in pending(box) for gap in decode(p.body, Ingest).gaps]
    assert [(gap.sequence, gap.rows, gap.reason) for gap in gaps] == [(1, 2, "dropped: too old")]
    box.close()


def test_the_reserve_of_free_space_is_kept(outbox: Outbox) -> None:
    free = [10_000_000]
    outbox.close()
    box = Outbox(outbox.path, "g-1", Limits(reserve_bytes=1_000_000, free_bytes=lambda folder: free[0]))
    for start in range(1, 7):
        box.commit([batch(start, LARGE)], b"c", 1)
    box.mark_acked(2, 1)
    size = box.depth().size_bytes
    free[0] = 1_000  # something else fills the disk: the outbox does not grow, nor is it emptied in vain
    box.commit([batch(7, LARGE)], b"c", 1)
    assert (box.depth().acked, box.depth().dropped_batches) == (0, 0)  # confirmed ones go first
    for start in range(8, 12):
        box.commit([batch(start, LARGE)], b"c", 1)
    assert size - 16384 < box.depth().size_bytes <= size + 3 * 16384
    assert box.depth().dropped_rows == LARGE * box.depth().dropped_batches > 0
    free[0] = 10_000_000
    box.commit([batch(9, LARGE)], b"c", 1)
    gaps = [gap for p in pending(box) for gap in decode(p.body, Ingest).gaps]
    assert sum(gap.rows for gap in gaps) == box.depth().dropped_rows
    box.close()


def test_how_long_the_outbox_lasts_is_predicted(outbox: Outbox) -> None:
    assert outbox.days_to_full(DAY_NS) is None
    minute_ns = 60 * NS_PER_S
    for k in range(60):
        outbox.commit([batch(k, rows=50)], b"c", k * minute_ns)
    size = int(outbox.db.one("SELECT sum(length(body)) FROM batches"))
    box = reopened(outbox, bytes=size + 3 * size * 24)
    days = box.days_to_full(60 * minute_ns)
    assert days is not None
    assert abs(days - 3) < 0.01
    box.mark_acked(1, 1)
    assert (box.days_to_full(60 * minute_ns) or 0) > days  # a confirmed batch makes room
    box.close()


def test_two_windows_after_the_start_it_is_predicted_as_well_as_later(outbox: Outbox) -> None:
    minute_ns = 60 * NS_PER_S
    for k in range(3):
        assert outbox.days_to_full(k * minute_ns) is None or k == 2
        outbox.commit([batch(k, rows=50)], b"c", k * minute_ns)
    early = outbox.days_to_full(2 * minute_ns)
    for k in range(3, 60):
        outbox.commit([batch(k, rows=50)], b"c", k * minute_ns)
    late = outbox.days_to_full(60 * minute_ns)
    assert early is not None
    assert late is not None
    assert abs(early / late - 1) < 0.02
    assert outbox.days_to_full(60 * minute_ns + 23 * 3600 * NS_PER_S) == late, "switched off for a while: the same rate"


def test_a_single_row_that_is_refused_is_kept_and_leaves_a_gap(outbox: Outbox) -> None:
    outbox.commit([batch(1, rows=1)], b"c", 1)
    assert outbox.refuse(1, 2, "400 no") == 1
    outbox.commit([batch(2)], b"c", 3)
    (sent,) = [decode(p.body, Ingest) for p in pending(outbox)]
    assert [(gap.sequence, gap.rows) for gap in sent.gaps] == [(1, 1)]
    depth = outbox.depth()
    assert depth.poisoned == 1
    assert depth.set_aside == (SetAside(outbox.epoch(), 1, 1, 2, "400 no"),)


def test_a_refused_batch_is_halved_and_its_number_told_as_a_gap_without_rows(outbox: Outbox) -> None:
    outbox.commit([batch(1, rows=5)], b"c", 1)
    before = records_of(decode(outbox.next_unsent(newest=True).body, Ingest))  # type: ignore[union-attr]
    assert outbox.refuse(1, 2, "400 no") == 0
    outbox.commit([batch(2)], b"c", 3)
    assert outbox.next_unsent(newest=False).sequence == 2  # type: ignore[union-attr]
    found = [decode(p.body, Ingest) for p in pending(outbox)]
    assert [message.sequence for message in found] == [3, 2, 4], "what is left of a refused one goes in turns"
    second, first, fresh = found
    assert (first.rows, second.rows) == (2, 3)
    assert [(gap.sequence, gap.rows) for gap in fresh.gaps] == [(1, 0)]
    assert first.gaps == second.gaps == []
    assert [[ref.id for ref in half.devices] for half in (first, second)] == [["m-0", "m-1"], ["m-2", "m-3", "m-4"]]
    rows = [half.devices[d].id for half in (first, second) for d in records_of(half).device.tolist()]
    assert rows == [f"m-{i}" for i in range(5)]
    quantities = [q for half in (first, second) for q in records_of(half).quantity.tolist()]
    assert quantities == before.quantity.tolist()
    assert outbox.depth().dropped_rows == 0


def test_what_is_refused_too_often_is_set_aside_as_it_is(outbox: Outbox) -> None:
    outbox.commit([batch(1, rows=8)], b"c", 1)
    assert outbox.refuse(1, 10, "no") == 0
    half = outbox.next_unsent(newest=False)
    assert half is not None
    assert outbox.refuse(half.ordinal, 1 << 60, "no") == 0, "however long that takes"
    half = outbox.next_unsent(newest=False)
    assert half is not None
    assert outbox.refuse(half.ordinal, 11, "no", True) == 4
    assert outbox.depth().unsent_rows == 4


def test_what_is_no_longer_kept_is_told_as_a_gap_once(outbox: Outbox) -> None:
    for start in range(4):
        outbox.commit([batch(start)], b"c", 0)
    outbox.mark_acked(1, 0)
    outbox.mark_acked(2, 0)
    outbox.mark_acked(3, 14 * DAY_NS)
    outbox.commit([batch(5)], b"c", 15 * DAY_NS)  # the first two have expired
    for _ in range(2):
        outbox.resend(outbox.epoch(), 1, 99)
    outbox.commit([batch(6)], b"c", 15 * DAY_NS)
    found = [decode(p.body, Ingest) for p in pending(outbox)]
    assert [m.sequence for m in found] == [3, 4, 5, 6]
    assert [(g.sequence, g.reason) for m in found for g in m.gaps] == [(1, "no longer kept"), (2, "no longer kept")]
    assert outbox.resend(outbox.epoch() + 1, 1, 1 << 60) == 0


def test_a_gap_names_the_epoch_it_was_noted_in(outbox: Outbox) -> None:
    outbox.commit([batch(1, rows=1)], b"c", 1)
    outbox.commit([batch(2, rows=1)], b"c", 1)
    outbox.refuse(1, 2, "no")
    outbox.commit([batch(3)], b"c", 1)  # carries the gap of 1, then is renumbered itself
    old = outbox.epoch()
    outbox.refuse(2, 2, "no")
    new = outbox.open_epoch()
    outbox.commit([batch(4)], b"c", 3)
    third, fourth = [decode(p.body, Ingest) for p in pending(outbox)]
    assert (third.epoch, fourth.epoch) == (new, new)
    assert [(gap.sequence, gap.batch, gap.rows) for gap in third.gaps + fourth.gaps] == [
        (0, (old, 1), 1),
        (0, (old, 2), 1),
    ]


def test_what_a_county_asks_of_an_older_epoch_is_sent_again_or_told_as_a_gap(outbox: Outbox) -> None:
    for start in range(4):
        outbox.commit([batch(start)], b"c", 0)
    old = outbox.epoch()
    outbox.mark_acked(1, 0)
    outbox.mark_acked(2, 15 * DAY_NS)
    outbox.open_epoch()
    outbox.commit([batch(5)], b"c", 15 * DAY_NS)  # the first one has expired
    outbox = reopened(outbox)
    assert outbox.resend(old, 1, 99) == 1
    outbox.commit([batch(6)], b"c", 15 * DAY_NS)
    gaps = [gap for p in pending(outbox) for gap in decode(p.body, Ingest).gaps]
    # 3 and 4 are sent under the new epoch: their old numbers will never come either
    assert [(gap.batch, gap.rows) for gap in gaps] == [((old, 1), 0), ((old, 3), 0), ((old, 4), 0)]
    assert outbox.resend(old - 2, 1, 1 << 60) == 0
    outbox.close()


CASES = Path(__file__).parent / "cases"


def shipped(version: int, path: Path) -> sqlite3.Connection:
    """The file that a version left behind: two unsent batches, one confirmed, one set aside with its gap, an
    announcement; version 2 in an epoch of its own, with a gap of the epoch before and half of a refused batch."""
    db = sqlite3.connect(path)
    db.executescript((CASES / f"outbox-v{version}.sql").read_text(encoding="utf-8"))
    return db


@pytest.mark.parametrize("version", [1, 2])
def test_an_outbox_of_every_version_shipped_is_opened_and_keeps_everything(tmp_path: Path, version: int) -> None:
    path = tmp_path / "outbox.sqlite3"
    old = shipped(version, path)
    bodies = [body for (body,) in old.execute("SELECT body FROM batches WHERE state = 0 ORDER BY ordinal")]
    old.close()
    box = Outbox(path, "g-1")
    depth = box.depth()
    assert (depth.unsent, depth.acked, depth.poisoned) == (2, 1, 1)
    assert box.checkpoint() == b"a checkpoint"
    assert [a.device for a in box.announced.latest()] == ["m-1"]
    box.commit([batch(9)], b"c", 5)
    found = pending(box)
    assert sorted(p.body for p in found[:2]) == sorted(bodies)
    (gap,) = decode(found[2].body, Ingest).gaps
    assert gap.stands_for(box.epoch()) == {1: (box.epoch(), 1), 2: (4642292293680561992, 4)}[version]
    assert {p.suspect_ns for p in found} == {1: {0}, 2: {0, 7}}[version]
    box.close()


@pytest.mark.parametrize("version", [1, 2])
def test_the_version_that_a_file_came_from_can_go_on_with_it(tmp_path: Path, version: int) -> None:
    """A rollback: what `outbox-vN-use.sql` holds is what that version asks of its file."""
    path = tmp_path / "outbox.sqlite3"
    shipped(version, path).close()
    box = Outbox(path, "g-1")
    box.commit([batch(9, rows=4)], b"from the later one", 5)
    box.refuse(box.batches.last_ordinal(), 6, "no")
    unsent = box.depth().unsent
    box.close()
    old = sqlite3.connect(path)
    assert old.execute("PRAGMA user_version").fetchone() == (version,)
    assert old.execute("SELECT body FROM checkpoint").fetchone() == (b"from the later one",)
    assert old.execute("SELECT count(*) FROM batches WHERE state = 0").fetchone() == (unsent,)
    for (body,) in old.execute("SELECT body FROM gaps"):
        assert {"devices", "start_s", "end_s", "rows", "reason"} <= msgspec.msgpack.decode(body).keys()
    old.executescript((CASES / f"outbox-v{version}-use.sql").read_text(encoding="utf-8"))
    old.close()
    again = Outbox(path, "g-1")  # and the upgrade after it
    assert again.depth().unsent == unsent + 1
    assert again.checkpoint() == b"from the older one"
    again.commit([batch(10)], b"c", 9)
    assert again.depth().unsent == unsent + 2
    again.close()


def test_a_new_file_can_be_used_by_the_first_version(outbox: Outbox) -> None:
    outbox.commit([batch(1)], b"c", 1)
    with sqlite3.connect(":memory:") as first:
        first.executescript((CASES / "outbox-v1.sql").read_text(encoding="utf-8"))
        for table in ("meta", "batches", "gaps", "checkpoint", "announcements"):
            wanted = first.execute(f"PRAGMA table_info({table})").fetchall()
            assert outbox.db.execute(f"PRAGMA table_info({table})").fetchall() == wanted
    first.close()
    assert outbox.db.one("PRAGMA user_version") == 1


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.sqlite3"
    old = shipped(2, path)
    before = list(old.iterdump())
    monkeypatch.setattr(schema, "_ADDED_LATER", schema._ADDED_LATER + "CREATE TABLE meta (x);")
    with pytest.raises(OutboxError):
        Outbox(path, "g-1")
    assert list(old.iterdump()) == before
    old.close()


def test_a_new_epoch_renumbers_what_is_not_confirmed(outbox: Outbox) -> None:
    for start in range(4):
        outbox.commit([batch(start)], b"c", 1)
    old = outbox.epoch()
    outbox.mark_acked(1, 1)
    new = outbox.open_epoch()
    outbox.commit([batch(4)], b"c", 1)
    found = [decode(p.body, Ingest) for p in pending(outbox)]
    assert [(m.epoch, m.sequence) for m in found] == [(new, i) for i in (1, 2, 3, 4)]
    assert found[0].previous == (old, 1)
    assert [int(records_of(m).start[0]) for m in found] == [60, 120, 180, 240]
    assert new != old


def test_a_county_that_lacks_batches_gets_them_again(outbox: Outbox) -> None:
    for start in range(4):
        outbox.commit([batch(start)], b"c", 1)
    bodies = {p.sequence: p.body for p in pending(outbox)}
    assert outbox.resend(outbox.epoch(), 2, 3) == 2
    assert outbox.resend(outbox.epoch() + 1, 1, 4) == 0
    assert {p.sequence: p.body for p in pending(outbox)} == {2: bodies[2], 3: bodies[3]}


def test_an_announcement_is_numbered_once_until_it_changes(outbox: Outbox) -> None:
    assert outbox.announced.add(announcement()) == 1
    assert outbox.announced.add(announcement(at_ns=99)) == 1
    assert outbox.announced.add(announcement("m-2")) == 2
    assert outbox.announced.add(announcement(serial="0002")) == 3
    assert [a.number for a in outbox.announced.unsent()] == [1, 2, 3]
    outbox.announced.mark_sent(2)
    assert [(a.number, a.serial) for a in outbox.announced.unsent()] == [(3, "0002")]
    assert [(a.device, a.number) for a in outbox.announced.latest()] == [("m-2", 2), ("m-1", 3)]


def test_an_outbox_belongs_to_one_gateway(outbox: Outbox) -> None:
    with pytest.raises(OutboxError, match="belongs to g-1"):
        Outbox(outbox.path, "g-2")


def test_an_outbox_of_a_later_version_is_left_alone(outbox: Outbox) -> None:
    outbox.db.execute("PRAGMA user_version=99")
    with pytest.raises(OutboxError, match="version 99"):
        Outbox(outbox.path, "g-1")


def test_a_file_that_is_no_outbox_is_set_aside_and_told(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite3").write_bytes(b"something else entirely, and long enough" * 50)
    box = Outbox(tmp_path / "outbox.sqlite3", "g-1")
    assert box.salvaged is not None
    assert box.salvaged.aside.read_bytes().startswith(b"something else")
    assert str(box.salvaged.aside) in box.salvaged.en
    box.commit([batch(1)], b"c", 1)
    assert [p.sequence for p in pending(box)] == [1]
    box.close()


def corrupt(path: Path, seed: int, *, roots: bool) -> None:
    """Overwrite pages as a dying card does: three anywhere but at the tables' roots, or all those roots."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    root_pages = {page - 1 for (page,) in db.execute("SELECT rootpage FROM sqlite_master")}
    db.close()
    rng, size = random.Random(seed), path.stat().st_size // 4096
    others = sorted(set(range(1, size)) - root_pages)
    with path.open("r+b") as file:
        for page in root_pages if roots else rng.sample(others, 3):
            file.seek(page * 4096)
            file.write(rng.randbytes(4096))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_pages_cost_what_was_on_them_and_nothing_else(tmp_path: Path, seed: int) -> None:
    box = Outbox(tmp_path / "outbox.sqlite3", "g-1")
    box.announced.add(announcement())
    for start in range(120):
        box.commit([batch(start, rows=60)], b"checkpoint", 1)
    for ordinal in range(1, 21):
        box.mark_acked(ordinal, 2)
    epoch, bodies = box.epoch(), {p.sequence: p.body for p in pending_only(box)}
    box.close()
    corrupt(box.path, seed, roots=False)
    began_s = time.monotonic()
    thread = OutboxThread(Outbox(box.path, "g-1"))
    found = thread._run(every_body, (thread.outbox,))  # damage that opening did not meet shows here
    assert time.monotonic() - began_s < 10
    box = thread.outbox
    assert set(found) <= set(bodies)
    assert all(found[sequence] == bodies[sequence] for sequence in found)
    assert len(found) >= len(bodies) - 30
    assert box.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    box.commit([batch(500)], b"next", 3)
    if box.salvaged is not None and box.epoch() == epoch:
        last = decode(box.next_unsent(newest=True).body, Ingest)  # type: ignore[union-attr]
        assert last.sequence == 121
        lost = set(range(min(found), 121)) - set(found)
        assert lost >= {gap.sequence for gap in last.gaps} - set(range(1, 21))
        assert {gap.sequence for gap in last.gaps} >= lost - set(range(1, 21))
    thread.stop()


def damaged_outbox(path: Path) -> list[bytes]:
    """An outbox of 60 batches of which one table cannot be read; the bodies that wait in it."""
    box = Outbox(path, "g-1")
    for start in range(60):
        box.commit([batch(start, rows=60)], b"checkpoint", 1)
    bodies = [p.body for p in pending_only(box)]
    box.close()
    with sqlite3.connect(path) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'announcements'").fetchone()
    db.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(random.Random(3).randbytes(4096))
    return bodies


def flip_a_bit_of(path: Path, table: str, ordinal: int) -> None:
    """Change a message as a card may that forgets: no page is damaged for SQLite."""
    with sqlite3.connect(path) as db:
        (body,) = db.execute(f"SELECT body FROM {table} WHERE rowid = ?", (ordinal,)).fetchone()
        changed = bytes([*body[:-1], body[-1] ^ 0xFF]) if table == "batches" else b"\xc1" + body[1:]
        db.execute(f"UPDATE {table} SET body = ? WHERE rowid = ?", (changed, ordinal))
    db.close()


def test_a_message_that_changed_on_the_card_is_told_as_a_gap_whatever_meets_it_first(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    box = Outbox(path, "g-1", Limits(bytes=400_000))
    for start in range(9):
        box.commit([batch(start, 1500)], b"c", 1)
    box.close()
    for ordinal, meet in (
        (2, lambda box: box.refuse(2, 5, "400 the checksum is wrong")),
        (4, lambda box: box.halve_alone(4, 5)),
        (5, lambda box: box.open_epoch()),
        (1, lambda box: [box.commit([batch(start, 1500)], b"c", 1) for start in range(20, 60)]),
    ):
        flip_a_bit_of(path, "batches", ordinal)
        thread = OutboxThread(Outbox(path, "g-1", Limits(bytes=400_000)))
        thread._run(meet, (thread.outbox,))
        assert thread.outbox.salvaged is not None
        assert thread.outbox.batches.body(ordinal) is None
        thread.stop()
    assert len(list(tmp_path.glob("outbox.sqlite3.damaged-*"))) == 2, "so many are kept to look at"
    box = Outbox(path, "g-1")
    gaps = [gap for p in pending(box) for gap in decode(p.body, Ingest).gaps]
    box.commit([batch(99)], b"c", 1)
    gaps += [gap for p in pending(box) for gap in decode(p.body, Ingest).gaps]
    told = {(gap.stands_for(box.epoch()) or (0, 0))[1] for gap in gaps if "damaged" in gap.reason}
    assert told >= {2, 4}
    box.close()


def test_an_outbox_of_many_years_is_mended_like_a_young_one(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    box = Outbox(path, "g-1")
    box.commit([batch(0)], b"c", 1)
    box.db.execute("UPDATE batches SET ordinal = 5000000")
    for start in range(1, 200):
        box.commit([batch(start, rows=60)], b"c", 1)
    bodies = {p.body for p in pending_only(box)}
    box.close()
    corrupt(path, 1, roots=False)
    thread = OutboxThread(Outbox(path, "g-1"))
    found = thread._run(every_body, (thread.outbox,))
    assert len(set(found.values()) & bodies) >= 170
    thread.stop()


@pytest.mark.parametrize(
    "flip",
    [
        "UPDATE meta SET value = '1x' WHERE key = 'sequence'",
        "UPDATE meta SET value = '' WHERE key = 'epoch'",
        "DELETE FROM meta WHERE key = 'dropped_rows'",
        "UPDATE meta SET value = 'g-9' WHERE key = 'gateway'",
        "UPDATE meta SET value = '2' WHERE key = 'sequence'",
        "PRAGMA user_version = 16777217",
        "UPDATE batches SET state = 4, sequence = 99 WHERE ordinal = 2",
    ],
)
def test_a_column_that_changed_on_the_card_is_mended_from_the_messages_themselves(tmp_path: Path, flip: str) -> None:
    path = tmp_path / "outbox.sqlite3"
    box = Outbox(path, "g-1")
    for start in range(5):
        box.commit([batch(start)], b"c", 1)
    bodies = [p.body for p in pending_only(box)]
    box.close()
    with sqlite3.connect(path) as db:
        db.execute(flip)
    db.close()
    thread = OutboxThread(Outbox(path, "g-1"))
    for method, given in (
        (thread.outbox.commit, ([batch(9)], b"c", 2)),
        (thread.outbox.verify, (2,)),
        (thread.outbox.depth, ()),
    ):
        thread._run(method, given)
    assert thread.outbox.salvaged is not None
    assert [p.body for p in pending_only(thread.outbox)][: len(bodies)] == bodies
    thread.stop()


@pytest.mark.parametrize("table", ["gaps", "announcements"])
def test_a_gap_or_announcement_that_changed_on_the_card_does_not_stop_the_gateway(tmp_path: Path, table: str) -> None:
    path = tmp_path / "outbox.sqlite3"
    box = Outbox(path, "g-1")
    box.announced.add(announcement())
    box.commit([batch(1, rows=1)], b"c", 1)
    box.refuse(1, 2, "400 no")
    box.close()
    flip_a_bit_of(path, table, 1)
    thread = OutboxThread(Outbox(path, "g-1"))
    thread._run(thread.outbox.commit, ([batch(2)], b"c", 3))
    assert thread.outbox.salvaged is not None
    assert thread.outbox.depth().unsent == 1
    thread.stop()


def test_a_salvage_that_finds_the_disk_full_loses_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outbox.sqlite3"
    bodies = damaged_outbox(path)

    def full(self: Wreck, *_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Wreck, "_carry_numbers_over", full)  # when all rows are written, before they are committed
        for _ in range(2):
            with pytest.raises(DiskError, match="disk is full"):
                Outbox(path, "g-1")
    box = Outbox(path, "g-1")
    assert box.salvaged is not None
    assert box.salvaged.batches == 60
    assert [p.body for p in pending_only(box)] == bodies
    box.close()


@pytest.mark.parametrize("renames", range(4))
def test_a_salvage_that_is_cut_off_between_its_renames_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    path = tmp_path / "outbox.sqlite3"
    bodies = damaged_outbox(path)
    real, done = os.replace, 0

    def cut_off(source: Path, target: Path) -> None:
        nonlocal done
        if done == renames:
            raise OSError("the power was cut")
        done += 1
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("gateway.outbox.salvage.os.replace", cut_off)
        with suppress(DiskError):
            Outbox(path, "g-1").close()
    box = Outbox(path, "g-1")
    assert [p.body for p in pending_only(box)] == bodies
    assert box.checkpoint() == b"checkpoint"
    if renames < 3:
        assert box.salvaged is not None
        assert box.salvaged.aside.exists()
    box.close()
    assert not [f.name for f in tmp_path.iterdir() if "salvag" in f.name]


def test_where_nothing_can_be_read_it_starts_anew_and_says_so(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite3", "g-1")
    for start in range(30):
        box.commit([batch(start, rows=60)], b"checkpoint", 1)
    box.close()
    corrupt(box.path, 1, roots=True)
    box = Outbox(box.path, "g-1")
    assert box.salvaged is not None
    assert (box.salvaged.batches, box.salvaged.checkpoint) == (0, False)
    box.commit([batch(99)], b"c", 1)
    (sent,) = [decode(p.body, Ingest) for p in pending(box)]
    assert [gap.reason for gap in sent.gaps] == ["lost: the outbox was damaged"]
    box.close()
    again = Outbox(box.path, "g-1")
    assert again.salvaged is None
    again.close()


def pending_only(box: Outbox) -> list[Pending]:
    rows = box.db.execute("SELECT ordinal, epoch, sequence, rows, created_ns, body FROM batches WHERE state = 0")
    return [Pending(*row) for row in rows]


def every_body(box: Outbox) -> dict[int, bytes]:
    return dict(box.db.execute("SELECT sequence, body FROM batches NOT INDEXED WHERE state = 0"))


def test_the_disk_is_synced_before_anything_counts_as_written(outbox: Outbox) -> None:
    assert outbox.db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert outbox.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_the_thread_finishes_what_it_began_when_the_caller_is_cancelled(tmp_path: Path) -> None:
    thread = OutboxThread(Outbox(tmp_path / "outbox.sqlite3", "g-1"))
    task = asyncio.create_task(thread.call(thread.outbox.commit, [batch(i) for i in range(200)], b"c", 1))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    depth = await thread.call(thread.outbox.depth)
    assert depth.unsent in (0, 200)
    thread.stop()


class OutboxModel(RuleBasedStateMachine):
    """The outbox against a list."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.outbox = Outbox(Path(self.folder.name) / "outbox.sqlite3", "g-1")
        self.unsent: list[int] = []
        self.acked: set[int] = set()
        self.made = 0

    @rule(n=st.integers(1, 3))
    def commit(self, n: int) -> None:
        self.outbox.commit([batch(self.made + i) for i in range(n)], str(self.made).encode(), self.made)
        self.unsent += range(self.made, self.made + n)
        self.made += n

    @precondition(lambda self: self.unsent)
    @rule(newest=st.booleans())
    def send(self, newest: bool) -> None:
        found = self.outbox.next_unsent(newest)
        assert found is not None
        start = int(records_of(decode(found.body, Ingest)).start[0]) // 60
        assert start == (max(self.unsent) if newest else min(self.unsent))
        self.outbox.mark_acked(found.ordinal, self.made)
        self.unsent.remove(start)
        self.acked.add(start)

    @rule()
    def crash(self) -> None:
        self.outbox = reopened(self.outbox)

    @rule()
    def new_epoch(self) -> None:
        self.outbox.open_epoch()

    @invariant()
    def nothing_is_lost(self) -> None:
        depth = self.outbox.depth()
        assert depth.unsent == len(self.unsent)
        assert depth.acked == len(self.acked)

    def teardown(self) -> None:
        self.outbox.close()
        self.folder.cleanup()


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
