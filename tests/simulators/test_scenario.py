"""A scenario describes a plant, its register and what the chain must show; mistakes in it are named."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.register.csv_format import REGISTER_FILES
from simulators import scenario as scenarios
from simulators.register_folder import bindings, write_register
from simulators.scenario import ScenarioError, expected_cnc, expected_networking, load


def changed(tmp_path: Path, change: Any) -> Path:
    data = yaml.safe_load((scenarios.BUILT_IN / "ninghai-demo.yaml").read_text(encoding="utf-8"))
    change(data)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return path


def test_the_demo_plant_is_thirteen_devices_on_three_protocols() -> None:
    demo = load()
    assert Counter(demo.protocol_of_device().values()) == {"opcua": 4, "modbus": 5, "mqtt": 4}
    assert len(demo.assets) == 12
    assert "示例" in demo.enterprise.name_zh


def test_expected_rates_come_from_the_register() -> None:
    demo = load()
    assert expected_networking(demo) == (11, 12)
    assert expected_cnc(demo) == (9, 12)
    assert float(expected_cnc(demo).rate) == 0.75


def test_assets_out_of_scope_are_in_neither_rate(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda data: data["assets"][0].update(in_scope=False))
    assert expected_networking(load(path)) == (10, 11)
    assert expected_cnc(load(path)) == (8, 11)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(colour="blue"), "colour"),
        (lambda d: d["machines"][0].update(kind="toaster"), "toaster"),
        (lambda d: d["machines"][1].update(id="cnc-1"), "cnc-1"),
        (lambda d: d["assets"][2].update(shown_by="cnc-9"), "cnc-9"),
        (lambda d: d["assets"][1].update(shown_by="cnc-1"), "shown_by"),
        (lambda d: d["links"]["modbus"][1].update(unit=1), "unit"),
        (lambda d: d["links"]["mqtt"].pop(), "stamping-1"),
        (lambda d: d["meters"][0].update(role="sub"), "M-001"),
        (lambda d: d["machines"][11].update(total_of=["meter-main"]), "main meter"),
    ],
)
def test_a_mistake_is_refused_by_its_name(tmp_path: Path, change: Any, named: str) -> None:
    with pytest.raises(ScenarioError, match=named):
        load(changed(tmp_path, change))


def test_a_scenario_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ScenarioError, match="ninghai-demo"):
        load("atlantis")


def test_the_register_folder_has_exactly_the_columns_that_the_county_reads(tmp_path: Path) -> None:
    write_register(tmp_path, load(), bound_from=date(2026, 10, 1), report_month="2026-10")
    written = {p.name for p in tmp_path.iterdir()}
    assert set(REGISTER_FILES) - written == {"groups.csv", "memberships.csv", "processes.csv", "statistics.csv"}
    assert written <= set(REGISTER_FILES)
    for name, columns in ((name, REGISTER_FILES[name]) for name in written):
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        heading = set(rows[0])
        assert heading <= {c.name for c in columns}, name
        assert {c.name for c in columns if c.required} <= heading, name
        for column in columns:
            if column.choices and column.name in heading:
                assert {r[column.name] for r in rows} <= set(column.choices), f"{name}: {column.name}"


def test_every_device_is_bound_and_meters_only_by_quantity() -> None:
    demo = load()
    rows = bindings(demo)
    assert {device for device, *_ in rows} == {m.device for m in demo.machines}
    assert {role for _, kind, _, role in rows if kind == "meter"} == {"quantity"}
    states = [number for _, kind, number, role in rows if kind == "asset" and role == "state"]
    assert len(states) == len(set(states)) == 11
