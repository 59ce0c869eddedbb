"""A meter behind hardware that dies, is replaced and hands in late what it kept: the sums hold, whatever comes when."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.days import DayStates, day_states, merge
from metrics.hand_over import holes, settlement
from metrics.record import RECORD_COLUMNS, Records, local_day
from tests.property.strategies import START_S

WINDOW_S = 900
DEVICES = 3
_HOUR = 3600 // WINDOW_S

Story = tuple[Records, np.ndarray, int, np.ndarray]
"""Records, which of them come late, the hand-over in s, and true counters by device and window (at its end)."""


@st.composite
def hand_overs(draw: st.DrawFn) -> Story:
    """Quarters of an hour of some devices over up to three days; the old hardware dies, new one begins later."""
    windows = draw(st.integers(8, 3 * 96))
    turn = draw(st.integers(2, windows - 2))
    dead = draw(st.integers(1, turn))
    begin = draw(st.integers(turn, windows - 1))
    offset = draw(st.integers(0, 95))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    counters = 10_000 + np.cumsum(rng.integers(0, 2_000, (DEVICES, windows)), axis=1)
    rows: list[dict[str, int]] = []
    for device in range(DEVICES):
        for first, last in ((0, dead), (begin, windows)):
            for w in range(first, last):
                start = START_S + (w + offset) * WINDOW_S
                row = {c.name: 0 for c in RECORD_COLUMNS} | {"device": device, "start": start, "reading": -1}
                row |= {"length": WINDOW_S * 10, "observed": WINDOW_S * 10}
                if w > first:  # the first window of a chain begins with its first reading
                    row |= {"quantity": int(counters[device, w] - counters[device, w - 1]), "quantity_span": WINDOW_S}
                if w == first or (w + offset) % _HOUR == 0:
                    row["reading"] = int(counters[device, w])
                rows.append(row)
    records = Records.from_columns({c.name: [row[c.name] for row in rows] for c in RECORD_COLUMNS})
    hand_over_s = START_S + (turn + offset) * WINDOW_S
    late = (records.start < hand_over_s) & (rng.random(len(records)) < draw(st.sampled_from((0.0, 0.3, 1.0))))
    late &= records.start > START_S + offset * WINDOW_S  # the first reading is there
    return records, late, hand_over_s, counters


def settled(records: Records, hand_over_s: int) -> dict[int, DayStates]:
    found = holes(records, None, [hand_over_s])
    first, last = (int(local_day(int(s))) for s in (records.start.min(), records.start.max()))
    made: dict[int, DayStates] = {}
    for day in range(first, last + 1):
        own = records.take(local_day(records.start) == day)
        made[day] = merge(day_states(own, None, day, DEVICES), settlement(found, day))
    return made


def total(states: dict[int, DayStates], name: str, device: int) -> int:
    return sum(int(getattr(s, name)[s.device == device].sum()) for s in states.values())


@given(hand_overs())
@settings(max_examples=120, deadline=None)
def test_with_everything_delivered_the_days_add_up_to_what_the_meter_counted(story: Story) -> None:
    records, _, hand_over_s, counters = story
    states = settled(records, hand_over_s)
    for device in range(DEVICES):
        assert total(states, "quantity", device) == int(counters[device, -1] - counters[device, 0])
        raw = int(records.quantity[records.device == device].sum())
        assert total(states, "quantity_estimated", device) == total(states, "quantity", device) - raw
        span_s = int(records.start.max() - records.start.min())
        assert total(states, "quantity_span_s", device) <= span_s


@given(hand_overs(), st.randoms(use_true_random=False))
@settings(max_examples=120, deadline=None)
def test_what_comes_late_is_counted_once_and_the_end_is_the_same_to_the_bit(story: Story, random: object) -> None:
    records, late, hand_over_s, counters = story
    before = settled(records.take(~late), hand_over_s)
    for device in range(DEVICES):
        assert total(before, "quantity", device) <= int(counters[device, -1] - counters[device, 0])
    order = np.concatenate([np.flatnonzero(~late), np.flatnonzero(late)])
    random.shuffle(order)  # type: ignore[attr-defined]
    after, expected = settled(records.take(order), hand_over_s), settled(records, hand_over_s)
    assert {day: s.digest() for day, s in after.items()} == {day: s.digest() for day, s in expected.items()}
