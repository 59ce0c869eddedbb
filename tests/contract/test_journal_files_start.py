"""The journal in files is opened without reading every batch: what finished days held is kept, and stays exact."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.journal import files
from api.journal.day_file import DayFile
from api.journal.files import FileJournal, day_name
from api.journal.kept import KeptFile
from api.journal.port import JournalError
from tests.api.county_fixtures import HandClock
from tests.contract.journal_contract import DAY_S, HIGH, batch

Told = dict[str, tuple[int, int, int]]


@contextmanager
def opened(folder: Path, clock: HandClock, keep_days: int = 14) -> Iterator[FileJournal]:
    journal = FileJournal(folder, clock, keep_days=keep_days)
    try:
        yield journal
    finally:
        journal.close()


def told(journal: FileJournal) -> Told:
    return {name: (t.batches, t.refused_rows, t.held_rows) for name, t in journal.totals().items()}


async def four_days(folder: Path, clock: HandClock) -> Told:
    """A day's batches are 1, 2, 3 and 4, the first with a refused row, of two gateways."""
    with opened(folder, clock) as journal:
        for day in range(4):
            for sequence in range(10 * day + 1, 10 * day + day + 2):
                refused = b"\1\0\0\0" if sequence % 10 == 1 else b""
                previous = (HIGH, sequence - 1)
                await journal.commit(batch(sequence, previous=previous, refused=refused, gateway=f"gw-{sequence % 2}"))
            clock.advance(DAY_S)
        return told(journal)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The day files that are read whole, as they are opened from now on."""
    found: list[str] = []
    totals = DayFile.totals

    def count(day: DayFile) -> object:
        found.append(day.path.stem)
        return totals(day)

    monkeypatch.setattr(DayFile, "totals", count)
    return found


async def test_finished_days_are_not_read_again_and_their_counts_are_exact(
    tmp_path: Path, clock: HandClock, scanned: list[str]
) -> None:
    before = await four_days(tmp_path, clock)
    assert before == {"gw-1": (6, 4, 0), "gw-0": (4, 0, 0)}
    scanned.clear()
    with opened(tmp_path, clock) as journal:
        assert told(journal) == before
        assert scanned == [day_name(clock.now_ns() - DAY_S * 1_000_000_000)], "only the day that goes on"


async def test_counts_that_a_kill_left_out_are_counted_from_the_day_and_kept_then(
    tmp_path: Path, clock: HandClock, scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KeptFile, "keep_day_counts", _disk_full)  # the ranges are written, the counts are not
        before = await four_days(tmp_path, clock)
    scanned.clear()
    with opened(tmp_path, clock) as journal:
        assert told(journal) == before
    assert Counter(scanned).total() == 4
    scanned.clear()
    with opened(tmp_path, clock) as journal:
        assert told(journal) == before
    assert Counter(scanned).total() == 1


async def test_counts_of_fewer_batches_than_the_day_has_are_not_believed(tmp_path: Path, clock: HandClock) -> None:
    before = await four_days(tmp_path, clock)
    kept = KeptFile(tmp_path / "kept.sqlite")
    (day, (position, counts)) = list(kept.day_counts().items())[1]
    kept.keep_day_counts(day, position - 1, counts[:1], "")
    kept.close()
    with opened(tmp_path, clock) as journal:
        assert told(journal) == before


async def test_a_journal_whose_kept_file_is_lost_counts_its_days(tmp_path: Path, clock: HandClock) -> None:
    before = await four_days(tmp_path, clock)
    (tmp_path / "kept.sqlite").unlink()
    with opened(tmp_path, clock) as journal:
        assert told(journal) == before
        assert (await journal.commit(batch(12, gateway="gw-0"))).result == "duplicate"


async def test_a_day_that_is_dropped_leaves_the_counts_at_once(tmp_path: Path, clock: HandClock) -> None:
    await four_days(tmp_path, clock)
    with opened(tmp_path, clock, keep_days=2) as journal:
        assert len(journal.drop_before(journal.position)) == 2
        after = told(journal)
        assert after == {"gw-1": (4, 2, 0), "gw-0": (3, 0, 0)}
    with opened(tmp_path, clock, keep_days=2) as journal:
        assert told(journal) == after


async def test_batches_of_a_day_that_went_on_after_its_ranges_were_kept_are_known(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next day's file could not be made, then the clock was set back: the day before was written on to."""
    with opened(tmp_path, clock) as journal:
        await journal.commit(batch(1))
        clock.advance(DAY_S)
        with monkeypatch.context() as patch:
            patch.setattr(files, "DayFile", _disk_full)
            with pytest.raises(JournalError):
                await journal.commit(batch(2))
        clock.advance(-DAY_S)
        assert (await journal.commit(batch(2))).position == 2
        clock.advance(DAY_S)
    with opened(tmp_path, clock) as journal:
        assert told(journal) == {"gw-1": (2, 0, 0)}
        assert (await journal.commit(batch(2))).result == "duplicate"
        assert (await journal.commit(batch(3))).missing == []


def _disk_full(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")
