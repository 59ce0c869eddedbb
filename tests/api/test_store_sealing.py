"""Finished days in sealed files: read as before, whole after any crash, never stored twice, expired at last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from api.store.duckdb import DuckDBStore
from api.store.port import Append, DayRecords, EmbeddedStore, StoreError
from tests.benchmarks.bench_gateway import START_S, plant_minutes
from tests.contract.store_contract import DAY, MIDNIGHT_S, records, rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    opened = DuckDBStore(path)
    yield opened
    opened.close()


def batch(position: int, gateway: str, days: list[int], device: str = "a", **columns: list[int]) -> Append:
    return Append(
        position, gateway, [device], records([0] * len(days), [MIDNIGHT_S + d * 86_400 for d in days], **columns)
    )


def fill(store: DuckDBStore) -> None:
    """Two gateways on three days, out of order, with a duplicate."""
    given = [
        batch(1, "g", [0, 1, 2], "b", parts=[1, 2, 3]),
        batch(2, "h", [2, 0, 1], "a", parts=[4, 5, 6]),
        batch(3, "g", [0, 0, 1], "a", parts=[7, 8, 9]),
        batch(4, "g", [0], "b", parts=[1]),
    ]
    store.append(given, 4)


def everything(store: DuckDBStore) -> dict[tuple[str, int], tuple[list[str], list[tuple[int, ...]]]]:
    keys = [(g, DAY + d) for g in "gh" for d in range(-1, 5)]
    found: list[DayRecords] = list(store.read_days(keys))
    return {(d.gateway, d.day): (d.devices, rows(d)) for d in found}


def test_the_embedded_store_is_told_by_its_protocol(store: DuckDBStore) -> None:
    assert isinstance(store, EmbeddedStore)
    assert store.notice == ""


def test_sealed_days_read_exactly_as_before(path: Path, store: DuckDBStore) -> None:
    fill(store)
    before, count = everything(store), store.rows()
    assert store.seal(DAY + 2) == [DAY, DAY + 1]
    assert store.sealed_days() == [DAY, DAY + 1]
    assert everything(store) == before
    assert store.rows() == count
    assert store.gateway_days("h") == [DAY, DAY + 1, DAY + 2]
    assert store.hot_days() == [DAY + 2]
    assert [c.tolist() for c in store.hot_counts(DAY + 2)] == [[1, 2], [1, 1]]
    names = sorted(p.name for p in path.with_name("records-sealed").iterdir())
    assert names == ["2026-11-23.000000000004.parquet", "2026-11-24.000000000004.parquet"]
    store.close()
    again = DuckDBStore(path)
    assert everything(again) == before
    assert again.seal(DAY + 2) == []
    again.close()


def test_what_comes_late_stands_beside_its_sealed_day_until_it_is_sealed_too(store: DuckDBStore) -> None:
    fill(store)
    store.seal(DAY + 2)
    store.append([batch(5, "g", [0], "new"), batch(6, "h", [0, 2], "a")], 6)
    before = everything(store)
    assert [r[0] for r in before["g", DAY][1]] == [3, 3, 1, 4, 5]
    assert before["g", DAY][0] == ["a", "b", "new"]
    assert store.seal(DAY + 2) == [DAY]
    assert everything(store) == before
    assert store.seal(DAY + 2) == []


def test_a_journal_applied_again_stores_nothing_of_a_sealed_day_twice(path: Path, store: DuckDBStore) -> None:
    fill(store)
    store.seal(DAY + 2)
    store.append([batch(5, "g", [0], "late")], 5)
    before = everything(store)
    store.close()
    path.unlink()
    again = DuckDBStore(path)
    assert (again.applied(), again.sealed_days()) == (0, [DAY, DAY + 1])
    fill(again)
    again.append([batch(5, "g", [0], "late")], 5)
    assert everything(again) == before
    again.close()


@pytest.mark.parametrize("step", ["_copy", "publish", "_forget_sealed"])
def test_a_sealing_that_was_interrupted_is_repeated(
    path: Path, monkeypatch: pytest.MonkeyPatch, store: DuckDBStore, step: str
) -> None:
    """The process dies behind each step: what it did stays on disk, what follows never happened."""

    class KilledError(BaseException):
        pass

    fill(store)
    before = everything(store)
    owner = "api.store.duckdb." + ("publish" if step == "publish" else f"DuckDBStore.{step}")
    real = getattr(DuckDBStore, step, None)

    def dies(*given: object) -> None:
        if step == "_copy":
            real(*given)  # type: ignore[misc]
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, dies)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # the dead do not tidy up
        with pytest.raises(KilledError):
            store.seal(DAY + 1)
    left = sorted(p.suffix for p in path.with_name("records-sealed").iterdir())
    assert left == ([".parquet"] if step == "_forget_sealed" else [".tmp"])
    assert everything(store) == before
    store.close()
    again = DuckDBStore(path)
    assert everything(again) == before
    assert again.seal(DAY + 1) == ([] if step == "_forget_sealed" else [DAY])
    assert everything(again) == before
    assert again.rows() == 10
    assert [p.suffix for p in path.with_name("records-sealed").iterdir()] == [".parquet"]
    again.close()


def test_days_beyond_the_retention_are_dropped_hot_and_sealed_alike(path: Path, store: DuckDBStore) -> None:
    fill(store)
    store.seal(DAY + 1)
    assert store.expire(DAY + 2) == [DAY, DAY + 1]
    assert sorted(everything(store)) == [("g", DAY + 2), ("h", DAY + 2)]
    assert list(path.with_name("records-sealed").iterdir()) == []
    assert store.rows() == 2


def test_a_rewound_store_takes_the_same_positions_again(store: DuckDBStore) -> None:
    fill(store)
    before = everything(store)
    store.rewind(2)
    assert (store.applied(), store.rows()) == (2, 6)
    store.append([batch(3, "g", [0, 0, 1], "a", parts=[7, 8, 9]), batch(4, "g", [0], "b", parts=[1])], 4)
    assert everything(store) == before


def test_a_sealed_record_takes_at_most_four_bytes(path: Path, store: DuckDBStore) -> None:
    for position in range(1, 73):
        minutes = plant_minutes(50, 20, seed=position)
        columns = minutes.columns()
        columns["start"] = minutes.start - START_S + MIDNIGHT_S + (position - 1) * 1200
        made = type(minutes)(**columns)
        store.append([Append(position, "g", [f"device-{i}" for i in range(50)], made)], position)
    assert store.seal(DAY + 1) == [DAY]
    (file,) = path.with_name("records-sealed").iterdir()
    assert file.stat().st_size / 72_000 <= 4.0
    (day,) = store.read_days([("g", DAY)])
    assert (len(day.records), len(day.devices)) == (72_000, 50)
    assert (np.diff(day.records.device.astype(np.int64)) >= 0).all()


def test_a_damaged_sealed_file_is_set_aside_and_told(path: Path, store: DuckDBStore) -> None:
    fill(store)
    store.seal(DAY + 1)
    store.close()
    (file,) = path.with_name("records-sealed").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    again = DuckDBStore(path)
    assert again.sealed_days() == []
    assert "从备份恢复" in again.notice
    assert "2026-11-23.000000000004.parquet.damaged" in again.notice
    assert sorted(everything(again))[0] == ("g", DAY + 1)
    again.close()


def test_a_sealing_that_fails_says_why_and_leaves_the_day_hot(
    path: Path, store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    before = everything(store)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("api.store.duckdb.publish", full)
        with pytest.raises(StoreError, match="no space left"):
            store.seal(DAY + 1)
    assert list(path.with_name("records-sealed").iterdir()) == []
    assert everything(store) == before
    assert store.seal(DAY + 1) == [DAY]
