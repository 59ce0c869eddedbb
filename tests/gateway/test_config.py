from __future__ import annotations

from pathlib import Path

import pytest

from collectors.strict_yaml import FileError
from gateway.clock import TimeLine
from gateway.config import load
from gateway.links import make_links

CASES = Path(__file__).parent / "cases"
GOOD = """
site: demo-plant
uplink: {url: "http://127.0.0.1:8600/", credential_file: secrets/credential}
gateway: {window_s: 10, data_dir: data, profile_folders: [own]}
devices:
  - {id: meter-main, profile: eastron-sdm630, address: "modbus-tcp://127.0.0.1:502", unit: 3}
  - {id: edm-1, profile: json-machine, address: "mqtt://127.0.0.1:1883", topic: plant/edm-1, asset: A-07}
  - {id: cnc-cell, profile: opcua-machinetool, address: "opc.tcp://127.0.0.1:4840", security: none}
"""


def good(folder: Path) -> Path:
    (folder / "secrets").mkdir()
    (folder / "own").mkdir()
    (folder / "secrets" / "credential").write_text("x")
    (folder / "plant.yaml").write_text(GOOD)
    return folder / "plant.yaml"


@pytest.mark.parametrize("case", sorted(path.parent.name for path in CASES.glob("*/error.txt")))
def test_a_wrong_file_says_where_what_and_what_is_permitted(case: str) -> None:
    with pytest.raises(FileError) as caught:
        make_links(load(CASES / case / "plant.yaml"), TimeLine())
    said = str(caught.value)
    for expected in (CASES / case / "error.txt").read_text(encoding="utf-8").splitlines():
        assert expected in said, said


def test_a_good_file_has_absolute_paths_and_entries_by_protocol(tmp_path: Path) -> None:
    plant = load(good(tmp_path))
    assert plant.site == "demo-plant"
    assert plant.uplink.url == "http://127.0.0.1:8600"
    assert plant.uplink.credential_file == tmp_path / "secrets" / "credential"
    assert plant.gateway.data_dir == tmp_path / "data"
    assert plant.gateway.profile_folders == (tmp_path / "own",)
    assert {protocol: [e.id for e in entries] for protocol, entries in plant.entries.items()} == {
        "modbus": ["meter-main"],
        "mqtt": ["edm-1"],
        "opcua": ["cnc-cell"],
    }
    assert plant.entries["mqtt"][0].asset == "A-07"


def test_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    path = good(tmp_path)
    path.write_text(GOOD.replace("gateway: {window_s: 10, data_dir: data, profile_folders: [own]}\n", ""))
    settings = load(path).gateway
    assert (settings.window_s, settings.checkpoint_s, settings.presence_s) == (60, 5.0, 5.0)
    assert (settings.keep_days, settings.outbox_limit_mb) == (14, 1024)


def test_checking_opens_and_makes_nothing(tmp_path: Path) -> None:
    path = good(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    links = make_links(load(path), TimeLine())
    assert sorted({link.protocol for link in links}) == ["modbus", "mqtt", "opcua"]
    assert sorted(tmp_path.rglob("*")) == before
