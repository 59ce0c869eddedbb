"""Day states equal the slow reference, in any order and any split, to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.days import DayStates, day_states, merge, state_seconds
from metrics.record import Records
from tests.property import reference
from tests.property.strategies import DAY, days_of_records

N_DEVICES = 4


def assert_equals_reference(states: DayStates, records: Records, position: np.ndarray) -> None:
    expected = reference.device_days(reference.rows_of(records), [int(p) for p in position])
    assert states.device.tolist() == sorted(expected)
    for i, device in enumerate(states.device.tolist()):
        day = expected[device]
        got = {name: int(column[i]) for name, column in states.columns().items()}
        assert got.pop("day") == DAY
        assert got.pop("device") == device
        readings = sorted(day.readings)
        first, last = (readings[0], readings[-1]) if readings else ((-1, 0, -1), (-1, 0, -1))
        assert got == {
            **day.times,
            **{name: day.sums[name] for name in got.keys() & day.sums.keys()},
            "first_connected_s": day.first_connected_s,
            "last_connected_s": day.last_connected_s,
            "first_reading_s": first[0],
            "first_reading": first[2],
            "last_reading_s": last[0],
            "last_reading": last[2],
            "flags": day.flags,
            **{name: 0 for name in ("duplicates", "conflicts") if name not in day.sums},
        }


@given(days_of_records(trouble=True))
@settings(max_examples=150, deadline=None)
def test_troubled_days_equal_the_reference(given_records: tuple[Records, np.ndarray]) -> None:
    records, position = given_records
    assert_equals_reference(day_states(records, position, DAY, N_DEVICES), records, position)


@given(days_of_records(trouble=False))
@settings(max_examples=50, deadline=None)
def test_clean_days_equal_the_reference(given_records: tuple[Records, np.ndarray]) -> None:
    records, position = given_records
    in_order = np.lexsort((records.start, records.device))
    states = day_states(records.take(in_order), position[in_order], DAY, N_DEVICES)
    assert_equals_reference(states, records, position)
    assert day_states(records, position, DAY, N_DEVICES).to_bytes() == states.to_bytes()


@given(days_of_records(), st.lists(st.integers(0, 2), min_size=64, max_size=64), st.permutations(range(3)))
@settings(max_examples=100, deadline=None)
def test_any_split_by_window_merges_to_the_same_bits(
    given_records: tuple[Records, np.ndarray], choice: list[int], order: list[int]
) -> None:
    records, position = given_records
    # Windows of one device that overlap belong together: such days are split by device alone.
    lengths_differ = len(records) > 0 and records.length.min() != records.length.max()
    key = records.device if lengths_differ else records.device * 8 + (records.start // 60) % 8
    share = np.array(choice)[key % 64]
    split = [day_states(records.take(share == s), position[share == s], DAY, N_DEVICES) for s in range(3)]
    whole = day_states(records, position, DAY, N_DEVICES).to_bytes()
    assert merge(*(split[i] for i in order)).to_bytes() == whole
    assert merge(split[order[0]], merge(split[order[1]], split[order[2]])).to_bytes() == whole
    assert merge(merge(split[order[2]], split[order[0]]), split[order[1]]).to_bytes() == whole


@given(st.booleans().flatmap(lambda trouble: days_of_records(trouble=trouble)), st.booleans())
@settings(max_examples=80, deadline=None)
def test_state_seconds_alone_are_those_of_the_day_states(
    given_records: tuple[Records, np.ndarray], in_order: bool
) -> None:
    records, position = given_records
    if in_order:
        order = np.lexsort((records.start, records.device))
        records, position = records.take(order), position[order]
    states = day_states(records, position, DAY, N_DEVICES)
    alone = state_seconds(records, position, DAY, N_DEVICES)
    assert alone.keys() == {"device", *reference.TIMES}
    for name, column in alone.items():
        assert column.tolist() == getattr(states, name).tolist(), name


@given(days_of_records())
@settings(max_examples=50, deadline=None)
def test_bytes_round_trip(given_records: tuple[Records, np.ndarray]) -> None:
    states = day_states(*given_records, DAY, N_DEVICES)
    again = DayStates.from_bytes(states.to_bytes())
    assert again.to_bytes() == states.to_bytes()
    assert again.digest() == states.digest()
