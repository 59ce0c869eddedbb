"""What every journal must do. A journal passes by subclassing the suite and saying how it is opened."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import pytest

from api.journal.batch import AnnounceEntry, Batch
from api.journal.port import Journal, Outcome, TooLate, UnkeepableError
from gateway.wire import Gap
from tests.api.county_fixtures import HandClock

DAY_S = 86_400
HIGH = 2**63 + 11
"""An epoch whose first bit is set."""


def batch(sequence: int, body: bytes = b"body", epoch: int = HIGH, gateway: str = "gw-1", **more: object) -> Batch:
    """A batch that names the one before it, unless `previous` says otherwise."""
    given = {"previous": (epoch, sequence - 1) if sequence > 1 else None, "arrived_ns": 1} | more
    made = Batch(0, gateway, epoch, sequence, None, sha256(body).digest(), False, 3, b"", b"", 1, body)
    return made._replace(**given)  # type: ignore[arg-type]


def everything(journal: Journal) -> list[Batch]:
    """All batches, however many days an answer of `after` spans."""
    found: list[Batch] = []
    while more := journal.after(found[-1].position if found else 0, 10):
        found += more
    return found


class JournalContract(ABC):
    """The suite. Subclasses give `open_journal`, which must answer the same after a reopening."""

    @abstractmethod
    def open_journal(self, clock: HandClock, keep_days: int = 14) -> Journal:
        """Open the journal of this test."""

    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    @contextmanager
    def opened(self, clock: HandClock, keep_days: int = 14) -> Iterator[Journal]:
        journal = self.open_journal(clock, keep_days)
        try:
            yield journal
        finally:
            journal.close()

    async def test_positions_follow_the_order_of_commit_without_holes(self, clock: HandClock) -> None:
        with self.opened(clock) as journal:
            assert (journal.position, journal.first(), journal.after(0, 10)) == (0, None, [])
            outcomes = [await journal.commit(batch(n)) for n in (1, 2, 3)]
            assert [(o.result, o.position) for o in outcomes] == [("journalled", n) for n in (1, 2, 3)]
            again = await journal.commit(batch(2))
            other = await journal.commit(batch(2, b"other bytes"))
            assert [(o.result, o.position) for o in (again, other)] == [("duplicate", 0), ("conflict", 0)]
            assert (await journal.commit(batch(4))).position == 4
            assert [b.sequence for b in journal.after(1, 2)] == [2, 3]
            totals = journal.totals()["gw-1"]
            assert (totals.batches, totals.duplicates, totals.conflicts) == (4, 1, 1)

    async def test_a_batch_comes_back_as_it_was_given(self, clock: HandClock) -> None:
        given = batch(
            7, b"\x00\xff", previous=(5, 2**62 - 1), is_json=True, refused=b"\1\0\0\0", held=b"\2\0\0\0", arrived_ns=9
        )
        with self.opened(clock) as journal:
            await journal.commit(given)
        with self.opened(clock) as journal:
            assert journal.after(0, 10) == [given._replace(position=1)]
            totals = journal.totals()["gw-1"]
            assert (totals.refused_rows, totals.held_rows) == (1, 1)

    async def test_copies_that_come_at_once_are_journalled_once(self, clock: HandClock) -> None:
        with self.opened(clock) as journal:
            outcomes = await asyncio.gather(*(journal.commit(batch(n)) for n in range(1, 21) for _ in range(3)))
            assert sorted(o.result for o in outcomes) == ["duplicate"] * 40 + ["journalled"] * 20
            assert journal.position == 20

    async def test_a_batch_that_can_never_be_kept_fails_nobody_beside_it_nor_after_it(self, clock: HandClock) -> None:
        with self.opened(clock) as journal:
            bad = batch(1, gateway="gw-2", gaps=(Gap(["a"], 1 << 70, 2, 3, "expired"),))
            one, refused, two = await asyncio.gather(
                journal.commit(batch(1)), journal.commit(bad), journal.commit(batch(2)), return_exceptions=True
            )
            assert isinstance(refused, UnkeepableError)
            assert [(o.result, o.position) for o in (one, two) if isinstance(o, Outcome)] == [
                ("journalled", 1),
                ("journalled", 2),
            ]
            assert journal.last_error == "", "the journal itself is well"
            assert (await journal.commit(bad._replace(gaps=()))).position == 3

    async def test_what_is_missing_before_a_batch_is_named_also_after_a_reopening(self, clock: HandClock) -> None:
        with self.opened(clock) as journal:
            assert (await journal.commit(batch(1))).missing == []
            assert (await journal.commit(batch(4))).missing == [(HIGH, 2, 3)]
        with self.opened(clock) as journal:
            assert (await journal.commit(batch(6))).missing == [(HIGH, 2, 3), (HIGH, 5, 5)]
            assert (await journal.commit(batch(3))).missing == [(HIGH, 2, 2)]
            late = batch(9, epoch=3, previous=(HIGH, 6))
            assert (await journal.commit(late)).missing == [(HIGH, 2, 2), (HIGH, 5, 5)]
            assert (await journal.commit(batch(10, epoch=3))).missing == [], "an epoch begins where it says so"

    async def test_a_gap_stands_for_its_batch_until_that_comes_after_all(self, clock: HandClock) -> None:
        gap = Gap(devices=["a", "b"], start_s=60, end_s=120, rows=1, reason="expired", sequence=2)
        with self.opened(clock) as journal:
            await journal.commit(batch(1))
            assert (await journal.commit(batch(3, gaps=(gap,)))).missing == []
        with self.opened(clock) as journal:
            assert (await journal.commit(batch(2))).result == "journalled"
            assert (await journal.commit(batch(2))).result == "duplicate"

    async def test_counted_rows_are_told_by_local_day_up_to_a_position(self, clock: HandClock) -> None:
        with self.opened(clock) as journal:
            await journal.commit(batch(1, days=((5, 10), (6, 2), (7, 1))))
            await journal.commit(batch(2, days=((5, 1),)))
            await journal.commit(batch(3, days=((5, 7),)))
            found = {d.day: (d.position.tolist(), d.rows.tolist()) for d in journal.counted(2, lambda day: day == 7)}
            assert found == {5: ([1, 2], [10, 1]), 6: ([1], [2])}

    async def test_days_are_dropped_whole_and_what_was_received_is_known_for_ever(self, clock: HandClock) -> None:
        with self.opened(clock, keep_days=2) as journal:
            for sequence in (1, 2, 3):
                await journal.commit(batch(sequence, arrived_ns=clock.now_ns()))
                await journal.commit_announce(AnnounceEntry("gw-1", HIGH, clock.now_ns(), False, b"said"))
                clock.advance(DAY_S)
            assert journal.size().days == 3
            assert journal.drop_before(0) == [], "what is not applied is kept"
            assert len(journal.drop_before(3)) == 1
            assert journal.size().days == 2
            assert [b.sequence for b in everything(journal)] == [2, 3]
            first = journal.first()
            assert first is not None
            assert first[0] == 2
        with self.opened(clock, keep_days=2) as journal:
            assert (await journal.commit(batch(1))).result == "duplicate"
            assert (await journal.commit(batch(1, b"other bytes"))).result == "conflict"
            assert journal.totals()["gw-1"].conflicts == 1
            assert (await journal.commit(batch(2, b"other bytes"))).result == "conflict"
            assert (await journal.commit(batch(4))).position == 4

    async def test_what_comes_again_of_a_dropped_day_is_told_from_other_batches_under_its_keys(
        self, clock: HandClock
    ) -> None:
        lost = Gap(["a"], 60, 120, 1, "expired", sequence=4)
        days = [
            [batch(9), batch(2), batch(1, gaps=(lost,)), batch(3), batch(7, epoch=5, gateway="gw-2")],
            [batch(6), batch(5), batch(8), batch(8, epoch=5, gateway="gw-2"), batch(7, epoch=5)],
            [batch(10)],
        ]
        with self.opened(clock, keep_days=1) as journal:
            for day in days:
                for given in day:
                    assert (await journal.commit(given)).result == "journalled"
                clock.advance(DAY_S)
            assert len(journal.drop_before(journal.position)) == 2
            assert [b.sequence for b in everything(journal)] == [10]
            await self._tells_them_apart(journal, days)
        with self.opened(clock, keep_days=1) as journal:
            await self._tells_them_apart(journal, days)
            # nobody can tell what a gap of a dropped day stood for: sent under a new epoch it is not lost
            assert (await journal.commit(batch(4))).result == "conflict"
            assert (await journal.commit(batch(4, epoch=6, previous=(HIGH, 10)))).result == "journalled"

    async def _tells_them_apart(self, journal: Journal, days: list[list[Batch]]) -> None:
        position = journal.position
        for given in (given for day in days for given in day):
            other = batch(given.sequence, b"read by a card imaged weeks ago", epoch=given.epoch, gateway=given.gateway)
            assert (await journal.commit(given)).result == "duplicate", given
            assert (await journal.commit(other)).result == "conflict", given
        assert journal.position == position

    async def test_what_no_gateway_can_hold_any_more_is_called_a_conflict(self, clock: HandClock) -> None:
        with self.opened(clock, keep_days=1) as journal:
            await journal.commit(batch(1))
            clock.advance(DAY_S)
            await journal.commit(batch(2))
            clock.advance(400 * DAY_S)
            await journal.commit(batch(3))
            assert len(journal.drop_before(3)) == 2
            clock.advance(DAY_S)
            await journal.commit(batch(4))
            assert [(await journal.commit(batch(n))).result for n in (1, 2)] == ["duplicate", "duplicate"]
            assert len(journal.drop_before(4)) == 1
            assert [(await journal.commit(batch(n))).result for n in (1, 2)] == ["conflict", "duplicate"]

    async def test_a_clock_that_is_set_back_hides_nothing_in_an_older_day(self, clock: HandClock) -> None:
        with self.opened(clock) as journal:
            await journal.commit(batch(1))
            clock.advance(-3 * DAY_S)
            await journal.commit(batch(2))
            assert journal.size().days == 1
            assert [b.position for b in journal.after(0, 10)] == [1, 2]

    async def test_its_size_and_age_are_told(self, clock: HandClock) -> None:
        with self.opened(clock) as journal:
            assert journal.size().oldest_ns is None
            for sequence, arrived_ns in ((1, 100), (2, 200), (3, 300)):
                await journal.commit(batch(sequence, arrived_ns=arrived_ns, gateway=f"gw-{sequence}"))
            size = journal.size()
            assert (size.oldest_ns, size.newest_ns) == (100, 300)
            assert size.size_bytes > 0
            assert (journal.arrived_ns(0), journal.arrived_ns(2), journal.arrived_ns(3)) == (100, 300, None)
            assert journal.heard_since(200) == {"gw-2", "gw-3"}

    async def test_numbers_continue_beyond_a_position_that_the_store_has(self, clock: HandClock) -> None:
        with self.opened(clock) as journal:
            journal.continue_from(41)
            journal.continue_from(7)
            assert (await journal.commit(batch(1))).position == 42

    async def test_final_days_only_move_on_and_what_came_too_late_is_listed_once(self, clock: HandClock) -> None:
        late = [TooLate(9, "gw-1", f"设备 {i}", 100, 5, 600, 7) for i in range(3)]
        with self.opened(clock) as journal:
            assert journal.kept.final_before is None
            journal.kept.finish_before(100, 8)
            journal.kept.finish_before(90, 9)
            journal.kept.add_too_late(late)
            journal.kept.add_too_late(late[:2])
        with self.opened(clock) as journal:
            assert journal.kept.final_before == (100, 8)
            assert journal.kept.too_late(2) == late[:2]
            assert journal.kept.too_late_rows() == 15
