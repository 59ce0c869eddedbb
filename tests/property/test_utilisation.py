"""Load profiles keep every watt-hour and never show a peak that was not there; stops agree with a slow count."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from metrics.utilisation import load_profile, peak_demand, stops
from tests.metrics.records import START_S, records

MINUTES = 90


@given(
    st.lists(st.integers(0, 3000), min_size=MINUTES, max_size=MINUTES),
    st.lists(st.booleans(), min_size=MINUTES, max_size=MINUTES),
)
def test_energy_is_kept_and_no_peak_is_made(wh: list[int], seen: list[bool]) -> None:
    """A meter of known energy per minute; minutes that nobody saw come with the next one that is seen."""
    rows, energy, span = [], 0, 0
    for minute in range(MINUTES):
        energy, span = energy + wh[minute], span + 60
        if seen[minute]:
            rows.append({"start": START_S + 60 * minute, "quantity": energy, "quantity_span": span})
            energy = span = 0
    profile = load_profile(records(*rows), None, 1, START_S, START_S + 60 * MINUTES)
    assert int(profile.total()[0]) == sum(wh) - energy
    truth = np.array(wh).reshape(-1, 15).sum(axis=1)
    demand = profile.demand_kw()[0]
    resolved = ~np.isnan(demand)
    # A span of two minutes may be split at a boundary: the only way in which a quarter hour can be wrong.
    assert (np.abs(demand - truth * 4 / 1000)[resolved] <= 2 * max(wh, default=0) * 4 / 1000 + 1e-9).all()
    if resolved.any():
        assert peak_demand(profile).demand_kw[0] == demand[resolved].max()
    if all(seen):
        assert (demand == truth * 4 / 1000).all()


@given(st.lists(st.sampled_from("RRRRIFO?."), max_size=60), st.integers(1, 5))
def test_stops_agree_with_a_slow_count(day: list[str], shortest: int) -> None:
    names = {"R": "running", "I": "idle", "F": "fault", "O": "off"}
    rows = [
        {"start": START_S + 60 * i, "connected": 600} | ({names[s]: 600} if s in names else {})
        for i, s in enumerate(day)
        if s != "."
    ]
    got = stops(records(*rows), None, 1, shortest_s=60 * shortest)

    # Read aloud: after running, how long does it stand, and what comes then?
    text = "".join("?" if s in "?." else s for s in day) + "?"
    expected = {"idle": 0, "fault": 0, "off": 0, "censored": 0}
    i = 0
    while i < len(text):
        if text[i] != "R":
            i += 1
            continue
        while text[i] == "R":
            i += 1
        stand = ""
        while text[i] in "IFO":
            stand += text[i]
            i += 1
        if len(stand) >= shortest:
            kind = "off" if 2 * stand.count("O") > len(stand) else "fault" if "F" in stand else "idle"
            expected[kind] += 1
        elif not stand or text[i] != "R":
            expected["censored"] += 1
    assert {
        "idle": int(got.idle[0]),
        "fault": int(got.fault[0]),
        "off": int(got.switched_off[0]),
        "censored": int(got.censored[0]),
    } == expected
    assert int(got.running[0]) == 600 * day.count("R")
