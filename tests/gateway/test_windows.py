from __future__ import annotations

import pytest

from collectors.model import FOREVER_S, Identity, PowerThresholds, Quality, Role, Tag
from gateway.clock import NS_PER_S
from metrics.record import UNKNOWN_READING, Flag, MachineState
from tests.gateway.driver import ENERGY, GAUGE, NOON_S, PARTS, STATE, Driver, ns
from tests.gateway.scripted import device

RUNNING, IDLE, FAULT, OFF = (float(s) for s in list(MachineState)[1:])
TO_MIDNIGHT_S = 12 * 3600
"""From noon to the end of the local day."""


def minute(driver: Driver, start_s: int = 0, state: float = RUNNING, kwh: float = 100.0) -> None:
    """One reading a second for a minute, 0.01 kWh and a piece each."""
    for s in range(start_s, start_s + 60):
        driver.samples(s, [(STATE, state), (ENERGY, kwh + s * 0.01), (PARTS, s), (GAUGE, 20)])


def test_a_minute_of_readings_becomes_one_record() -> None:
    driver = Driver()
    minute(driver)
    assert driver.tick(61.9) == []
    driver.tick(62)
    driver.assert_valid()
    row = driver.row(0)
    assert (row.length, row.observed, row.connected, row.running) == (600, 600, 600, 600)
    assert (row.quantity, row.quantity_idle, row.quantity_span, row.parts) == (590, 0, 59, 59)
    assert (row.good, row.bad, row.flags) == (240, 0, 0)
    assert row.reading == 100_590


def test_a_silent_device_has_a_record_that_says_so() -> None:
    driver = Driver()
    driver.tick(62)
    row = driver.row(0)
    assert (row.observed, row.connected, row.good, row.quantity_span) == (600, 0, 0, 0)


def test_before_the_gateway_started_nothing_is_observed() -> None:
    driver = Driver(at_s=30)
    driver.tick(62)
    assert driver.row(0).observed == 300


def test_a_proof_lasts_for_the_liveness_only() -> None:
    driver = Driver()
    for s in (0, 1, 2, 30):
        driver.samples(s, [(STATE, RUNNING)], lasts_s=6)
    driver.tick(62)
    assert driver.row(0).connected == 80 + 60


def test_after_a_reconnect_the_state_is_unknown_until_it_is_said() -> None:
    driver = Driver()
    driver.samples(0, [(STATE, RUNNING)], lasts_s=6)
    driver.samples(20, [(GAUGE, 1)], lasts_s=6)
    driver.samples(24, [(STATE, RUNNING)], lasts_s=6)
    driver.tick(62)
    row = driver.row(0)
    assert row.connected == 60 + 100
    assert row.running == 60 + 60


def test_a_machine_that_reports_by_exception_keeps_its_state_over_windows() -> None:
    driver = Driver()
    driver.prove(0, FOREVER_S)
    driver.samples(10, [(STATE, IDLE)], lasts_s=0)
    driver.tick(62)
    driver.tick(122)
    driver.samples(150, [(STATE, RUNNING)], lasts_s=0)
    driver.tick(182)
    assert (driver.row(0).idle, driver.row(60).idle) == (500, 600)
    assert (driver.row(120).idle, driver.row(120).running) == (300, 300)


def test_a_death_withdraws_the_proof_and_the_state() -> None:
    driver = Driver()
    driver.prove(0, FOREVER_S)
    driver.samples(0, [(STATE, RUNNING)], lasts_s=0)
    driver.prove(20, 0)
    driver.prove(40, FOREVER_S)
    driver.tick(62)
    row = driver.row(0)
    assert (row.connected, row.running) == (400, 200)


def test_a_proof_from_before_a_death_that_arrives_after_it_does_not_outlast_it() -> None:
    driver = Driver()
    driver.prove(20, 0)
    driver.prove(18, 6)
    driver.tick(62)
    assert driver.row(0).connected == 20


def test_a_lost_link_ends_what_lasts_until_a_death() -> None:
    driver = Driver()
    driver.prove(0, FOREVER_S)
    driver.windows.accounts["m-1"].lose_link(ns(15))
    driver.tick(62)
    assert driver.row(0).connected == 150


def test_bad_quality_makes_the_state_unknown_and_has_no_value() -> None:
    driver = Driver()
    driver.samples(0, [(STATE, RUNNING), (ENERGY, 10)], lasts_s=60)
    driver.samples(30, [(STATE, RUNNING), (ENERGY, 99)], lasts_s=60, quality=Quality.BAD)
    driver.tick(62)
    row = driver.row(0)
    assert (row.connected, row.running) == (600, 300)
    assert (row.good, row.bad, row.quantity) == (2, 2, 0)


def test_a_value_that_is_no_state_is_unknown() -> None:
    driver = Driver()
    driver.samples(0, [(STATE, 7.0)], lasts_s=60)
    driver.tick(62)
    assert driver.row(0).connected == 600
    assert driver.row(0).running + driver.row(0).idle + driver.row(0).fault + driver.row(0).off == 0


def test_states_rounded_to_tenths_add_up_to_what_is_connected() -> None:
    driver = Driver(window_s=10)
    driver.prove(0, FOREVER_S)
    for i in range(40):
        driver.samples(i * 0.233, [(STATE, 1 + i % 4)], lasts_s=0)
    driver.tick(12)
    row = driver.row(0)
    assert row.running + row.idle + row.fault + row.off == row.connected == 100


def test_idle_energy_is_what_was_counted_while_on_and_not_running() -> None:
    driver = Driver()
    for s in range(60):
        state = RUNNING if s < 20 else IDLE if s < 35 else FAULT if s < 40 else OFF
        driver.samples(s, [(STATE, state), (ENERGY, 10 + s * 0.1)])
    driver.tick(62)
    row = driver.row(0)
    assert row.quantity == 5900
    assert row.quantity_idle == 2000


def test_idle_energy_of_a_slow_counter_follows_the_time_spent_idle() -> None:
    driver = Driver()
    driver.prove(0)
    driver.samples(0, [(STATE, RUNNING), (ENERGY, 10)], lasts_s=0)
    driver.samples(10, [(STATE, IDLE)], lasts_s=0)
    driver.samples(40, [(ENERGY, 14)], lasts_s=0)
    driver.tick(62)
    assert driver.row(0).quantity_idle == 3000


def test_energy_of_an_outage_has_the_span_it_covers() -> None:
    driver = Driver()
    driver.samples(0, [(ENERGY, 10)])
    for s in range(62, 3600, 60):
        driver.tick(s)
    driver.samples(3600, [(ENERGY, 25)])
    driver.tick(3662)
    row = driver.row(3600)
    assert (row.quantity, row.quantity_span) == (15_000, 3600)


def test_readings_are_given_at_start_and_in_the_first_window_of_an_hour_that_has_one() -> None:
    driver = Driver(at_s=3400)
    for s in range(3400, 3900, 10):
        driver.tick(s)
        if not 3600 <= s < 3660:
            driver.samples(s, [(ENERGY, s)])
    readings = {r.start - NOON_S: r.reading for r in driver.rows}
    assert readings[3360] == 3410_000
    assert readings[3420] == readings[3540] == readings[3600] == UNKNOWN_READING
    assert readings[3660] == 3710_000
    assert readings[3720] == UNKNOWN_READING


def test_a_reset_is_flagged_with_a_reading_once_it_has_lasted() -> None:
    driver = Driver()
    minute(driver)
    driver.tick(62)
    for s in range(70, 150):
        driver.samples(s, [(ENERGY, (s - 70) * 0.5)])
        driver.tick(s)
    driver.tick(182)
    held, believed = driver.row(60), driver.row(120)
    assert (held.flags, held.quantity_span, held.reading) == (0, 0, UNKNOWN_READING)
    assert believed.flags == Flag.COUNTER_RESET
    assert (believed.quantity, believed.quantity_span, believed.reading) == (79 * 500, 79, 79 * 500)
    assert driver.windows.shed["counter_implausible"] == 0


def test_a_glitch_costs_nothing_and_is_counted_where_people_see_it() -> None:
    driver = Driver()
    driver.samples(0, [(ENERGY, 10), (PARTS, 5)])
    for s, energy, parts in ((1, 0.0, 6), (2, 1e9, 1e9), (3, -4.0, 7), (4, 1e16, 8), (5, 10.5, 9)):
        driver.samples(s, [(ENERGY, energy), (PARTS, parts)])
    driver.tick(62)
    row = driver.row(0)
    assert (row.quantity, row.quantity_span, row.parts, row.flags) == (500, 5, 4, 0)
    assert driver.windows.shed["counter_implausible"] == 5


def test_what_is_held_back_outlives_a_kill() -> None:
    driver = Driver()
    driver.samples(0, [(ENERGY, 500)])
    for s in range(1, 41):
        driver.samples(s, [(ENERGY, s * 0.5)])
    driver.save(40)
    driver.kill_and_restart(45)
    for s in range(45, 62):
        driver.samples(s, [(ENERGY, s * 0.5)])
    driver.tick(122)
    (row,) = [row for row in driver.rows if row.flags & Flag.COUNTER_RESET]
    assert (row.quantity, row.quantity_span) == (60 * 500, 60)


def test_another_serial_number_starts_a_new_counter() -> None:
    driver = Driver()
    driver.samples(0, [(ENERGY, 10)])
    driver.windows.introduce(device(identity=Identity("Example", "S-1", "0002")), 2, ns(10))
    driver.samples(10, [(ENERGY, 5000)])
    driver.samples(20, [(ENERGY, 5001)])
    driver.tick(62)
    row = driver.row(0)
    assert row.flags == Flag.COUNTER_REPLACED
    assert row.quantity == 1000


def test_a_growth_over_midnight_is_split_while_yesterdays_window_is_open() -> None:
    driver = Driver(at_s=TO_MIDNIGHT_S - 60)
    driver.samples(TO_MIDNIGHT_S - 1.5, [(ENERGY, 10)])
    driver.samples(TO_MIDNIGHT_S + 0.5, [(ENERGY, 14)])
    driver.tick(TO_MIDNIGHT_S + 62)
    assert driver.row(TO_MIDNIGHT_S - 60).quantity == 3000
    assert driver.row(TO_MIDNIGHT_S).quantity == 1000
    assert driver.row(TO_MIDNIGHT_S - 60).flags == 0
    driver.assert_valid()


def test_a_growth_over_midnights_becomes_estimated_supplements_of_the_earlier_days() -> None:
    driver = Driver(at_s=TO_MIDNIGHT_S - 3600)
    driver.samples(TO_MIDNIGHT_S - 3600, [(ENERGY, 0), (PARTS, 0)])
    for s in range(TO_MIDNIGHT_S - 3600, TO_MIDNIGHT_S + 86_400 + 3600, 60):
        driver.tick(s + 2)
    driver.samples(TO_MIDNIGHT_S + 86_400 + 3600, [(ENERGY, 26), (PARTS, 2600)])
    driver.tick(TO_MIDNIGHT_S + 86_400 + 3662)
    driver.assert_valid()
    supplements = [r for r in driver.rows if r.part > 0]
    energy = {r.start - NOON_S: (r.quantity, r.quantity_span) for r in supplements if r.quantity}
    assert energy == {TO_MIDNIGHT_S - 60: (1000, 3600), TO_MIDNIGHT_S + 86_400 - 60: (24_000, 86_400)}
    assert sorted(r.parts for r in supplements) == [0, 0, 100, 2400]
    assert all(r.flags == Flag.ESTIMATED | Flag.HISTORICAL and r.observed == 0 for r in supplements)
    assert driver.row(TO_MIDNIGHT_S + 86_400 + 3600).quantity == 1000
    assert (driver.total("quantity"), driver.total("parts")) == (26_000, 2600)


def test_a_supplement_survives_a_kill_before_it_is_written() -> None:
    driver = Driver(at_s=TO_MIDNIGHT_S - 60)
    driver.samples(TO_MIDNIGHT_S - 30, [(ENERGY, 0)])
    driver.tick(TO_MIDNIGHT_S + 2)
    driver.samples(TO_MIDNIGHT_S + 30, [(ENERGY, 6)])
    driver.save(TO_MIDNIGHT_S + 31)
    driver.kill_and_restart(TO_MIDNIGHT_S + 33)
    driver.tick(TO_MIDNIGHT_S + 62)
    assert driver.row(TO_MIDNIGHT_S - 60, part=1).quantity == 3000
    assert driver.row(TO_MIDNIGHT_S).quantity == 3000
    driver.assert_valid()


def test_source_times_are_corrected_by_the_devices_measured_clock_offset() -> None:
    driver = Driver()
    ahead_s = 3600.0
    for s in range(60):
        driver.samples(s, [(STATE, RUNNING)], source_s=s - 0.05 + ahead_s)
    driver.samples(61.0, [(STATE, IDLE)], source_s=59.5 - 0.05 + ahead_s)
    driver.tick(62)
    row = driver.row(0)
    assert row.good == 61
    assert row.idle == 5


def test_the_clock_offset_follows_a_clock_that_was_set_back() -> None:
    driver = Driver()
    for s in range(0, 3000, 10):
        driver.samples(s, [(GAUGE, 1)], source_s=s + (600.0 if s < 900 else 0.0))
        driver.tick(s)
    late = driver.windows.shed["late"]
    assert 0 < late <= 60  # ten minutes at most
    assert sum(r.good for r in driver.rows) + late > 280


def test_a_first_value_after_a_subscription_is_the_state_now() -> None:
    driver = Driver()
    driver.samples(10, [(STATE, RUNNING)], lasts_s=60)
    driver.tick(62)
    assert driver.row(0).running == 500


def test_a_late_sample_is_counted_and_never_moves_a_counter() -> None:
    driver = Driver()
    for s in range(61):
        driver.samples(s, [(ENERGY, s)], source_s=s)
    driver.tick(62)
    driver.samples(70, [(ENERGY, 30.5), (GAUGE, 1)], source_s=30.5)
    driver.samples(71, [(ENERGY, 71)], source_s=71)
    driver.tick(122)
    assert driver.windows.shed["late"] == 2
    assert driver.row(60).good == 2
    assert driver.total("quantity") == 71_000


def test_a_state_that_came_late_is_still_the_state_now() -> None:
    driver = Driver()
    driver.prove(0)
    driver.samples(10, [(STATE, RUNNING)], lasts_s=0, source_s=10)
    driver.tick(62)
    driver.samples(64, [(STATE, IDLE)], lasts_s=0, source_s=59)
    driver.samples(65, [(STATE, FAULT)], lasts_s=0, source_s=5)  # older than what is known: no news
    driver.tick(122)
    assert (driver.row(0).running, driver.row(60).idle) == (500, 600)
    assert driver.windows.shed["late"] == 2


def test_samples_of_nobody_known_are_counted() -> None:
    driver = Driver()
    driver.samples(0, [(STATE, RUNNING)], device_id="stranger")
    driver.samples(0, [(9, RUNNING)])
    assert driver.windows.shed == {"unknown_device_proof": 1, "unknown_device": 1, "unknown_tag": 1}


def test_state_from_power_needs_its_dwell() -> None:
    meter = device(tags=(Tag("power", "kW", Role.POWER),), power_thresholds=PowerThresholds(0.1, 1.0, 0.2, dwell_s=3))
    driver = Driver(devices=[meter])
    for s in range(60):
        driver.samples(s, [(0, 0.5 if s < 20 or s in (30, 31) else 4.0)])
    driver.tick(62)
    row = driver.row(0)
    assert (row.idle, row.running) == (200, 400)


def test_an_entry_with_several_machines_is_replaced_by_them() -> None:
    driver = Driver(devices=[device("cell/A", "cell"), device("cell/B", "cell")])
    driver.tick(62)
    assert sorted(r.device for r in driver.rows) == ["cell/A", "cell/B"]
    assert all(r.observed == 600 for r in driver.rows)


def test_an_entry_that_was_never_found_has_records_of_its_own() -> None:
    driver = Driver()
    driver.windows.entries = (*driver.windows.entries, "ghost")
    driver.windows.open("ghost", "ghost", ns(0))
    driver.tick(62)
    assert driver.row(0, device_id="ghost").observed == 600
    driver.windows.introduce(device("ghost/X", "ghost"), 1, ns(70))
    driver.tick(122)
    assert driver.row(60, device_id="ghost/X").observed == 600
    assert not [r for r in driver.rows if r.device == "ghost" and r.start == NOON_S + 60]


def test_a_device_of_an_earlier_run_goes_on_while_its_server_is_dead() -> None:
    driver = Driver()
    driver.windows.entries = (*driver.windows.entries, "cell")
    driver.windows.open("cell", "cell", ns(0))
    driver.windows.remember("cell/A", 4, "0001", ns(0))
    driver.windows.remember("gone/B", 5, "0001", ns(0))
    driver.tick(62)
    assert sorted(r.device for r in driver.rows) == ["cell/A", "m-1"]
    (refs, _), *_ = driver.windows.batches(driver.rows)
    assert [(ref.id, ref.announcement) for ref in refs if ref.id == "cell/A"] == [("cell/A", 4)]


def test_an_entry_gives_at_most_a_thousand_devices() -> None:
    driver = Driver(devices=[device(f"cell/{i}", "cell") for i in range(1001)])
    assert len(driver.windows.accounts) == 1000
    assert driver.windows.shed["device_refused"] == 1


def test_closing_short_says_so_and_nothing_is_written_twice() -> None:
    driver = Driver()
    minute(driver)
    driver.samples(70, [(STATE, RUNNING), (ENERGY, 101), (PARTS, 70)])
    driver.finish(75)
    driver.assert_valid()
    assert driver.row(0).flags == 0
    row = driver.row(60)
    assert (row.flags, row.observed, row.length) == (Flag.CLOSED_SHORT, 150, 600)
    driver.save(75)
    driver.kill_and_restart(80)
    driver.samples(90, [(ENERGY, 101.5)])
    driver.samples(130, [(ENERGY, 103)])
    driver.tick(182)
    driver.assert_valid()
    assert driver.windows.shed["late"] == 1
    assert driver.total("quantity") == 3000


def test_closing_short_at_the_very_start_of_a_window_keeps_its_first_sample() -> None:
    driver = Driver()
    driver.samples(59, [(ENERGY, 1)])
    driver.samples(60, [(ENERGY, 2)])
    driver.finish(60)
    driver.assert_valid()
    assert driver.row(60).quantity == 1000


def test_a_process_that_stood_still_was_not_watching() -> None:
    driver = Driver()
    driver.windows.blind(ns(10), ns(40))
    driver.tick(62)
    assert driver.row(0).observed == 300


def test_presence_says_since_when() -> None:
    driver = Driver()
    assert driver.windows.presence(ns(0.5))[0].connected is False
    driver.samples(1, [(STATE, RUNNING)])
    now = driver.windows.presence(ns(1))[0]
    assert (now.connected, now.state, now.since_ns, now.last_proof_ns) == (True, "running", ns(1), ns(1))
    driver.samples(2, [(STATE, RUNNING)])
    assert driver.windows.presence(ns(3))[0].since_ns == ns(1)
    driver.samples(4, [(STATE, FAULT)])
    now = driver.windows.presence(ns(4))[0]
    assert (now.state, now.since_ns) == ("fault", ns(4))
    now = driver.windows.presence(ns(7.5))[0]
    assert (now.connected, now.state, now.since_ns, now.last_proof_ns) == (False, "unknown", ns(7.5), ns(4))


@pytest.mark.parametrize("window_s", [10, 60, 900])
def test_windows_are_aligned_whatever_their_length(window_s: int) -> None:
    driver = Driver(window_s=window_s, at_s=3)
    for s in range(4, 2000, 3):
        driver.samples(s, [(STATE, RUNNING), (ENERGY, s * 0.01)])
        driver.tick(s)
    driver.assert_valid()
    assert driver.rows
    assert {r.start % window_s for r in driver.rows} == {0}
    assert max(r.start for r in driver.rows) * NS_PER_S < driver.windows.closed_ns
