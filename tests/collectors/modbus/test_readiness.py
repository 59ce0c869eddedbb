"""The sample is valid and complete, and every promise in readiness.yaml has its test."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from collectors.modbus import config
from collectors.modbus.config import ModbusEntry
from collectors.modbus.factory import collectors_for

FOLDER = Path(config.__file__).parent
TESTS = Path(__file__).parent


def test_every_promise_names_a_test_that_exists_or_a_reason() -> None:
    promises = yaml.safe_load((FOLDER / "readiness.yaml").read_text(encoding="utf-8"))
    assert promises
    for promise, shown_by in promises.items():
        if isinstance(shown_by, dict):
            assert shown_by["exempt"], promise
            continue
        file, name = shown_by.split("::")
        text = (TESTS / file).read_text(encoding="utf-8")
        assert f"def {name}(" in text or f"class {name}(" in text, promise


def test_the_sample_makes_collectors_and_shows_every_key() -> None:
    text = (FOLDER / "sample.yaml").read_text(encoding="utf-8")
    entries = [ModbusEntry.model_validate(entry) for entry in yaml.safe_load(text)["devices"]]
    assert len(collectors_for(entries, time.time_ns, [], Path("unused"))) == 3
    without_meaning_here = {"username", "password_file", "ca_file"}
    for key in set(ModbusEntry.model_fields) - without_meaning_here:
        assert f"{key}:" in text, key
