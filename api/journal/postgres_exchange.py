"""The journal in PostgreSQL, read for a backup and made by a restore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, Final

from sqlalchemy import Engine, text

from api.journal.batch import AnnounceEntry, Batch, gap_of, told
from api.journal.exchange import Lasting
from api.journal.port import TooLate
from api.journal.postgres_tables import batch_of, insert_into, make_partitions, partitions, save_ranges
from api.journal.ranges import Receipts, Received
from api.journal.writer import Decided

_CHUNK: Final = 500


class PostgresReader:
    """Reads one snapshot of the tables, whatever is committed meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self._connection = engine.connect().execution_options(isolation_level="REPEATABLE READ")

    def lasting(self) -> Lasting:
        """What outlives the days."""
        ask = self._connection.execute
        ranges: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for gateway, epoch, first, last in ask(text("select gateway, epoch, first, last from journal.received")):
            ranges.setdefault((gateway, told(epoch)), []).append((first, last))
        floors = {(g, told(e)): s for g, e, s in ask(text("select gateway, epoch, sequence from journal.floor"))}
        final = ask(text("select before_day, position from journal.final")).one_or_none()
        late = ask(text("select position, gateway, device, day, rows, connected, quantity from journal.too_late"))
        conflicts = ask(text("select gateway, conflicts from journal.totals where conflicts > 0"))
        return Lasting(
            position=ask(text("select position from journal.head")).scalar_one(),
            receipts=Receipts({key: Received(found, floors.get(key)) for key, found in ranges.items()}),
            conflicts={gateway: count for gateway, count in conflicts},  # noqa: C416 (rows, not tuples)
            final_before=None if final is None else (final.before_day, final.position),
            too_late=[TooLate(*row) for row in late],
        )

    def days(self) -> list[str]:
        """The days that are kept, ascending."""
        return [day.isoformat() for day in partitions(self._connection)]

    def batches(self, day: str) -> Iterator[Batch]:
        """The batches of a day by position, with their gaps and counted rows."""
        given = {"day": date.fromisoformat(day)}
        gaps: dict[int, list[Any]] = {}
        for row in self._connection.execute(text("select * from journal.gap where day = :day"), given):
            gaps.setdefault(row.position, []).append(row)
        position = 0
        while True:
            found = self._connection.execute(
                text(
                    "select * from journal.batch where day = :day and position > :after order by position limit :most"
                ),
                given | {"after": position, "most": _CHUNK},
            ).all()
            for row in found:
                position = row.position
                yield batch_of(row)._replace(
                    gaps=tuple(
                        gap_of(
                            g.devices, g.start_s, g.end_s, g.rows, g.reason, told(row.epoch), told(g.epoch), g.sequence
                        )
                        for g in gaps.get(position, ())
                    ),
                    days=tuple(zip(row.counted_day, row.counted_rows, strict=True)),
                    newest_end_s=row.newest_end_s,
                )
            if not found:
                return

    def announces(self, day: str) -> Iterator[AnnounceEntry]:
        """The announcements of a day in the order of arrival."""
        for row in self._connection.execute(
            text("select * from journal.announce where day = :day order by arrived_ns"),
            {"day": date.fromisoformat(day)},
        ):
            yield AnnounceEntry(row.gateway, told(row.epoch), row.arrived_ns, row.is_json, bytes(row.body))

    def close(self) -> None:
        """End the snapshot."""
        self._connection.close()


class PostgresMaker:
    """Fills empty tables in one transaction: all of it is there, or nothing."""

    def __init__(self, engine: Engine) -> None:
        self._connection = engine.connect()
        self._day: date | None = None

    def is_empty(self) -> bool:
        """Whether there is no journal yet."""
        return bool(self._connection.execute(text("select position = 0 from journal.head")).scalar_one())

    def write(self, day: str, batches: Iterable[Batch], announces: Iterable[AnnounceEntry]) -> None:
        """Add to a day."""
        self._day = make_partitions(self._connection, self._day, date.fromisoformat(day))
        fresh = list(batches)
        insert_into(self._connection, self._day, Decided(fresh, list(announces), [], [], 0))

    def finish(self, lasting: Lasting) -> None:
        """Keep what outlives the days, and commit."""
        run = self._connection.execute
        save_ranges(self._connection, lasting.receipts, {})
        run(
            text(
                "insert into journal.totals select gateway, count(*), coalesce(sum(length(refused)) / 4, 0), "
                "coalesce(sum(length(held)) / 4, 0), 0, 0, max(arrived_ns) from journal.batch group by gateway"
            )
        )
        for gateway, count in lasting.conflicts.items():
            run(
                text(
                    "insert into journal.totals values (:gateway, 0, 0, 0, :count, 0, 0) "
                    "on conflict (gateway) do update set conflicts = excluded.conflicts"
                ),
                {"gateway": gateway, "count": count},
            )
        if lasting.final_before is not None:
            day, position = lasting.final_before
            run(
                text("insert into journal.final(before_day, position) values (:day, :position)"),
                {"day": day, "position": position},
            )
        if lasting.too_late:
            run(
                text(
                    "insert into journal.too_late values "
                    "(:position, :gateway, :device, :day, :rows, :connected, :quantity)"
                ),
                [entry._asdict() for entry in lasting.too_late],
            )
        run(
            text("update journal.head set position = :position, day = :day"),
            {"position": lasting.position, "day": self._day},
        )
        self._connection.commit()

    def close(self) -> None:
        """What was not finished is gone."""
        self._connection.close()
