"""A gateway's configuration and its county, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from collectors.entries import DeviceEntry
from gateway.config import GatewayConfig, PlantConfig, UplinkConfig
from tests.gateway.county_stub import CREDENTIAL, CountyStub


@pytest.fixture
async def county() -> AsyncIterator[CountyStub]:
    async with CountyStub() as stub:
        yield stub


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., PlantConfig]:
    """Makes the configuration of a gateway for entries of given ids, for a county's URL."""
    (tmp_path / "credential").write_text(CREDENTIAL + "\n")

    def make(url: str, *entries: str, **settings: Any) -> PlantConfig:
        page = {"listen": "127.0.0.1:0"}
        defaults = {"window_s": 10, "checkpoint_s": 0.2, "data_dir": tmp_path / "data", "page": page}
        ids = entries or ("m-1",)
        return PlantConfig(
            file=tmp_path / "plant.yaml",
            site="g-1",
            uplink=UplinkConfig(url=url, credential_file=tmp_path / "credential"),
            gateway=GatewayConfig(**(defaults | settings)),
            entries={"modbus": tuple(DeviceEntry(id=i, profile="p", address="modbus-tcp://h:1") for i in ids)},
        )

    return make


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    """Log lines are kept, not printed."""
    with structlog.testing.capture_logs() as lines:
        yield lines
