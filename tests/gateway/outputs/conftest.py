"""One InfluxDB for the tests of this folder, each with a bucket of its own; the gateway's fixtures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from gateway.outputs import influx, mqtt, sender
from tests.gateway.conftest import county as county
from tests.gateway.conftest import log as log
from tests.gateway.conftest import plant as plant
from tests.servers_influx import Influx1, influx_1

_buckets = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Influx1]:
    with influx_1() as running:
        yield running


@pytest.fixture
def bucket(server: Influx1) -> Iterator[str]:
    name = f"plant-{next(_buckets)}"
    server.bucket(name)
    yield name
    server.drop_bucket(name)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and time limits of a test's length."""
    monkeypatch.setattr(sender, "GATHER_S", 0.1)
    monkeypatch.setattr(sender, "PAUSE_FIRST_S", 0.1)
    monkeypatch.setattr(sender, "PAUSE_MOST_S", 0.2)
    monkeypatch.setattr(influx, "READ_S", 1.0)
    monkeypatch.setattr(mqtt, "ANSWER_S", 1.0)
