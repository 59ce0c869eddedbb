"""Registers of every version that was shipped, of both engines: migrated with their data, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import zstandard
from alembic.runtime.migration import RevisionStep
from sqlalchemy import inspect, text

from api.backup.tables import revision_of
from api.register.audit import first_broken
from api.register.database import migrate, newest_revision, open_register
from api.register.models import Base
from tests.api.county_fixtures import NOW_S, PASSWORD, TODAY, minutes, running_county
from tests.api.postgres import new_database, postgres_server

FOLDER: Final = Path(__file__).parents[1] / "contract" / "register"
FILES: Final = sorted(FOLDER.glob("*.zst"))
"""`REVISION.sqlite.zst`, and `REVISION.postgresql.sql.zst` as pg_dump writes it: made by the version that shipped it,
whose county had two plants, two gateways, two users and two days of records."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=FILES, ids=lambda file: file.name.removesuffix(".zst"))
def shipped(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database as a shipped version left it."""
    raw = zstandard.ZstdDecompressor().decompress(request.param.read_bytes())
    if "sqlite" in request.param.name:
        path = tmp_path / "register.sqlite"
        path.write_bytes(raw)
        return f"sqlite:///{path}"
    url = new_database(request.getfixturevalue("postgres"))
    statements = "\n".join(line for line in raw.decode().splitlines() if not line.startswith("\\"))
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(statements.encode())
    return url


def test_there_is_a_database_of_each_engine_for_the_first_version() -> None:
    assert {file.name for file in FILES} >= {"0001.sqlite.zst", "0001.postgresql.sql.zst"}


def test_a_shipped_register_is_brought_to_this_version_with_everything_in_it(shipped: str) -> None:
    engine = open_register(shipped)
    with engine.connect() as connection:
        names = [name for name in Base.metadata.tables if inspect(connection).has_table(name)]
        before = {name: connection.execute(text(f"select count(*) from {name}")).scalar_one() for name in names}
    assert before["enterprise"] == before["user_account"] == before["gateway_credential"] == before["device_day"] == 2
    migrate(engine)
    with engine.connect() as connection:
        assert revision_of(connection) == newest_revision()
        after = {name: connection.execute(text(f"select count(*) from {name}")).scalar_one() for name in names}
        assert after == before
        assert first_broken(connection) is None
        found = inspect(connection)
        for table in Base.metadata.sorted_tables:
            columns = {c["name"]: c["nullable"] for c in found.get_columns(table.name)}
            assert columns == {c.name: bool(c.nullable) for c in table.columns}, table.name
    engine.dispose()


async def test_a_county_goes_on_over_a_shipped_register(shipped: str, tmp_path: Path) -> None:
    async with running_county(tmp_path / "county", register_url=shipped) as county:
        answer = await county.client.post("/api/v1/session", json={"username": "plant", "password": PASSWORD})
        assert answer.status_code == 200
        listed = await county.get("/indicators", period="2026-11")
        figures = {f["definition"]["id"]: (f["value"], f["lower"], f["upper"]) for f in listed["figures"]}
        assert figures["networking-rate"] == (0.25, 0.25, 0.75)
        assert figures["metered-energy"][0] == 12.0
        assert "示例 M-1 SN1" in {a["announced"] for a in (await county.get("/assets"))["items"]}
        await county.gateway().send(["moulding-1"], minutes(0, NOW_S - 3600, 10))
        await county.settle()
        with county.county.engine.connect() as connection:
            days = connection.execute(text("select count(*) from device_day where gateway = 'gw-1'")).scalar_one()
        assert days == 3, f"two days that were there, and {TODAY}"


def test_a_migration_that_fails_leaves_the_register_as_it_was(shipped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_register(shipped)
    with engine.connect() as connection:
        revision = revision_of(connection)
        before = set(inspect(connection).get_table_names())
        count = connection.execute(text("select count(*) from asset")).scalar_one()
    last = _fail_in_the_last_step(monkeypatch)
    with pytest.raises(RuntimeError, match="on purpose"):
        migrate(engine)
    with engine.connect() as connection:
        assert revision_of(connection) == revision != last
        assert set(inspect(connection).get_table_names()) == before
        assert connection.execute(text("select count(*) from asset")).scalar_one() == count
        assert "original_value_wan" not in {c["name"] for c in inspect(connection).get_columns("asset")}
    monkeypatch.undo()
    migrate(engine)
    with engine.connect() as connection:
        assert revision_of(connection) == newest_revision()
    engine.dispose()


def _fail_in_the_last_step(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the newest migration do its work, and fail after it. Returns its revision."""
    newest = newest_revision()
    begin = RevisionStep.__init__

    def init(self: Any, revision_map: Any, revision: Any, is_upgrade: bool) -> None:
        begin(self, revision_map, revision, is_upgrade)
        if revision.revision != newest:
            return
        step = self.migration_fn

        def then_fail(**given: Any) -> None:
            step(**given)
            raise RuntimeError("on purpose")

        self.migration_fn = then_fail

    monkeypatch.setattr(RevisionStep, "__init__", init)
    return newest
