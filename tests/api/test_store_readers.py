"""Whoever sees how far the store is finds what it holds up to there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api.store.duckdb import DuckDBStore
from api.store.port import Append
from metrics.record import local_day
from tests.metrics.records import START_S, records


def test_devices_never_seen_before_are_known_before_the_position_says_that_their_records_are_there(
    tmp_path: Path,
) -> None:
    """Else a reader between the two finds a day empty, and takes it for computed."""
    store = DuckDBStore(tmp_path / "records.duckdb")
    positions: list[int] = []

    class Known(dict[Any, Any]):
        def update(self, *given: Any, **named: Any) -> None:
            super().update(*given, **named)
            positions.append(store.applied())

    store._numbers = Known(store._numbers)
    store.append([Append(1, "gw-1", ["m-1"], records({}))], 1)
    assert positions == [0]
    assert store.applied() == 1
    assert [len(found.records) for found in store.read_days([("gw-1", int(local_day(START_S)))])] == [1]
    store.close()
