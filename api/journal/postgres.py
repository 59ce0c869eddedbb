"""The journal in PostgreSQL, a partition a day of arrival (UTC): for several processes that share one county.

Whoever commits holds the row `journal.head`: so positions have no holes, and what was received before is all there
to be seen, whichever process took it. Nothing is kept in memory between commits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from api.clock import Clock
from api.journal.batch import AnnounceEntry, Batch, stored, told
from api.journal.files import day_name
from api.journal.port import JournalError, JournalSize, Outcome, Totals
from api.journal.postgres_kept import PostgresKept
from api.journal.ranges import Receipts, Received
from api.journal.writer import Decided, GroupWriter, Key, Waiting, decide, tell_missing

_PARTITIONED: Final = ("batch", "gap", "announce")
_COLUMNS: Final = (
    "position, gateway, epoch, sequence, previous_epoch, previous_sequence, digest, is_json, rows, refused, held, "
    "arrived_ns, body"
)
_INSERT_BATCH: Final = text(
    f"insert into journal.batch(day, {_COLUMNS}, newest_end_s, counted_day, counted_rows) values "  # noqa: S608
    "(:day, :position, :gateway, :epoch, :sequence, :previous_epoch, :previous_sequence, :digest, :is_json, :rows, "
    ":refused, :held, :arrived_ns, :body, :newest_end_s, :counted_day, :counted_rows)"
)
_INSERT_GAP: Final = text(
    "insert into journal.gap(day, position, gateway, epoch, sequence, start_s, end_s, rows, devices, reason) values "
    "(:day, :position, :gateway, :epoch, :sequence, :start_s, :end_s, :rows, :devices, :reason)"
)
_INSERT_ANNOUNCE: Final = text(
    "insert into journal.announce(day, gateway, epoch, arrived_ns, is_json, body) values "
    "(:day, :gateway, :epoch, :arrived_ns, :is_json, :body)"
)
_RECEIVED: Final = text(
    "select gateway, epoch, first, last from journal.received where (gateway, epoch) in "
    "(select * from unnest(cast(:gateways as text[]), cast(:epochs as bigint[])))"
)
_FLOORS: Final = text(
    "select gateway, epoch, sequence from journal.floor where (gateway, epoch) in "
    "(select * from unnest(cast(:gateways as text[]), cast(:epochs as bigint[])))"
)
_FORGET_RANGE: Final = text(
    "delete from journal.received where gateway = :gateway and epoch = :epoch and first = :first"
)
_KEEP_RANGE: Final = text(
    "insert into journal.received values (:gateway, :epoch, :first, :last) "
    "on conflict (gateway, epoch, first) do update set last = excluded.last"
)
_KEEP_FLOOR: Final = text(
    "insert into journal.floor values (:gateway, :epoch, :sequence) "
    "on conflict (gateway, epoch) do update set sequence = excluded.sequence"
)
_ADD_TOTALS: Final = text(
    "insert into journal.totals as t values "
    "(:gateway, :batches, :refused_rows, :held_rows, :conflicts, :duplicates, :last_arrived_ns) "
    "on conflict (gateway) do update set batches = t.batches + excluded.batches, "
    "refused_rows = t.refused_rows + excluded.refused_rows, held_rows = t.held_rows + excluded.held_rows, "
    "conflicts = t.conflicts + excluded.conflicts, duplicates = t.duplicates + excluded.duplicates, "
    "last_arrived_ns = greatest(t.last_arrived_ns, excluded.last_arrived_ns)"
)

log = structlog.get_logger(__name__)

EpochKey = tuple[str, int]
"""(gateway, epoch)."""


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

    def counted(self, through: int) -> dict[int, list[tuple[int, int]]]:
        """By local day, the (position, counted rows) of every batch up to a position, ascending."""
        days: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for position, of_day, rows in self._ask(
            "select position, counted_day, counted_rows from journal.batch "
            "where position <= :through order by position",
            through=through,
        ):
            for day, count in zip(of_day, rows, strict=True):
                days[day].append((position, count))
        return dict(days)

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
            days = _partitions(connection)
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
            f"select {_COLUMNS} from journal.batch where position > :position order by position limit :most",  # noqa: S608
            position=position,
            most=limit,
        )
        return [_batch(row) for row in found]

    def drop_before(self, applied_position: int) -> list[str]:
        """Drop the days beyond those that are kept, unless something in them is not applied yet.

        Their received ranges stay. Returns the days that were dropped, as `2026-11-23`.
        """
        dropped: list[str] = []
        with self._engine.connect() as connection:
            days = _partitions(connection)
        for day in days[: -self._keep_days]:
            with self._engine.begin() as connection:
                # readers are waited for, and commits wait meanwhile: rather try again in an hour than stand long
                connection.execute(text("set local lock_timeout = '5s'"))
                last = connection.execute(
                    text("select coalesce(max(position), 0) from journal.batch where day = :day"), {"day": day}
                ).scalar_one()
                if last > applied_position:
                    break
                for table in _PARTITIONED:
                    connection.execute(text(f"drop table {_partition(table, day)}"))
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
            raise JournalError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error

    def _commit_in(self, connection: Connection, group: list[Waiting]) -> None:
        connection.execute(text("set local lock_timeout = '10s'"))
        head = connection.execute(text("select position, day from journal.head for update")).one()
        receipts = _load(connection, _epochs(group))
        before = {key: (list(received), received.floor) for key, received in receipts.ranges.items()}
        decided = decide(group, head.position, lambda key: _known_digest(connection, receipts, key))
        day = head.day
        if decided.fresh or decided.announces:
            day = _today(connection, head.day, date.fromisoformat(day_name(self._clock.now_ns())))
            _insert(connection, day, decided)
        for batch in decided.fresh:
            receipts.mark(batch.gateway, batch.epoch, batch.sequence, batch.previous)
            for gap in batch.gaps:
                if (lost := gap.stands_for(batch.epoch)) is not None:
                    receipts.of(batch.gateway, lost[0]).add(lost[1])
        _save(connection, receipts, before)
        _count(connection, decided)
        connection.execute(
            text("update journal.head set position = :position, day = :day"), {"position": decided.position, "day": day}
        )
        tell_missing(group, receipts.missing)


def _partition(table: str, day: date) -> str:
    return f"journal.{table}_{day:%Y%m%d}"


def _partitions(connection: Connection) -> list[date]:
    """The days that are kept, ascending."""
    found = connection.execute(
        text(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid "
            "where i.inhparent = 'journal.batch'::regclass"
        )
    ).scalars()
    return sorted(date.fromisoformat(name.removeprefix("batch_")) for name in found)


def _today(connection: Connection, latest: date | None, today: date) -> date:
    """The day to write to; its partitions are made with its first batch."""
    if latest is not None and today <= latest:  # a clock set back must not hide a batch in an older day
        return latest
    for table in _PARTITIONED:
        # attached, because a partition that is made as one waits for every reader of the whole table
        name = _partition(table, today)
        connection.execute(text(f"create table {name} (like journal.{table} including all)"))
        connection.execute(text(f"alter table journal.{table} attach partition {name} for values in ('{today}')"))
    return today


def _epochs(group: Iterable[Waiting]) -> set[EpochKey]:
    """The epochs that a group of batches speaks of."""
    keys: set[EpochKey] = set()
    for waiting in group:
        batch = waiting.batch
        if batch is not None:
            keys.add((batch.gateway, batch.epoch))
            if batch.previous is not None:
                keys.add((batch.gateway, batch.previous[0]))
            keys.update((batch.gateway, lost[0]) for g in batch.gaps if (lost := g.stands_for(batch.epoch)) is not None)
    return keys


def _load(connection: Connection, keys: set[EpochKey]) -> Receipts:
    given = {"gateways": [gateway for gateway, _ in keys], "epochs": [stored(epoch) for _, epoch in keys]}
    ranges: dict[EpochKey, list[tuple[int, int]]] = {}
    for gateway, epoch, first, last in connection.execute(_RECEIVED, given):
        ranges.setdefault((gateway, told(epoch)), []).append((first, last))
    floors = {(gateway, told(epoch)): sequence for gateway, epoch, sequence in connection.execute(_FLOORS, given)}
    return Receipts({key: Received(ranges.get(key, ()), floors.get(key)) for key in ranges.keys() | floors.keys()})


def _known_digest(connection: Connection, receipts: Receipts, key: Key) -> bytes | None:
    """Digest of a batch that is journalled; empty when its day was dropped; None when it never arrived."""
    gateway, epoch, sequence = key
    if not receipts.has(gateway, epoch, sequence):
        return None
    given = {"gateway": gateway, "epoch": stored(epoch), "sequence": sequence}
    where = "where gateway = :gateway and epoch = :epoch and sequence = :sequence limit 1"
    found = connection.execute(text(f"select digest from journal.batch {where}"), given).scalar()  # noqa: S608
    if found is not None:
        return bytes(found)
    gap = connection.execute(text(f"select 1 from journal.gap {where}"), given).scalar()  # noqa: S608
    return b"" if gap is None else None


def _insert(connection: Connection, day: date, decided: Decided) -> None:
    if decided.fresh:
        connection.execute(_INSERT_BATCH, [_row(day, batch) for batch in decided.fresh])
    gaps = [row for batch in decided.fresh for row in _gap_rows(day, batch)]
    if gaps:
        connection.execute(_INSERT_GAP, gaps)
    if decided.announces:
        rows = [
            {
                "day": day,
                "gateway": entry.gateway,
                "epoch": stored(entry.epoch),
                "arrived_ns": entry.arrived_ns,
                "is_json": entry.is_json,
                "body": entry.body,
            }
            for entry in decided.announces
        ]
        connection.execute(_INSERT_ANNOUNCE, rows)


def _row(day: date, batch: Batch) -> dict[str, Any]:
    return {
        "day": day,
        "position": batch.position,
        "gateway": batch.gateway,
        "epoch": stored(batch.epoch),
        "sequence": batch.sequence,
        "previous_epoch": None if batch.previous is None else stored(batch.previous[0]),
        "previous_sequence": None if batch.previous is None else batch.previous[1],
        "digest": batch.digest,
        "is_json": batch.is_json,
        "rows": batch.rows,
        "refused": batch.refused,
        "held": batch.held,
        "arrived_ns": batch.arrived_ns,
        "body": batch.body,
        "newest_end_s": batch.newest_end_s,
        "counted_day": [counted_day for counted_day, _ in batch.days],
        "counted_rows": [rows for _, rows in batch.days],
    }


def _gap_rows(day: date, batch: Batch) -> list[dict[str, Any]]:
    rows = []
    for gap in batch.gaps:
        epoch, sequence = gap.stands_for(batch.epoch) or (batch.epoch, 0)
        rows.append(
            {
                "day": day,
                "position": batch.position,
                "gateway": batch.gateway,
                "epoch": stored(epoch),
                "sequence": sequence,
                "start_s": gap.start_s,
                "end_s": gap.end_s,
                "rows": gap.rows,
                "devices": "\n".join(gap.devices),
                "reason": gap.reason,
            }
        )
    return rows


def _batch(row: Any) -> Batch:
    previous = None if row.previous_epoch is None else (told(row.previous_epoch), row.previous_sequence)
    return Batch(
        row.position,
        row.gateway,
        told(row.epoch),
        row.sequence,
        previous,
        bytes(row.digest),
        row.is_json,
        row.rows,
        bytes(row.refused),
        bytes(row.held),
        row.arrived_ns,
        bytes(row.body),
    )


def _save(
    connection: Connection, receipts: Receipts, before: dict[EpochKey, tuple[list[tuple[int, int]], int | None]]
) -> None:
    """Write the ranges that have changed."""
    gone: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    floors: list[dict[str, Any]] = []
    for (gateway, epoch), received in receipts.ranges.items():
        held, floor = before.get((gateway, epoch), ([], None))
        ranges = dict(received)
        key = {"gateway": gateway, "epoch": stored(epoch)}
        gone += [key | {"first": first} for first, _ in held if first not in ranges]
        new += [key | {"first": f, "last": last} for f, last in ranges.items() if (f, last) not in held]
        if received.floor is not None and received.floor != floor:
            floors.append(key | {"sequence": received.floor})
    for statement, rows in ((_FORGET_RANGE, gone), (_KEEP_RANGE, new), (_KEEP_FLOOR, floors)):
        if rows:
            connection.execute(statement, rows)


def _count(connection: Connection, decided: Decided) -> None:
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    newest_ns: dict[str, int] = {}
    for batch in decided.fresh:
        counted[batch.gateway] += Counter(
            batches=1, refused_rows=len(batch.refused) // 4, held_rows=len(batch.held) // 4
        )
        newest_ns[batch.gateway] = max(newest_ns.get(batch.gateway, 0), batch.arrived_ns)
    for gateway in decided.conflicts:
        counted[gateway]["conflicts"] += 1
    for gateway in decided.duplicates:
        counted[gateway]["duplicates"] += 1
    names = ("batches", "refused_rows", "held_rows", "conflicts", "duplicates")
    rows = [
        {"gateway": gateway, "last_arrived_ns": newest_ns.get(gateway, 0)} | {name: count[name] for name in names}
        for gateway, count in sorted(counted.items())
    ]
    if rows:
        connection.execute(_ADD_TOTALS, rows)
