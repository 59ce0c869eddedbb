"""The sample is valid and complete, and every promise in readiness.yaml has its test."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from collectors.mqtt import config
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.factory import collectors_for
from tests.collectors.promises import without_a_test

FOLDER = Path(config.__file__).parent
TESTS = Path(__file__).parent


def test_every_promise_names_a_test_that_exists() -> None:
    assert without_a_test(FOLDER, TESTS) == []


def test_the_sample_makes_collectors_and_shows_every_key(tmp_path: Path) -> None:
    text = (FOLDER / "sample.yaml").read_text(encoding="utf-8")
    for name in ("mqtt.pem", "mqtt.key"):
        (tmp_path / name).touch()
    given = yaml.safe_load(text.replace("/etc/plantpulse", str(tmp_path)))["devices"]
    entries = [MqttEntry.model_validate(entry) for entry in given]
    assert len(collectors_for(entries, time.time_ns, [], Path("unused"))) == 3
    without_meaning_here = {"username", "password_file", "ca_file"}
    for key in set(MqttEntry.model_fields) - without_meaning_here:
        assert f"{key}:" in text, key
