"""The store in an InfluxDB against the contract, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.store.open import open_store
from api.store.port import IntervalStore
from tests.contract.store_contract import StoreContract
from tests.servers_influx import Influx1, influx_1


@pytest.fixture(scope="module")
def server() -> Iterator[Influx1]:
    with influx_1() as running:
        yield running


class TestInfluxDB(StoreContract):
    server: Influx1

    @pytest.fixture(autouse=True)
    def _server(self, server: Influx1, tmp_path: Path) -> None:
        self.server = server
        server.bucket(tmp_path.name)

    def open_store(self, folder: Path) -> IntervalStore:
        return open_store(self.server.url(folder.name), folder=folder, token_file=self.server.token_file)
