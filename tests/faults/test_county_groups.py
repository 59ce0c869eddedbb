"""A store that is killed while it takes full groups: what it said it has is there, and no group is there in part."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from api.applier import GROUP_ROWS
from api.store.duckdb import DuckDBStore

ROWS = 10_000
BATCHES = GROUP_ROWS // ROWS
DAY = 20_780

APPENDING = f"""
import sys
from pathlib import Path
import numpy as np
from api.store.duckdb import DuckDBStore
from api.store.port import Append
from metrics.record import RECORD_COLUMNS, Records, local_day_start_s

store = DuckDBStore(Path(sys.argv[1]))
columns = {{c.name: np.zeros({ROWS}, c.dtype) for c in RECORD_COLUMNS}}
columns |= {{"start": local_day_start_s({DAY}) + 60 * (np.arange({ROWS}) % 1440), "length": np.full({ROWS}, 600)}}
while True:
    first = store.applied() + 1
    group = []
    for position in range(first, first + {BATCHES}):
        numbers = np.random.default_rng(position).integers(0, 1 << 20, {ROWS})
        group.append(Append(position, "gw", ["d"], Records.from_columns(columns | {{"quantity": numbers}})))
    print("begins", flush=True)
    store.append(group, group[-1].position)
    print(store.applied(), flush=True)
"""


def killed(path: Path, groups: int, into_the_next_s: float) -> int:
    """Append groups, and kill the writer while it appends another one. Returns the position it said it has."""
    with subprocess.Popen([sys.executable, "-c", APPENDING, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(2 * groups + 1)]
        time.sleep(into_the_next_s)  # the moment of the kill, not a wait for anything
        writer.kill()
    assert told[-1] == "begins"
    return int(told[-2])


def test_a_store_that_is_killed_in_full_groups_has_all_it_said_and_none_in_part(tmp_path: Path) -> None:
    path = tmp_path / "records.duckdb"
    for groups, into_the_next_s in ((1, 0.02), (1, 0.08), (2, 0.15)):
        told = killed(path, groups, into_the_next_s)
        store = DuckDBStore(path)
        assert store.notice == ""
        applied = store.applied()
        assert applied in (told, told + BATCHES)
        assert store.rows() == applied * ROWS
        positions, rows = store.hot_counts(DAY)
        assert positions.tolist() == list(range(1, applied + 1))
        assert set(rows.tolist()) == {ROWS}
        store.close()


def test_a_full_group_that_was_said_to_be_stored_is_read_as_it_was_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "records.duckdb"
    told = killed(path, 1, 0.0)
    store = DuckDBStore(path)
    (day,) = store.read_days([("gw", DAY)])
    store.close()
    expected = sum(int(np.random.default_rng(i).integers(0, 1 << 20, ROWS).sum()) for i in range(1, told + 1))
    assert int(day.records.quantity[day.position <= told].sum()) == expected
