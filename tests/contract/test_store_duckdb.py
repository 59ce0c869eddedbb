"""The embedded store against the contract, and what is its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.store.duckdb import DuckDBStore
from api.store.open import open_store
from api.store.port import Append, IntervalStore, StoreLockedError
from tests.contract.store_contract import MIDNIGHT_S, StoreContract, records

_SECOND = """
import sys
from pathlib import Path
from api.store.open import open_store
from api.store.port import StoreLockedError
try:
    open_store(sys.argv[1])
except StoreLockedError as error:
    print(error)
"""


class TestDuckDB(StoreContract):
    def open_store(self, folder: Path) -> IntervalStore:
        return open_store(f"duckdb:///{folder / 'records.duckdb'}")

    def test_a_second_process_is_told_who_owns_the_store(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        try:
            address = f"duckdb:///{tmp_path / 'records.duckdb'}"
            done = subprocess.run(
                [sys.executable, "-c", _SECOND, address], capture_output=True, text=True, timeout=30, check=True
            )
            assert f"process {os.getpid()}" in done.stdout
            assert "正" not in done.stderr
        finally:
            store.close()
        self.open_store(tmp_path).close()

    def test_the_lock_holds_within_one_process_too(self, tmp_path: Path) -> None:
        store = DuckDBStore(tmp_path / "records.duckdb")
        with pytest.raises(StoreLockedError, match="占用"):
            DuckDBStore(tmp_path / "records.duckdb")
        store.close()

    def test_a_killed_process_loses_nothing_that_was_applied(self, tmp_path: Path) -> None:
        code = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from tests.contract.store_contract import *\n"
            "from api.store.duckdb import DuckDBStore\n"
            "store = DuckDBStore(Path(sys.argv[1]))\n"
            "for i in range(1, 6):\n"
            "    store.append([Append(i, 'g', ['a'], records([0], [MIDNIGHT_S + 60 * i]))], i)\n"
            "os.kill(os.getpid(), 9)\n"
        )
        path = tmp_path / "records.duckdb"
        done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=30, cwd=Path.cwd(), check=False)
        assert done.returncode == -9
        store = DuckDBStore(path)
        assert (store.applied(), store.rows()) == (5, 5)
        store.append([Append(6, "g", ["a"], records([0], [MIDNIGHT_S]))], 6)
        assert store.rows() == 6
        store.close()


def test_an_address_of_no_known_store_is_refused() -> None:
    with pytest.raises(ValueError, match="duckdb:///path"):
        open_store("sqlite:///x")
