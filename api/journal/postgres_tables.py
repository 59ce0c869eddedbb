"""The tables of the journal in PostgreSQL: what is written to them and read from them within a transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, text

from api.journal.batch import Batch, stored, told
from api.journal.digests import NOBODY_CAN_TELL, SHORT_BYTES, forgotten_before, short_digest
from api.journal.ranges import Receipts, Received
from api.journal.writer import Decided, Key, Waiting

PARTITIONED: Final = ("batch", "gap", "announce")
COLUMNS: Final = (
    "position, gateway, epoch, sequence, previous_epoch, previous_sequence, digest, is_json, rows, refused, held, "
    "arrived_ns, body"
)
_INSERT_BATCH: Final = text(
    f"insert into journal.batch(day, {COLUMNS}, newest_end_s, counted_day, counted_rows) values "  # noqa: S608
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
_KEEP_DIGESTS: Final = text(
    "insert into journal.digest(gateway, epoch, first, day, digests) "
    "select gateway, epoch, min(sequence), :day, string_agg(substring(digest from 1 for :bytes), '' order by sequence) "
    "from (select gateway, epoch, sequence, digest, "
    "sequence - row_number() over (partition by gateway, epoch order by sequence) as run "
    "from journal.batch where day = :day) as numbered group by gateway, epoch, run on conflict do nothing"
)
_KEPT_DIGEST: Final = text(
    "select first, digests from journal.digest where gateway = :gateway and epoch = :epoch and first <= :sequence "
    "order by first desc limit 1"
)

EpochKey = tuple[str, int]
"""(gateway, epoch)."""


def partition_of(table: str, day: date) -> str:
    return f"journal.{table}_{day:%Y%m%d}"


def partitions(connection: Connection) -> list[date]:
    """The days that are kept, ascending."""
    found = connection.execute(
        text(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid "
            "where i.inhparent = 'journal.batch'::regclass"
        )
    ).scalars()
    return sorted(date.fromisoformat(name.removeprefix("batch_")) for name in found)


def make_partitions(connection: Connection, latest: date | None, today: date) -> date:
    """The day to write to; its partitions are made with its first batch."""
    if latest is not None and today <= latest:  # a clock set back must not hide a batch in an older day
        return latest
    for table in PARTITIONED:
        # attached, because a partition that is made as one waits for every reader of the whole table
        name = partition_of(table, today)
        connection.execute(text(f"create table {name} (like journal.{table} including all)"))
        connection.execute(text(f"alter table journal.{table} attach partition {name} for values in ('{today}')"))
    return today


def epochs_of(group: Iterable[Waiting]) -> set[EpochKey]:
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


def load_ranges(connection: Connection, keys: set[EpochKey]) -> Receipts:
    given = {"gateways": [gateway for gateway, _ in keys], "epochs": [stored(epoch) for _, epoch in keys]}
    ranges: dict[EpochKey, list[tuple[int, int]]] = {}
    for gateway, epoch, first, last in connection.execute(_RECEIVED, given):
        ranges.setdefault((gateway, told(epoch)), []).append((first, last))
    floors = {(gateway, told(epoch)): sequence for gateway, epoch, sequence in connection.execute(_FLOORS, given)}
    return Receipts({key: Received(ranges.get(key, ()), floors.get(key)) for key in ranges.keys() | floors.keys()})


def known_digest(connection: Connection, receipts: Receipts, key: Key) -> bytes | None:
    """Digest of a batch that is journalled, a short one when its day was dropped; None when it never arrived."""
    gateway, epoch, sequence = key
    if not receipts.has(gateway, epoch, sequence):
        return None
    given = {"gateway": gateway, "epoch": stored(epoch), "sequence": sequence}
    where = "where gateway = :gateway and epoch = :epoch and sequence = :sequence limit 1"
    found = connection.execute(text(f"select digest from journal.batch {where}"), given).scalar()  # noqa: S608
    if found is not None:
        return bytes(found)
    gap = connection.execute(text(f"select 1 from journal.gap {where}"), given).scalar()  # noqa: S608
    if gap is not None:
        return None
    run = connection.execute(_KEPT_DIGEST, given).one_or_none()
    return NOBODY_CAN_TELL if run is None else short_digest(bytes(run.digests), sequence - run.first)


def keep_digests(connection: Connection, day: date) -> None:
    """Keep the digests of a day that is dropped in this transaction, and forget the oldest."""
    connection.execute(_KEEP_DIGESTS, {"day": day, "bytes": SHORT_BYTES})
    before = date.fromisoformat(forgotten_before(day.isoformat()))
    connection.execute(text("delete from journal.digest where day < :before"), {"before": before})


def insert_into(connection: Connection, day: date, decided: Decided) -> None:
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


def batch_of(row: Any) -> Batch:
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


def save_ranges(
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


def count_totals(connection: Connection, decided: Decided) -> None:
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
