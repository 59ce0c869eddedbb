"""The journal in PostgreSQL against the contract, on a real server, and what several processes ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from api.journal.port import Journal, JournalError
from api.journal.postgres import PostgresJournal
from api.register.database import migrate, open_register
from tests.api.county_fixtures import HandClock
from tests.api.postgres import new_database, postgres_server
from tests.contract.journal_contract import DAY_S, HIGH, JournalContract, batch


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


class TestPostgresJournal(JournalContract):
    engine: Engine

    @pytest.fixture(autouse=True)
    def _database(self, server: str) -> Iterator[None]:
        self.engine = open_register(new_database(server))
        migrate(self.engine)
        yield
        self.engine.dispose()

    def open_journal(self, clock: HandClock, keep_days: int = 14) -> Journal:
        return PostgresJournal(self.engine, clock, keep_days=keep_days)

    async def test_two_processes_journal_one_stream_without_holes_or_doubles(self, clock: HandClock) -> None:
        with self.opened(clock) as one, self.opened(clock) as two:
            outcomes = await asyncio.gather(
                *(journal.commit(batch(n)) for n in range(1, 41) for journal in (one, two)),
            )
            assert sorted(o.result for o in outcomes) == ["duplicate"] * 40 + ["journalled"] * 40
            assert [b.position for b in one.after(0, 100)] == list(range(1, 41))
            assert two.position == 40
            assert (await two.commit(batch(45))).missing == [(HIGH, 41, 44)]
            assert (await one.commit(batch(42))).missing == [(HIGH, 41, 41)]

    async def test_a_day_is_a_partition_that_is_made_and_dropped_beside_readers(self, clock: HandClock) -> None:
        with self.opened(clock, keep_days=1) as journal:
            await journal.commit(batch(1))
            with self.engine.connect() as reader:
                reader.execute(text("select * from journal.batch")).all()  # its transaction goes on
                clock.advance(DAY_S)
                async with asyncio.timeout(10):
                    assert (await journal.commit(batch(2))).position == 2
            assert len(journal.drop_before(2)) == 1
            with self.engine.connect() as connection:
                left = connection.execute(text("select count(*) from pg_tables where schemaname = 'journal'"))
                assert left.scalar_one() == 10 + 3

    async def test_a_server_that_is_away_acknowledges_nothing(self, server: str, clock: HandClock) -> None:
        engine = open_register(server.rsplit("/", 1)[0] + "/no_such_database")
        journal = PostgresJournal(engine, clock)
        with pytest.raises(JournalError, match="OperationalError"):
            await journal.commit(batch(1))
        assert "OperationalError" in journal.last_error
        journal.close()
        engine.dispose()
