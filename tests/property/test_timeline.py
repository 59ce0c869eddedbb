"""Windows put in order add up to the day states, to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given

from metrics.days import day_states
from metrics.record import Records
from metrics.timeline import in_order, windows
from tests.property.strategies import DAY, days_of_records


@given(days_of_records())
def test_windows_add_up_to_the_day_states(day: tuple[Records, np.ndarray]) -> None:
    records, position = day
    states = day_states(records, position, DAY, 4)
    assume(not states.overlaps.any())  # windows that overlap share time, which only the day states settle
    w = windows(records, position)
    pairs = {"span_s": "quantity_span_s"}
    names = ("observed", "connected", "running", "idle", "fault", "off", "quantity", "quantity_idle", "parts", "span_s")
    for name in names:
        sums = [int(getattr(w, name)[w.device == device].sum()) for device in states.device]
        assert sums == getattr(states, pairs.get(name, name)).tolist()
    for device, reading in zip(states.device, states.last_reading, strict=True):
        known = w.reading[(w.device == device) & (w.reading >= 0)]
        assert (int(known[-1]) if len(known) else -1) == int(reading)


@given(days_of_records())
def test_order_is_by_device_start_and_part_and_each_key_once(day: tuple[Records, np.ndarray]) -> None:
    r = in_order(*day)
    keys = list(zip(r.device.tolist(), r.start.tolist(), r.part.tolist(), strict=True))
    assert keys == sorted(set(keys))
    assert in_order(r) is r
