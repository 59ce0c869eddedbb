"""The sample is valid and complete, and every promise in readiness.yaml has its test."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from collectors.opcua import config
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.factory import collectors_for
from collectors.opcua.limits import limits_of, vendors
from tests.collectors.promises import without_a_test

FOLDER = Path(config.__file__).parent
TESTS = Path(__file__).parent


def test_every_promise_names_a_test_that_exists() -> None:
    assert without_a_test(FOLDER, TESTS) == []


def test_the_sample_makes_collectors_and_shows_every_key(tmp_path: Path) -> None:
    text = (FOLDER / "sample.yaml").read_text(encoding="utf-8")
    entries = [OpcuaEntry.model_validate(entry) for entry in yaml.safe_load(text)["devices"]]
    assert len(collectors_for(entries, time.time_ns, [], tmp_path)) == 4
    for key in set(OpcuaEntry.model_fields) - {"ca_file"}:
        assert f"{key}:" in text, key


def test_every_make_of_server_has_a_source_and_the_last_fits_all() -> None:
    assert all(vendor.source and vendor.title for vendor in vendors())
    assert [vendor.vendor for vendor in vendors()][-1] == "unknown"
    assert vendors()[-1].fits("", "")


def test_the_smaller_of_what_is_known_of_a_make_and_what_a_server_reports_holds() -> None:
    s7 = limits_of("Siemens AG", "SIMATIC S7-1200 CPU 1214C https://example.invalid", [1_000, 2_000, 50, 600, 0])
    assert (s7.vendor, s7.items_per_request, s7.most_items, s7.deadband) == ("s7-1200", 100, 600, False)
    assert (s7.nodes_per_read, s7.nodes_per_browse) == (100, 50)
    big = limits_of("Siemens AG", "SIMATIC S7-1500", [0, 0, 0, 0, 0])
    assert (big.items_per_request, big.most_items, big.transfer, big.deadband) == (500, 10_000, False, True)
    other = limits_of("Somebody", "Server 1200", [0, 10, 0, 0, 7])
    assert (other.vendor, other.most_items, other.nodes_per_read, other.most_queued) == ("unknown", 0, 10, 7)
