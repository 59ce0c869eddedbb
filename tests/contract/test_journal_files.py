"""The journal in files against the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.journal.files import FileJournal
from api.journal.port import Journal
from tests.api.county_fixtures import HandClock
from tests.contract.journal_contract import JournalContract


class TestFileJournal(JournalContract):
    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "journal"

    def open_journal(self, clock: HandClock, keep_days: int = 14) -> Journal:
        return FileJournal(self.folder, clock, keep_days=keep_days)
