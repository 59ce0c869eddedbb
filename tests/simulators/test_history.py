"""History is what a gateway would have sent: valid records, telescoping sums, holes that say so."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest

from gateway import wire
from metrics.record import Records, local_day, refusals
from simulators.history import MAX_BATCH_ROWS, Span, history_batches, history_span
from simulators.physics import date_start_s
from simulators.scenario import Scenario, load

NOW_S = datetime(2026, 11, 5, 3, 0, tzinfo=UTC).timestamp()
SPAN = Span(date_start_s(date(2026, 10, 20)), date_start_s(date(2026, 11, 5)), date(2026, 10, 1), "2026-10")


def made(span: Span = SPAN, now_s: float = NOW_S) -> tuple[Scenario, wire.Announce, list[wire.Ingest], Records]:
    scenario = load()
    machines = scenario.build_machines(origin_s=span.start_s, always_from_s=now_s)
    announce, batches = history_batches(scenario, machines, span, now_s, epoch=77)
    return scenario, announce, batches, Records.concat([wire.records_of(b) for b in batches])


@pytest.fixture(scope="module")
def history() -> tuple[Scenario, wire.Announce, list[wire.Ingest], Records]:
    return made()


def test_the_span_is_last_month_and_this_one_up_to_local_midnight() -> None:
    span = history_span(NOW_S)
    assert span == Span(date_start_s(date(2026, 10, 1)), date_start_s(date(2026, 11, 5)), date(2026, 10, 1), "2026-10")
    just_before_local_new_year = datetime(2026, 12, 31, 15, 59, tzinfo=UTC).timestamp()
    assert history_span(just_before_local_new_year).month == "2026-11"
    assert history_span(just_before_local_new_year + 60).month == "2026-12"


def test_every_row_is_a_valid_record_and_no_key_stands_twice(
    history: tuple[Scenario, wire.Announce, list[wire.Ingest], Records],
) -> None:
    scenario, _, batches, records = history
    assert refusals(records, len(scenario.machines)) == []
    keys = np.stack([records.device.astype(np.int64), records.start], axis=1)
    assert len(np.unique(keys, axis=0)) == len(records)
    assert max(b.rows for b in batches) <= MAX_BATCH_ROWS
    assert [b.previous for b in batches] == [None, *((77, n) for n in range(1, len(batches)))]


def test_sums_telescope_over_holes_which_say_what_they_cover(
    history: tuple[Scenario, wire.Announce, list[wire.Ingest], Records],
) -> None:
    scenario, announce, _, records = history
    machines = scenario.build_machines(origin_s=SPAN.start_s, always_from_s=NOW_S)
    holes = 0
    for index, spec in enumerate(scenario.machines):
        rows = records.take(records.device == index)
        machine = machines[spec.id]
        first_kwh, first_m3, first_parts = spec.start.energy_kwh, spec.start.water_m3, spec.start.parts
        machine.advance(SPAN.end_s)
        counted = machine.water_m3 - first_m3 if spec.counts == "water" else machine.energy_kwh - first_kwh
        assert rows.quantity.sum() == pytest.approx(counted * 1000, abs=1.0)
        if spec.counts_parts:
            assert rows.parts.sum() == machine.parts - first_parts
        seen = rows.connected > 0
        assert np.all(rows.quantity[~seen] == 0)
        assert np.all(rows.quantity_span[~seen] == 0)
        assert rows.quantity_span.sum() == SPAN.end_s - SPAN.start_s
        holes += int((rows.quantity_span > 900).sum())
        assert np.array_equal(local_day(rows.start + 900 - rows.quantity_span)[seen], local_day(rows.start)[seen])
        announced = announce.announcements[index]
        assert (announced.device, announced.number, announced.evidence) == (spec.device, index + 1, spec.evidence)
    assert holes > 10


def test_readings_are_the_counter_at_the_end_of_their_window(
    history: tuple[Scenario, wire.Announce, list[wire.Ingest], Records],
) -> None:
    scenario, _, _, records = history
    machine = scenario.build_machines(origin_s=SPAN.start_s, always_from_s=NOW_S)["cnc-1"]
    rows = records.take((records.device == 0) & (records.reading >= 0))
    for i in (0, 20, len(rows) - 1):
        machine.advance(int(rows.start[i]) + 900)
        assert int(rows.reading[i]) == round(machine.energy_kwh * 1000)


def test_history_is_the_same_each_time_and_leaves_fresh_windows_to_the_live_gateway(
    history: tuple[Scenario, wire.Announce, list[wire.Ingest], Records],
) -> None:
    assert made()[2] == history[2]
    five_past_midnight_s = SPAN.end_s + 300.0
    *_, records = made(now_s=five_past_midnight_s)
    assert int(records.start.max()) + 900 == SPAN.end_s - 900
