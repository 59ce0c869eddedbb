"""The journal in files against the contract."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.journal.files import FileJournal
from api.journal.port import Journal, TooLate
from tests.api.county_fixtures import HandClock
from tests.contract.journal_contract import DAY_S, JournalContract, batch


class TestFileJournal(JournalContract):
    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "journal"

    def open_journal(self, clock: HandClock, keep_days: int = 14) -> Journal:
        return FileJournal(self.folder, clock, keep_days=keep_days)

    async def test_a_conflict_that_cannot_be_counted_fails_no_batch_and_is_counted_later(
        self, clock: HandClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with self.opened(clock) as journal:
            assert isinstance(journal, FileJournal)
            await journal.commit(batch(1))
            monkeypatch.setattr(journal.kept, "count", _disk_full)
            other, fresh = await asyncio.gather(
                journal.commit(batch(1, b"other bytes")), journal.commit(batch(1, gateway="gw-2"))
            )
            assert (other.result, fresh.result, fresh.position) == ("conflict", "journalled", 2)
            assert (await journal.commit(batch(2, gateway="gw-2"))).position == 3
            assert journal.kept.counters("conflict") == {}
            monkeypatch.undo()
            assert (await journal.commit(batch(3, gateway="gw-2"))).position == 4
            assert journal.kept.counters("conflict") == {"gw-1": 1}
        with self.opened(clock) as journal:
            assert journal.totals()["gw-1"].conflicts == 1
            assert journal.position == 4

    def test_what_fails_half_way_is_taken_back_and_stops_nothing_after_it(self, clock: HandClock) -> None:
        late = [TooLate(9, "gw-1", f"设备 {i}", 100, 5, 600, 7) for i in range(3)]

        def broken() -> Iterator[TooLate]:
            yield late[0]
            raise sqlite3.OperationalError("database or disk is full")

        with self.opened(clock) as journal:
            with pytest.raises(sqlite3.OperationalError):
                journal.kept.add_too_late(broken())
            assert journal.kept.too_late(9) == []
            journal.kept.add_too_late(late[1:])
            journal.kept.finish_before(100, 8)
        with self.opened(clock) as journal:
            assert journal.kept.too_late(9) == late[1:]
            assert journal.kept.final_before == (100, 8)

    async def test_a_day_whose_file_outlives_its_dropping_is_dropped_again(
        self, clock: HandClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with self.opened(clock, keep_days=1) as journal:
            for sequence in (1, 2):
                await journal.commit(batch(sequence))
                clock.advance(DAY_S)
            monkeypatch.setattr(Path, "unlink", _disk_full)
            with pytest.raises(sqlite3.OperationalError):
                journal.drop_before(2)
            monkeypatch.undo()
        for days in (2, 1):
            with self.opened(clock, keep_days=1) as journal:
                assert journal.size().days == days
                assert (await journal.commit(batch(1))).result == "duplicate"
                assert (await journal.commit(batch(1, b"other bytes"))).result == "conflict"
                assert len(journal.drop_before(2)) == days - 1


def _disk_full(*_: object, **__: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")
