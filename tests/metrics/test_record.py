"""The interval record's rules: one row broken at a time."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.record import DAY_S, RECORD_COLUMNS, Records, local_day, local_day_start_s, refusals
from tests.metrics.records import START_S, records

VALID = {"connected": 500, "running": 300, "idle": 200, "quantity": 7, "quantity_idle": 3, "quantity_span": 60}


def test_valid_records_are_not_refused() -> None:
    supplement = {"part": 1, "running": 600, "quantity": 1, "quantity_span": 1}
    longest = {"start": START_S, "length": 9000, "observed": 9000, "connected": 9000, "off": 9000}
    assert refusals(records(VALID, supplement, longest), 1) == []
    assert refusals(Records.empty(), 0) == []


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("device", {"device": 1}),
        ("length", {"length": 700}),
        ("length", {"length": 605}),
        ("start", {"start": START_S + 1}),
        ("start", {"start": -60}),
        ("observed", {"observed": 601}),
        ("observed", {"part": 1, "observed": 1}),
        ("connected", {"observed": 400}),
        ("running", {"fault": 1}),
        ("quantity", {"quantity_span": 0}),
        ("quantity", {"quantity": -1, "quantity_idle": 0}),
        ("quantity_idle", {"quantity_idle": 8}),
        ("reading", {"reading": -2}),
    ],
)
def test_a_row_that_breaks_a_rule_is_named_with_its_first_fault(column: str, change: dict[str, int]) -> None:
    found = refusals(records(VALID, VALID | change), 1)
    assert [(f.row, f.column) for f in found] == [(1, column)]


def test_a_value_that_does_not_fit_its_column_is_refused_not_wrapped() -> None:
    columns = {c.name: [0] for c in RECORD_COLUMNS}
    with pytest.raises(OverflowError, match="length"):
        Records.from_columns(columns | {"length": [65_536]})
    with pytest.raises(OverflowError, match="device"):
        Records.from_columns(columns | {"device": [-1]})
    with pytest.raises(ValueError, match="unequal"):
        Records.from_columns(columns | {"part": [0, 0]})


def test_a_day_is_a_day_in_ninghai() -> None:
    midnight_s = local_day_start_s(20_000)
    assert local_day(midnight_s) == 20_000
    assert local_day(midnight_s - 1) == 19_999
    assert local_day(np.array([midnight_s + DAY_S - 1, midnight_s + DAY_S])).tolist() == [20_000, 20_001]
