"""The register on SQLite and on PostgreSQL: the same tables, the same import, the same figures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from api.register.database import migrate, open_register, writing
from api.register.models import Base
from api.services.figure_sets import make_draft, publish
from metrics.record import local_day_start_s
from tests.api.county_fixtures import PLANT, TODAY, minutes, running_county
from tests.api.postgres import new_database, postgres_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def register_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of one engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'register.sqlite'}"
    return new_database(request.getfixturevalue("postgres"))


both = pytest.mark.parametrize("register_url", ["sqlite", "postgresql"], indirect=True)


@both
def test_migrations_make_what_the_models_say(register_url: str) -> None:
    engine = open_register(register_url)
    migrate(engine)
    migrate(engine)  # nothing to do the second time
    found = inspect(engine)
    for table in Base.metadata.sorted_tables:
        columns = {c["name"]: c["nullable"] for c in found.get_columns(table.name)}
        assert columns == {c.name: bool(c.nullable) for c in table.columns}, table.name
        assert {i["name"] for i in found.get_indexes(table.name)} == {i.name for i in table.indexes}, table.name
        assert found.get_pk_constraint(table.name)["name"] == f"pk_{table.name}"
    assert set(found.get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    engine.dispose()


@both
def test_two_services_that_start_at_once_migrate_one_after_the_other(register_url: str) -> None:
    engines = [open_register(register_url) for _ in range(3)]
    faults: list[BaseException] = []

    def start(i: int) -> None:
        try:
            migrate(engines[i])
        except BaseException as error:  # noqa: BLE001 (told to the test's own thread)
            faults.append(error)

    threads = [threading.Thread(target=start, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for engine in engines:
        engine.dispose()
    assert faults == []


@both
async def test_import_ingest_and_figures_work(register_url: str, tmp_path: Path) -> None:
    async with running_county(tmp_path / "county", register_url=register_url) as county:
        county.load(tmp_path / "register")
        gateway = county.gateway()
        await gateway.send(["cnc-1"], minutes(0, local_day_start_s(TODAY - 1), 96, window_s=900))
        await gateway.send(["cnc-1"], minutes(0, local_day_start_s(TODAY - 2), 96, window_s=900))
        await county.settle()
        await county.sign_in()
        listed = await county.get("/indicators", scope=f"enterprise:{PLANT}", period="2026-11-17")
        rate = next(f for f in listed["figures"] if f["definition"]["id"] == "networking-rate")
        assert (rate["numerator"], rate["denominator"]) == (1, 4)
        assert len((await county.get("/assets"))["items"]) == 8


@both
async def test_figures_are_drafted_published_and_never_changed(register_url: str, tmp_path: Path) -> None:
    async with running_county(tmp_path / "county", register_url=register_url) as county:
        county.load(tmp_path / "register")
        await county.gateway().send(["cnc-1"], minutes(0, local_day_start_s(TODAY - 1), 96, window_s=900))
        await county.settle()
        await county.sign_in()
        reader = await asyncio.to_thread(county.county.access.reader, county.client.cookies["plantpulse_session"])
        assert reader is not None
        made = await asyncio.to_thread(make_draft, county.county, reader, "2026-11-17", "tester", "")
        assert await asyncio.to_thread(publish, county.county, made, "tester", "first figures") == 1
        stands = await county.get("/published", scope="county", period="2026-11-17")
        assert (stands["revision"], len(stands["figures"]) > 15) == (1, True)
        for table in ("figure_set", "figure_value", "figure_event"):
            with pytest.raises(DBAPIError, match="never changed"), writing(county.county.engine) as connection:
                connection.execute(text(f"delete from {table}"))
