"""What every shipped device profile keeps, whatever its protocol."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collectors.modbus.plan import polls_of
from collectors.modbus.point import REGISTERS_OF, Point
from collectors.modbus.profile import load_modbus
from collectors.model import Role
from collectors.profiles.loader import BUILT_IN, header, names

FRAME_TESTS = Path(__file__).parents[1] / "collectors" / "profiles"
ALL = tuple(names())
MODBUS = tuple(name for name in ALL if header(name).protocol == "modbus")


@pytest.mark.parametrize("name", ALL)
def test_has_a_source_and_a_title_in_both_languages(name: str) -> None:
    found = header(name)
    assert found.source.document.strip()
    assert found.title_zh.strip()
    assert found.title_en.strip()
    assert found.title_en.isascii() or "×" in found.title_en


@pytest.mark.parametrize("name", ALL)
def test_a_sheet_of_our_own_is_shipped_with_it(name: str) -> None:
    document = header(name).source.document
    if document.startswith("collectors/profiles/"):
        assert (BUILT_IN.parent.parent / document).is_file()


@pytest.mark.parametrize("name", MODBUS)
def test_registers_never_overlap_but_for_bits_of_one_word(name: str) -> None:
    profile = load_modbus(name)
    owners: dict[tuple[str, int], list[Point]] = {}
    for point in profile.points:
        for register in range(point.at, point.at + REGISTERS_OF[point.type]):
            owners.setdefault((point.table or profile.table, register), []).append(point)
    for register, points in owners.items():
        assert len(points) == 1 or all(point.type == "bit" for point in points), register
        assert len({point.bit for point in points}) == len(points), register


@pytest.mark.parametrize("name", MODBUS)
def test_a_meter_counts_one_carrier_that_fits_its_class(name: str) -> None:
    profile = load_modbus(name)
    carriers = {"meter-electricity": "electricity", "meter-water": "water", "meter-gas": "gas"}
    if profile.device_class in carriers:
        counted = [profile.counters[name].quantity for name in profile.counted]
        assert [quantity.carrier for quantity in counted] == [carriers[profile.device_class]]


@pytest.mark.parametrize("name", MODBUS)
def test_counters_of_whole_numbers_say_where_they_wrap(name: str) -> None:
    profile = load_modbus(name)
    for point, tag in zip(profile.points, profile.tags, strict=True):
        if tag.role in (Role.QUANTITY, Role.PARTS) and point.type.startswith(("u", "bcd")) and not point.times:
            assert tag.modulus is not None


@pytest.mark.parametrize("name", MODBUS)
def test_energy_of_one_device_comes_by_one_request(name: str) -> None:
    profile = load_modbus(name)
    energy = [p for p in profile.points if p.tag.startswith(("energy", "water_volume"))]
    for poll in polls_of(profile):
        rows = {profile.points[tag].tag: poll.request_of_row[row] for row, tag in enumerate(poll.decoder.tag)}
        assert len({rows[p.tag] for p in energy if p.tag in rows}) <= 1


@pytest.mark.parametrize("name", MODBUS)
def test_a_cycle_takes_at_most_three_requests_of_at_most_125_registers(name: str) -> None:
    for poll in polls_of(load_modbus(name)):
        assert len(poll.requests) <= 3
        assert all(request.count <= 125 for request in poll.requests)


@pytest.mark.parametrize("name", MODBUS)
def test_has_a_test_with_frames_written_by_hand(name: str) -> None:
    assert any(f'"{name}"' in test.read_text(encoding="utf-8") for test in FRAME_TESTS.glob("test_*.py"))


def test_a_retrofit_meter_infers_the_state_from_power() -> None:
    for name in MODBUS:
        profile = load_modbus(name)
        if profile.evidence == "retrofit":
            assert profile.power_thresholds is not None


def test_the_catalogue_has_twenty_five_models_each_with_a_source_that_can_be_opened() -> None:
    assert len(ALL) >= 25
    for name in MODBUS:
        source = header(name).source
        for cited in re.sub(r"\([^)]*\)", "", source.document).split("; "):
            assert re.match(r"collectors/profiles/|github\.com/[\w.-]+/[\w.-]+, [\w./-]+\.\w+", cited), (name, cited)
