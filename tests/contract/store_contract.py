"""What every interval store must do. A store passes by subclassing the suite and saying how it is opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from api.store.port import Append, DayRecords, IntervalStore
from metrics.record import RECORD_COLUMNS, Records, local_day, local_day_start_s

DAY = 20_780
MIDNIGHT_S = local_day_start_s(DAY)


def records(device: list[int], start_s: list[int], **columns: list[int]) -> Records:
    """Records of one-minute windows; columns that are not given are 0."""
    n = len(start_s)
    made = {c.name: np.zeros(n, c.dtype) for c in RECORD_COLUMNS}
    made |= {"device": np.array(device), "start": np.array(start_s), "length": np.full(n, 600)}
    made |= {name: np.array(values) for name, values in columns.items()}
    return Records.from_columns(made)


def rows(day: DayRecords) -> list[tuple[int, ...]]:
    """(position, device, and every column) of each record, as plain numbers."""
    columns = [getattr(day.records, c.name).tolist() for c in RECORD_COLUMNS]
    return list(zip(day.position.tolist(), *columns, strict=True))


class StoreContract(ABC):
    """The suite. Subclasses give `open_store`, which must answer the same after a reopening of the same folder."""

    @abstractmethod
    def open_store(self, folder: Path) -> IntervalStore:
        """Open the store that lives in a folder."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[IntervalStore]:
        opened = self.open_store(tmp_path)
        yield opened
        opened.close()

    def test_a_new_store_is_empty(self, store: IntervalStore) -> None:
        assert store.applied() == 0
        assert store.rows() == 0
        assert list(store.read_days([("g", DAY)])) == []
        assert store.gateway_days("g") == []

    def test_every_column_comes_back_exactly(self, store: IntervalStore) -> None:
        extremes = {
            name: [0, int(np.iinfo(dtype).max)]
            for name, dtype, *_ in RECORD_COLUMNS
            if name not in ("device", "start", "length", "part")
        }
        given = records([0, 0], [MIDNIGHT_S, MIDNIGHT_S + 60], part=[0, 255], **extremes)
        store.append([Append(1, "g", ["a"], given)], 1)
        (day,) = store.read_days([("g", DAY)])
        for column in RECORD_COLUMNS:
            assert getattr(day.records, column.name).tolist() == getattr(given, column.name).tolist(), column.name
            assert getattr(day.records, column.name).dtype == np.dtype(column.dtype)

    def test_rows_are_sorted_and_keep_their_journal_position(self, store: IntervalStore) -> None:
        store.append([Append(1, "g", ["b", "a"], records([0, 1, 0], [MIDNIGHT_S + 60, MIDNIGHT_S, MIDNIGHT_S]))], 1)
        store.append([Append(2, "g", ["a"], records([0, 0], [MIDNIGHT_S + 120, MIDNIGHT_S]))], 2)
        (day,) = store.read_days([("g", DAY)])
        assert day.devices == ["a", "b"]
        assert [(r[1], r[2] - MIDNIGHT_S, r[0]) for r in rows(day)] == [
            (0, 0, 1),
            (0, 0, 2),
            (0, 120, 2),
            (1, 0, 1),
            (1, 60, 1),
        ]

    def test_a_day_is_a_day_in_shanghai(self, store: IntervalStore) -> None:
        store.append([Append(1, "g", ["a"], records([0, 0], [MIDNIGHT_S - 60, MIDNIGHT_S]))], 1)
        days = {d.day: d.records.start.tolist() for d in store.read_days([("g", DAY - 1), ("g", DAY)])}
        assert days == {DAY - 1: [MIDNIGHT_S - 60], DAY: [MIDNIGHT_S]}
        assert local_day(MIDNIGHT_S - 1) == DAY - 1
        assert store.gateway_days("g") == [DAY - 1, DAY]

    def test_gateways_are_kept_apart_even_where_their_devices_have_one_name(self, store: IntervalStore) -> None:
        batches = [Append(i + 1, g, ["a"], records([0], [MIDNIGHT_S], parts=[i])) for i, g in enumerate("gh")]
        store.append(batches, 2)
        found = {d.gateway: d.records.parts.tolist() for d in store.read_days([("g", DAY), ("h", DAY), ("i", DAY)])}
        assert found == {"g": [0], "h": [1]}
        assert [d.gateway for d in store.read_days([("h", DAY)])] == ["h"]

    def test_only_days_with_records_are_answered(self, store: IntervalStore) -> None:
        store.append([Append(1, "g", ["a", "silent"], records([0], [MIDNIGHT_S]))], 1)
        (day,) = store.read_days([("g", DAY), ("g", DAY + 1)])
        assert day.devices == ["a"]

    def test_what_was_applied_survives_a_reopening(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.append([Append(1, "g", ["a"], records([0], [MIDNIGHT_S], parts=[7]))], 1)
        store.append([], 5)  # a batch whose rows were all refused moves the position too
        store.close()
        again = self.open_store(tmp_path)
        try:
            assert again.applied() == 5
            again.append([Append(6, "g", ["b", "a"], records([0, 1], [MIDNIGHT_S, MIDNIGHT_S + 60]))], 6)
            (day,) = again.read_days([("g", DAY)])
            assert [(day.devices[r[1]], r[0]) for r in rows(day)] == [("a", 1), ("a", 6), ("b", 6)]
        finally:
            again.close()

    def test_a_failed_append_leaves_nothing(self, store: IntervalStore) -> None:
        store.append([Append(1, "g", ["a"], records([0], [MIDNIGHT_S]))], 1)
        outside = records([5], [MIDNIGHT_S])
        with pytest.raises(IndexError):
            store.append([Append(2, "g", ["new"], records([0], [MIDNIGHT_S])), Append(3, "g", ["a"], outside)], 3)
        assert store.applied() == 1
        assert store.rows() == 1
        store.append([Append(2, "g", ["new"], records([0], [MIDNIGHT_S]))], 2)
        (day,) = store.read_days([("g", DAY)])
        assert day.devices == ["a", "new"]
