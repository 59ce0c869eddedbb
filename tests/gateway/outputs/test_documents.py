"""What the manual says of outputs is what the program takes and makes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import yaml

from gateway.config import load
from gateway.outputs.mqtt_messages import Message
from tests.gateway.outputs.test_configured_behaviour import METER

MANUAL = Path(__file__).parents[3] / "docs" / "operators" / "outputs.md"


def test_the_manuals_example_is_a_good_file(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    for name in ("influx-token", "broker-password", "credential"):
        (tmp_path / name).write_text("x")
    devices = [METER | {"id": name, "unit": n} for n, name in enumerate(("meter-main", "cnc-3"), 1)]
    head = {
        "site": "g-1",
        "uplink": {"url": "http://127.0.0.1:9", "credential_file": "credential"},
        "devices": devices,
    }
    (tmp_path / "plant.yaml").write_text(yaml.safe_dump(head) + example, encoding="utf-8")
    assert [output.id for output in load(tmp_path / "plant.yaml").outputs] == ["historian", "dashboards"]


def test_the_manuals_message_is_one_of_ours() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    message = msgspec.json.decode(example, type=Message)
    assert msgspec.json.decode(msgspec.json.encode(message)) == json.loads(example)
