"""Hypothesis strategies: interval records of one local day, clean and troubled."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from metrics.record import RECORD_COLUMNS, Records, local_day_start_s

DAY = 20_780
START_S = local_day_start_s(DAY)


def record(device: int, start: int, length_s: int, part: int, draw: st.DrawFn) -> dict[str, int]:
    """One valid record: the rules are those of `metrics.record.refusals`."""
    length = length_s * 10
    observed = draw(st.integers(0, length)) if part == 0 else 0
    connected = draw(st.integers(0, observed))
    left = connected if part == 0 else length
    row = {"device": device, "start": start, "length": length, "part": part}
    row |= {"observed": observed, "connected": connected}
    for name in ("running", "idle", "fault", "off"):
        row[name] = draw(st.integers(0, left))
        left -= row[name]
    row["quantity_span"] = draw(st.sampled_from((0, length_s, 3600)))
    row["quantity"] = draw(st.integers(0, 2**40)) if row["quantity_span"] else 0
    row["quantity_idle"] = draw(st.integers(0, row["quantity"]))
    row["reading"] = draw(st.integers(-1, 2**45))
    for name in ("parts", "good", "bad"):
        row[name] = draw(st.integers(0, 2**20))
    row["flags"] = draw(st.integers(0, 255))
    return row


@st.composite
def days_of_records(draw: st.DrawFn, trouble: bool = True) -> tuple[Records, np.ndarray]:
    """Records of a few devices on one day with journal positions, in any order.

    Without trouble: windows of one length, one record each. With it: holes, supplements, records sent
    twice with the same or other content, windows of other lengths that overlap.
    """
    length_s = draw(st.sampled_from((60, 300, 900)))
    n_devices = draw(st.integers(1, 4))
    n_windows = draw(st.integers(1, 6))
    rows: list[dict[str, int]] = []
    for device in range(n_devices):
        for window in range(n_windows):
            if trouble and draw(st.booleans()):
                continue
            start = START_S + window * length_s
            rows.append(record(device, start, length_s, 0, draw))
            if trouble:
                rows += [record(device, start, length_s, part, draw) for part in range(1, draw(st.integers(1, 4)))]
    if trouble and rows:
        for row in draw(st.lists(st.sampled_from(rows), max_size=3)):
            rows.append(dict(row))
            if draw(st.booleans()):
                rows[-1]["good"] += 1
        if draw(st.booleans()):
            rows.append(record(0, START_S + 30, 30, 0, draw))
    order = draw(st.permutations(range(len(rows))))
    columns = {c.name: [rows[i][c.name] for i in order] for c in RECORD_COLUMNS}
    position = np.array(draw(st.permutations(range(len(rows)))), np.int64)
    return Records.from_columns(columns), position
