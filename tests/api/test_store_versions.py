"""Store files of DuckDB's releases: the one before ours opens, and the one we ship is told apart by its version."""

from __future__ import annotations

import tomllib
from pathlib import Path

import duckdb
import pytest
import zstandard

from api.store.duckdb import DuckDBStore
from api.store.port import Append
from tests.contract.store_contract import DAY, MIDNIGHT_S, records

FILES = sorted((Path(__file__).parents[1] / "contract" / "store").glob("duckdb-*.duckdb.zst"))


def test_the_engine_is_pinned_to_one_minor_release() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    (pin,) = [p for p in project["project"]["optional-dependencies"]["county"] if p.startswith("duckdb")]
    major, minor, _ = duckdb.__version__.split(".")
    assert pin == f"duckdb>={major}.{minor},<{major}.{int(minor) + 1}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_of_an_earlier_release_opens_takes_more_and_is_sealed(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "records.duckdb"
    path.write_bytes(zstandard.ZstdDecompressor().decompress(file.read_bytes()))
    store = DuckDBStore(path)
    assert (store.applied(), store.rows(), store.notice) == (3, 30, "")
    store.append([Append(4, "gw-1", ["c"], records([0], [MIDNIGHT_S]))], 4)
    store.seal(DAY + 1)
    store.close()
    again = DuckDBStore(path)
    (day,) = again.read_days([("gw-1", DAY)])
    assert day.devices == ["a", "b", "c"]
    assert sorted(day.records.parts.tolist()) == [0] + [1] * 10 + [2] * 10 + [3] * 10
    again.close()


def test_there_is_a_file_of_an_earlier_release() -> None:
    assert any(not file.name.startswith(f"duckdb-{duckdb.__version__}") for file in FILES)
