"""Finding a profile by what stands on the box, and the schema that an editor completes profiles from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.profiles import schema
from collectors.profiles.catalogue import search
from collectors.profiles.loader import BUILT_IN, names


def found(words: str, *folders: Path) -> list[str]:
    return [one.profile for one in search(words, folders)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("SDM 630", ["eastron-sdm630"]),
        ("eastron sdm72", ["eastron-sdm72", "eastron-sdm72-v2"]),
        ("sdm72d-m-2", ["eastron-sdm72-v2"]),
        ("正泰", ["chint-dtsu666", "chint-dtsu666-401e", "retrofit-clamp-dtsu666"]),
        ("安科瑞 adl400", ["acrel-adl400", "acrel-adl400-primary"]),
        ("ＰＭ５１１０", ["schneider-pm5000"]),
        ("iem3255", ["schneider-iem3000"]),
        ("meter-gas", ["fuxin-gas"]),
        ("no such meter", []),
    ],
)
def test_brand_and_model_are_found_however_they_are_written(words: str, expected: list[str]) -> None:
    assert found(words) == expected


def test_no_word_lists_all_and_a_site_s_own_profile_is_found_like_a_built_in_one(tmp_path: Path) -> None:
    assert found("") == list(names())
    text = (BUILT_IN / "eastron-sdm630.yaml").read_text(encoding="utf-8")
    own = text.replace("profile: eastron-sdm630", "profile: our-meter").replace("[SDM630]", "[Workshop 7]")
    (tmp_path / "our-meter.yaml").write_text(own, encoding="utf-8")
    assert found("workshop7", tmp_path) == ["our-meter"]
    assert found("sdm630", tmp_path) == ["eastron-sdm630", "our-meter"]


def test_the_schema_beside_the_profiles_is_that_of_the_models() -> None:
    committed = schema.SCHEMA_FILE.read_text(encoding="utf-8")
    assert committed == schema.text(), "run python -m collectors.profiles.schema and commit the file"


def test_the_schema_completes_each_protocol_s_own_keys() -> None:
    whole = json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8"))
    keys: dict[str, Any] = {}
    for part in whole["allOf"]:
        protocol = part["if"]["properties"]["protocol"]["const"]
        definition = whole["$defs"][part["then"]["$ref"].rpartition("/")[2]]
        assert definition["additionalProperties"] is False, "an editor marks a key that does not exist"
        keys[protocol] = set(definition["properties"])
    assert set(keys) == set(whole["properties"]["protocol"]["enum"]) == {"modbus", "opcua", "mqtt", "sparkplug"}
    assert {"points", "gap_limit", "holes"} <= keys["modbus"]
    assert "points" not in keys["opcua"]


def test_every_modbus_profile_names_the_schema_in_its_first_line() -> None:
    for name in names():
        text = (BUILT_IN / f"{name}.yaml").read_text(encoding="utf-8")
        if "\nprotocol: modbus\n" in text:
            assert text.startswith("# yaml-language-server: $schema=profile.schema.json\n"), name
