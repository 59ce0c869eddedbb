"""The journal in PostgreSQL, a partition a day of arrival (UTC): for several processes that share one county.

Whoever commits holds the row `journal.head`: so positions have no holes, and what was received before is all there
to be seen, whichever process took it. Nothing is kept in memory between commits.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final

import numpy as np
import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, SQLAlchemyError

from api.clock import Clock
from api.journal.batch import AnnounceEntry, Batch
from api.journal.files import day_name
from api.journal.port import DayCounts, JournalError, JournalSize, Outcome, Totals, UnkeepableError
from api.journal.postgres_kept import PostgresKept
from api.journal.postgres_tables import (
    COLUMNS,
    PARTITIONED,
    batch_of,
    count_totals,
    epochs_of,
    insert_into,
    keep_digests,
    known_digest,
    load_ranges,
    make_partitions,
    partition_of,
    partitions,
    save_ranges,
)
from api.journal.writer import GroupWriter, Waiting, decide, tell_missing

_AT_ONCE: Final = 10_000

log = structlog.get_logger(__name__)


class PostgresJournal:
    """The journal of one county. Opening it asks nothing; `close` writes what waits."""

    def __init__(self, engine: Engine, clock: Clock, *, keep_days: int = 14) -> None:
        self._engine = engine
        self._clock = clock
        self._keep_days = keep_days
        self._kept = PostgresKept(engine)
        self._writer = GroupWriter(self._commit)

    @property
    def position(self) -> int:
        """The last position that is synced. Raises SQLAlchemyError, as everything here that asks."""
        return int(self._ask("select position from journal.head")[0][0])

    @property
    def kept(self) -> PostgresKept:
        """What outlives the days."""
        return self._kept

    @property
    def last_error(self) -> str:
        """Why this process' last commit failed; empty after one that did not."""
        return self._writer.last_error

    def first(self) -> tuple[int, int] | None:
        """Position and time of arrival (ns UTC) of the first batch that is still here; None for none."""
        found = self._ask("select position, arrived_ns from journal.batch order by position limit 1")
        return (found[0][0], found[0][1]) if found else None

    def arrived_ns(self, position: int) -> int | None:
        """When the first batch beyond a position arrived, ns UTC; None where there is none."""
        found = self._ask(
            "select arrived_ns from journal.batch where position > :position order by position limit 1",
            position=position,
        )
        return int(found[0][0]) if found else None

    def counted(self, through: int, skip: Callable[[int], bool]) -> Iterator[DayCounts]:
        """Of each local day that is not skipped, how many rows were counted of every batch up to a position.

        The batches are read once, a few at a time; the days that are not skipped are held together.
        """
        days: defaultdict[int, tuple[array[int], array[int]]] = defaultdict(lambda: (array("q"), array("q")))
        with self._engine.connect().execution_options(yield_per=_AT_ONCE) as connection:
            for position, of_day, rows in connection.execute(
                text(
                    "select position, counted_day, counted_rows from journal.batch "
                    "where position <= :through order by position"
                ),
                {"through": through},
            ):
                for day, count in zip(of_day, rows, strict=True):
                    if not skip(day):
                        days[day][0].append(position)
                        days[day][1].append(count)
        for day, (positions, counts) in sorted(days.items()):
            yield DayCounts(day, np.array(positions, np.int64), np.array(counts, np.int64))

    def heard_since(self, since_ns: int) -> set[str]:
        """Gateways of which a batch arrived since a time."""
        found = self._ask("select gateway from journal.totals where last_arrived_ns >= :since", since=since_ns)
        return {gateway for (gateway,) in found}

    def continue_from(self, position: int) -> None:
        """Number the next batch beyond a position that the interval store has: of a journal that was lost."""
        with self._engine.begin() as connection:
            moved = connection.execute(
                text("update journal.head set position = :position where position < :position"), {"position": position}
            )
        if moved.rowcount:
            log.error("journal_behind_store", store=position)

    def totals(self) -> dict[str, Totals]:
        """Counters by gateway."""
        found = self._ask("select gateway, batches, refused_rows, held_rows, conflicts, duplicates from journal.totals")
        return {row[0]: Totals(*row[1:]) for row in found}

    def size(self) -> JournalSize:
        """How large it is, and how old."""
        first = self.first()
        with self._engine.connect() as connection:
            days = partitions(connection)
            size_bytes = connection.execute(
                text(
                    "select coalesce(sum(pg_total_relation_size(inhrelid)), 0) from pg_inherits where inhparent in "
                    "('journal.batch'::regclass, 'journal.gap'::regclass, 'journal.announce'::regclass)"
                )
            ).scalar_one()
            newest_ns = connection.execute(text("select max(last_arrived_ns) from journal.totals")).scalar()
        return JournalSize(len(days), int(size_bytes), None if first is None else first[1], newest_ns)

    async def commit(self, batch: Batch) -> Outcome:
        """Journal a batch (its `position` is ignored) and say what became of it, after the sync.

        Raises JournalBusyError when too many wait, JournalError when the server refused it or is away.
        """
        return await self._writer.submit(batch, None)

    async def commit_announce(self, entry: AnnounceEntry) -> None:
        """Journal an announcement message; as `commit`."""
        await self._writer.submit(None, entry)

    def after(self, position: int, limit: int) -> list[Batch]:
        """At most `limit` batches beyond a position, in order: for whoever derives from the journal."""
        found = self._ask(
            f"select {COLUMNS} from journal.batch where position > :position order by position limit :most",  # noqa: S608
            position=position,
            most=limit,
        )
        return [batch_of(row) for row in found]

    def drop_before(self, applied_position: int) -> list[str]:
        """Drop the days beyond those that are kept, unless something in them is not applied yet.

        Their received ranges stay, and the digests of their batches. Returns the days that were dropped, as
        `2026-11-23`.
        """
        dropped: list[str] = []
        with self._engine.connect() as connection:
            days = partitions(connection)
        for day in days[: -self._keep_days]:
            with self._engine.begin() as connection:
                # readers are waited for, and commits wait meanwhile: rather try again in an hour than stand long
                connection.execute(text("set local lock_timeout = '5s'"))
                last = connection.execute(
                    text("select coalesce(max(position), 0) from journal.batch where day = :day"), {"day": day}
                ).scalar_one()
                if last > applied_position:
                    break
                keep_digests(connection, day)
                for table in PARTITIONED:
                    connection.execute(text(f"drop table {partition_of(table, day)}"))
            dropped.append(day.isoformat())
        return dropped

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()

    def _ask(self, statement: str, **given: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(statement), given).all())

    def _commit(self, group: list[Waiting]) -> None:
        try:
            with self._engine.begin() as connection:
                self._commit_in(connection, group)
        except SQLAlchemyError as error:
            kind = UnkeepableError if isinstance(error, DataError) else JournalError
            raise kind(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error

    def _commit_in(self, connection: Connection, group: list[Waiting]) -> None:
        connection.execute(text("set local lock_timeout = '10s'"))
        head = connection.execute(text("select position, day from journal.head for update")).one()
        receipts = load_ranges(connection, epochs_of(group))
        before = {key: (list(received), received.floor) for key, received in receipts.ranges.items()}
        decided = decide(group, head.position, lambda key: known_digest(connection, receipts, key))
        day = head.day
        if decided.fresh or decided.announces:
            day = make_partitions(connection, head.day, date.fromisoformat(day_name(self._clock.now_ns())))
            insert_into(connection, day, decided)
        for batch in decided.fresh:
            receipts.mark(batch.gateway, batch.epoch, batch.sequence, batch.previous)
            for gap in batch.gaps:
                if (lost := gap.stands_for(batch.epoch)) is not None:
                    receipts.of(batch.gateway, lost[0]).add(lost[1])
        save_ranges(connection, receipts, before)
        count_totals(connection, decided)
        connection.execute(
            text("update journal.head set position = :position, day = :day"), {"position": decided.position, "day": day}
        )
        tell_missing(group, receipts.missing)
