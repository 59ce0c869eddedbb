"""The last value of every tag, whatever the order in which samples of some tags and of all of them come."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from collectors.model import Device, Evidence, Quality, Samples, Tag
from gateway.last_values import LastValues

TAGS = tuple(Tag(name) for name in "abc")
DEVICE = Device("m", "m", "p", "modbus-tcp://h", "plc", Evidence.NATIVE, TAGS, 5.0)


def constant(column: NDArray[Any]) -> NDArray[Any]:
    column.flags.writeable = False
    return column


SHARED_TAGS = {rows: constant(np.array(rows, np.uint16)) for rows in ((0, 1, 2), (0, 1), (2,), (1, 1), (0, 3))}
NO_SOURCE = {n: constant(np.zeros(n, np.int64)) for n in (1, 2, 3)}
polls = st.lists(
    st.tuples(st.sampled_from(sorted(SHARED_TAGS)), st.booleans(), st.sampled_from((0, 5, 9)), st.booleans()),
    max_size=8,
)


@given(polls=polls)
def test_the_last_sample_of_each_tag_is_told_however_the_polls_follow_each_other(
    polls: list[tuple[tuple[int, ...], bool, int, bool]],
) -> None:
    kept = LastValues()
    expected: dict[int, tuple[float, int, int]] = {}
    for number, (rows, is_shared, source_ns, is_looked_at) in enumerate(polls, start=1):
        n = len(rows)
        tag = SHARED_TAGS[rows] if is_shared else np.array(rows, np.uint16)
        source = NO_SOURCE[n] if is_shared else np.full(n, source_ns)
        value = np.arange(n) + 10.0 * number
        kept.take(DEVICE, Samples(tag, value, np.zeros(n, np.uint8), source, np.full(n, number)))
        if not is_shared:
            tag[:] = 0  # whoever owns the column may use it again
        before = dict(expected)
        for row, told, of_source in zip(rows, value.tolist(), source.tolist(), strict=True):
            if row < len(TAGS) and (not of_source or of_source >= before.get(row, (0.0, 0, 0))[1]):
                expected[row] = (told, of_source, number)
        if is_looked_at:
            kept.of("m")
    found = {
        at: (last.value, last.source_ns, last.received_ns)
        for at, last in enumerate(kept.of("m"))
        if last.quality is not None
    }
    assert found == expected
    assert sum(kept.counts("m")) == sum(len(rows) for rows, *_ in polls)


def test_a_bad_value_is_none_and_a_tag_that_never_came_has_no_quality() -> None:
    kept = LastValues()
    kept.take(DEVICE, Samples.of([0], [float("nan")], 7, quality=Quality.BAD))
    first, second, _ = kept.of("m")
    assert (first.value, first.quality, first.received_ns) == (None, Quality.BAD, 7)
    assert (second.value, second.quality) == (None, None)
    assert kept.counts("m") == (0, 1)
    assert kept.of("another") == []
