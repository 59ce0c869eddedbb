"""The journal in files, read for a backup and made by a restore."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from api.journal.batch import AnnounceEntry, Batch
from api.journal.day_file import DayFile
from api.journal.exchange import Lasting
from api.journal.files import DAY_FILES
from api.journal.kept import KeptFile
from api.journal.ranges import Receipts

_KEPT = "kept.sqlite"


class FilesReader:
    """Reads the day files beside the service that owns them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, DayFile] = {}

    def lasting(self) -> Lasting:
        """What outlives the days."""
        if not (self._folder / _KEPT).is_file():
            return Lasting()
        kept = KeptFile(self._folder / _KEPT)
        try:
            return Lasting(
                position=kept.through()[1],
                receipts=Receipts(kept.load()),
                conflicts=kept.counters("conflict"),
                final_before=kept.final_before,
                too_late=kept.too_late(-1),
            )
        finally:
            kept.close()

    def days(self) -> list[str]:
        """The days that are kept, ascending. They are held open, so that none that is dropped meanwhile is lost."""
        for path in sorted(self._folder.glob(DAY_FILES)):
            if path.stem in self._open:
                continue
            try:
                self._open[path.stem] = DayFile(path, read_only=True)
            except sqlite3.OperationalError:
                if path.exists():
                    raise
        return sorted(self._open)

    def batches(self, day: str) -> Iterator[Batch]:
        """The batches of a day by position, with their gaps and counted rows."""
        return self._open[day].everything()

    def announces(self, day: str) -> Iterator[AnnounceEntry]:
        """The announcements of a day in the order of arrival."""
        return self._open[day].announces()

    def close(self) -> None:
        """Close the files."""
        for opened in self._open.values():
            opened.close()


class FilesMaker:
    """Makes day files in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._days: list[str] = []

    def is_empty(self) -> bool:
        """Whether there is no journal yet."""
        return not self._folder.is_dir() or not any(self._folder.glob("*.sqlite"))

    def write(self, day: str, batches: Iterable[Batch], announces: Iterable[AnnounceEntry]) -> None:
        """Add to a day."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if day not in self._days:
            self._days.append(day)
        file = DayFile(self._folder / f"{day}.sqlite")
        try:
            file.write(list(batches), list(announces))
        finally:
            file.close()

    def finish(self, lasting: Lasting) -> None:
        """Keep what outlives the days."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = KeptFile(self._folder / _KEPT)
        try:
            # the last day goes on being written to: its batches must be read again at the next start
            through = self._days[-2] if len(self._days) > 1 else ""
            kept.save(lasting.receipts.ranges, through, lasting.position)
            for gateway, count in lasting.conflicts.items():
                kept.count("conflict", gateway, count)
            if lasting.final_before is not None:
                kept.finish_before(*lasting.final_before)
            kept.add_too_late(lasting.too_late)
        finally:
            kept.close()

    def close(self) -> None:
        """Nothing is held."""
