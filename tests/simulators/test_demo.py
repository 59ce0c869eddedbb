"""The demo's judgement: when it ends well, and what it says when not."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from simulators.demo import DemoSettings, faults_of, figure_of, prepare_folder
from simulators.processes import ProgramError, choose_port
from simulators.scenario import load


def summary(**changed: Any) -> dict[str, Any]:
    rate = {"lower": 0.9, "upper": 1.0, "coverage": 1.0}
    good: dict[str, Any] = {
        "samples": {"opcua": 5, "modbus": 7, "mqtt": 9},
        "networking_rate": {"value": 11 / 12, "numerator": 11.0, "denominator": 12.0, **rate},
        "cnc_rate": {"value": 0.75, "numerator": 9.0, "denominator": 12.0, **rate},
    }
    return good | changed


def test_a_summary_that_is_as_the_scenario_promises_has_no_faults() -> None:
    assert faults_of(summary(), load()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"samples": {"opcua": 5, "modbus": 0, "mqtt": 9}}, "modbus delivered nothing"),
        ({"samples": {"opcua": 5, "modbus": 7}}, "mqtt delivered nothing"),
        ({"networking_rate": None}, "networking_rate has no value"),
        ({"cnc_rate": {"value": None, "numerator": None, "denominator": None}}, "cnc_rate has no value"),
        ({"networking_rate": {"value": 10 / 12, "numerator": 10.0, "denominator": 12.0}}, "networking_rate differs"),
        ({"cnc_rate": {"value": 0.75, "numerator": 3.0, "denominator": 4.0}}, "cnc_rate differs"),
    ],
)
def test_every_fault_of_a_summary_is_told(changed: dict[str, Any], said: str) -> None:
    assert [said in fault for fault in faults_of(summary(**changed), load())] == [True]


def test_a_figure_keeps_only_its_six_numbers() -> None:
    figures = [
        {"definition": {"id": "cnc-rate"}, "value": 0.5, "lower": 0.4, "upper": None, "coverage": 1.0,
         "numerator": 1.0, "denominator": 2.0, "digest": "…"}
    ]  # fmt: skip
    assert figure_of(figures, "cnc-rate") == {
        "value": 0.5, "lower": 0.4, "upper": None, "coverage": 1.0, "numerator": 1.0, "denominator": 2.0,
    }  # fmt: skip
    assert figure_of(figures, "networking-rate") is None


def test_settings_come_from_the_environment_and_a_word_for_a_number_is_refused() -> None:
    assert DemoSettings.from_environment({}) == DemoSettings(Path("var/demo"), "ninghai-demo", 8800, None)
    given = {"DEMO_SECONDS": "90", "PLANTPULSE_PORT": "9000", "PLANTPULSE_DEMO_DIR": "/tmp/x"}
    assert DemoSettings.from_environment(given) == DemoSettings(Path("/tmp/x"), "ninghai-demo", 9000, 90.0)
    with pytest.raises(ValueError, match="DEMO_SECONDS"):
        DemoSettings.from_environment({"DEMO_SECONDS": "soon"})


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    mine, own = tmp_path / "mine", tmp_path / "own"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ProgramError, match="other files"):
        prepare_folder(mine)
    assert (mine / "thesis.txt").exists()
    prepare_folder(own)
    (own / "left-over").touch()
    prepare_folder(own)
    assert [p.name for p in own.iterdir()] == [".plantpulse-demo"]


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wished = taken.getsockname()[1]
        port = choose_port(wished)
        assert port.number != wished
        assert not port.preferred
    assert choose_port(wished) == (wished, True)
