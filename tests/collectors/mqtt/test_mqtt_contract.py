"""The collectors' common contract over a real broker: JSON by MQTT 5 and 3.1.1, and Sparkplug B."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.collectors.mqtt.plants import JsonPlant, SparkplugPlant
from tests.contract.collector_contract import CollectorContract, Plant


class _Json(JsonPlant, Plant):
    pass


class _Sparkplug(SparkplugPlant, Plant):
    pass


class TestJsonContract(CollectorContract):
    @asynccontextmanager
    async def make_plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        async with _Json.running(tmp_path) as plant:
            yield plant  # type: ignore[misc]


class TestJsonContractOverMqtt311(CollectorContract):
    @asynccontextmanager
    async def make_plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        async with _Json.running(tmp_path, version="3.1.1") as plant:
            yield plant  # type: ignore[misc]


class TestSparkplugContract(CollectorContract):
    @asynccontextmanager
    async def make_plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        async with _Sparkplug.running(tmp_path) as plant:
            yield plant  # type: ignore[misc]
