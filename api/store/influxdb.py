"""The interval store in an InfluxDB: 2.x, 1.8 (or 1.x behind a proxy that maps the write path) and 3.x.

Nothing is ever overwritten with other content, because 3.x may keep either version for ever. Each record has one place
that follows from the journal alone (its key, and how many of that key were journalled before it), so that writing a
batch again, after whatever crash, writes the same points. What is written is counted once the mark behind it is:
a point of measurement `applied` with the journal position reached. Records beyond the last mark are not read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from api.store.influx_aside import SetAside
from api.store.influx_http import InfluxServer, LinesRefusedError, Series, TooLargeError
from api.store.influx_lines import AGAIN, FIRST, MISSING, label, lines_of, name_of
from api.store.influx_seen import SeenKeys, Stored
from api.store.port import Append, DayRecords, StoreError
from metrics.record import DAY_S, RECORD_COLUMNS, Records, local_day, local_day_start_s

_MARKS: Final = "applied"
_LINES_A_REQUEST: Final = 5_000
"""A request ends with the batch, or the part of a batch as large, that reaches this: 5,000 to 10,000 lines."""
_FEWEST_LINES: Final = 100
_READ_S: Final = 6 * 3600
"""A day is read in quarters: the answer of a gateway with 1,000 devices stays below 50 MB."""
_FILES_LIMIT_S: Final = 64 * 3600
"""3.x answers no query over more than 72 h by default."""
_LOOK_BACK_S: Final = 400 * DAY_S
"""How far back 3.x is asked, which is how long minute records are kept unless that is changed."""
_FRESH_S: Final = 2.0
"""Where another process writes, how far it is is asked this often."""
_BOTH: Final = f'"{FIRST}","{AGAIN}"'
_BY_SERIES: Final = 'GROUP BY "gateway","device","part","copy"'

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far the journal is applied."""

    position: int = 0
    rows: int = 0
    at_ns: int = 0


class InfluxDBStore:
    """The interval store in a bucket. Opening it asks nothing of the server, which may be away."""

    def __init__(self, server: InfluxServer, aside: SetAside, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._server = server
        self._aside = aside
        self._now_ns = now_ns
        self._mark: _Mark | None = None
        self._alone = True
        self._asked_at_s = 0.0
        self._marking = threading.Lock()
        self._writing = threading.Lock()
        self._before = 0
        self._request_lines = _LINES_A_REQUEST
        self._seen = SeenKeys(self._load)
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="influxdb")

    @property
    def set_aside(self) -> int:
        """Records that the server refuses: kept in a file, not in the store."""
        return self._aside.count

    @property
    def set_aside_where(self) -> str:
        """The file in which they are."""
        return str(self._aside.path)

    def follow(self) -> None:
        """Another process writes: ask again and again how far it is."""
        self._alone = False

    def take_over(self) -> None:
        """This process writes from now on: forget what was known, another one may have gone on. Raises StoreError."""
        with self._writing:
            self._seen = SeenKeys(self._load)
            self._aside.read_again()
            with self._marking:
                self._alone = True
                self._mark = None

    def applied(self) -> int:
        """The journal position up to which everything is stored. Raises StoreError while it cannot be asked."""
        return self._known_mark().position

    def rows(self) -> int:
        """How many records were stored; those that the server's retention has dropped since are counted too."""
        return self._known_mark().rows

    def append(self, batches: Sequence[Append], applied: int) -> None:
        """Store batches, then the position reached. What a failed call has written is not read, and written again."""
        with self._writing:
            mark = self._known_mark()
            self._before = min((batch.position for batch in batches), default=applied)
            set_aside = self._aside.count
            try:
                sent = self._send_all(batches)
                refused = self._aside.count - set_aside
                self._write_mark(_Mark(max(mark.position, applied), mark.rows + sent - refused, mark.at_ns))
            except BaseException:
                self._seen.forget()
                raise
            self._seen.settle()
            if refused:
                log.error("records_set_aside", records=refused, file=str(self._aside.path))

    def _send_all(self, batches: Sequence[Append]) -> int:
        """Write all records. The next request is put together while the last one is under way."""
        sent = waiting_lines = 0
        waiting: list[str] = []
        under_way: Future[None] | None = None
        self._seen.prepare((batch.gateway, batch.records) for batch in batches)
        try:
            for batch in batches:
                copies = self._seen.copies(batch.gateway, batch.devices, batch.records)
                most = self._request_lines
                for first in range(0, len(batch.records), most):
                    part = slice(first, first + most)
                    rows = batch.records.take(part)
                    waiting.append(
                        lines_of(
                            batch.gateway,
                            batch.devices,
                            rows,
                            batch.position,
                            None if copies is None else copies[part],
                        )
                    )
                    waiting_lines += len(rows)
                    sent += len(rows)
                    if waiting_lines >= most:
                        body = "".join(waiting).encode()
                        if under_way is not None:
                            under_way.result()
                        under_way = self._sender.submit(self._write, body[:-1])
                        waiting, waiting_lines = [], 0
            if under_way is not None:
                under_way.result()
                under_way = None
            if waiting_lines:
                self._write("".join(waiting).encode()[:-1])
        finally:
            if under_way is not None:
                under_way.exception()  # no request is left behind that could still write
        return sent

    def _write(self, lines: bytes) -> None:
        """Write lines; those that the server refuses are found by halving and set aside."""
        try:
            self._server.write(lines)
        except TooLargeError:
            if b"\n" not in lines:
                raise
            self._request_lines = max(_FEWEST_LINES, self._request_lines // 2)
            self._halve(lines)
        except LinesRefusedError as error:
            if b"\n" in lines:
                self._halve(lines)
                return
            # the mark is a line without fault: where it is refused too, the fault is not this line's
            self._write_mark(self._known_mark())
            self._aside.keep(lines, error.status, error.said)

    def _halve(self, lines: bytes) -> None:
        middle = lines.find(b"\n", len(lines) // 2)
        if middle < 0:
            middle = lines.rfind(b"\n")
        self._write(lines[:middle])
        self._write(lines[middle + 1 :])

    def _known_mark(self) -> _Mark:
        with self._marking:
            if self._mark is None or (not self._alone and time.monotonic() - self._asked_at_s >= _FRESH_S):
                self._mark = self._last_mark()
                self._asked_at_s = time.monotonic()
            return self._mark

    def _last_mark(self) -> _Mark:
        for first_s, last_s in self._spans():
            found = self._server.query(
                _select('"position","rows"', f'"{_MARKS}"', (first_s, last_s), tail="ORDER BY time DESC LIMIT 1"),
                epoch="ns",
            )
            for series in found:
                for row in series.values:
                    cells = dict(zip(series.columns, row, strict=True))
                    return _Mark(cells["position"] or 0, cells["rows"] or 0, cells["time"] or 0)
        return _Mark()

    def _write_mark(self, mark: _Mark) -> None:
        """Write a mark under a time of its own, later than all before it."""
        with self._marking:
            before_ns = self._mark.at_ns if self._mark is not None else 0
            at_ns = max(self._now_ns(), before_ns + 1)
            self._server.write(f"{_MARKS} position={mark.position}i,rows={mark.rows}i {at_ns}".encode(), precision="ns")
            self._mark = _Mark(mark.position, mark.rows, at_ns)

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Spans of time in s, from the latest back, that a server answers one query about."""
        end_s = self._now_ns() // 1_000_000_000 + 2 * DAY_S
        if self._server.major < 3:
            yield 0, end_s
            return
        for last_s in range(end_s, end_s - _LOOK_BACK_S, -_FILES_LIMIT_S):
            yield last_s - _FILES_LIMIT_S, last_s

    def _load(self, gateways: Sequence[str], first_s: int, last_s: int) -> Iterable[Stored]:
        """What is stored of these gateways, of batches before those being written."""
        found = self._server.query(
            _select('"position"', _BOTH, (first_s, last_s), gateways, f'"position" < {self._before}', _BY_SERIES)
        )
        for series in found:
            starts = [row[0] for row in series.values if row[0] is not None]
            tags = series.tags
            yield Stored(name_of(tags["gateway"]), name_of(tags["device"]), int(tags["part"]), starts)

    def read_days(self, keys: Sequence[tuple[str, int]]) -> Iterator[DayRecords]:
        """The records of each (gateway, local day) that has any."""
        applied = self.applied()
        for gateway, day in dict.fromkeys(keys):
            found = self._read(gateway, day, applied) if applied else None
            if found is not None:
                yield found

    def _read(self, gateway: str, day: int, applied: int) -> DayRecords | None:
        begin_s = local_day_start_s(day)
        names = ",".join(f'"{name}"' for name in ("position", *MISSING))
        parts: list[dict[str, NDArray[Any]]] = []
        numbers: dict[str, int] = {}
        for first_s in range(begin_s, begin_s + DAY_S, _READ_S):
            found = self._server.query(
                _select(names, _BOTH, (first_s, first_s + _READ_S), [gateway], f'"position" <= {applied}', _BY_SERIES)
            )
            for series in found:
                device = name_of(series.tags["device"])
                parts.append(_columns(series, numbers.setdefault(device, len(numbers))))
        if not parts:
            return None
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        devices = sorted(numbers)
        place = np.empty(len(numbers), np.int64)
        place[[numbers[device] for device in devices]] = np.arange(len(devices))
        columns["device"] = place[columns["device"]]
        order = np.lexsort((columns["copy"], columns["position"], columns["part"], columns["start"], columns["device"]))
        return DayRecords(
            gateway=gateway,
            day=day,
            devices=devices,
            records=Records.from_columns({c.name: columns[c.name][order] for c in RECORD_COLUMNS}),
            position=columns["position"][order],
        )

    def gateway_days(self, gateway: str) -> list[int]:
        """The local days of which a gateway has records, ascending."""
        applied = self.applied()
        days: set[int] = set()
        for first_s, last_s in self._spans():
            found = self._server.query(
                _select(
                    'count("position")',
                    f'"{FIRST}"',
                    (first_s, last_s),
                    [gateway],
                    f'"position" <= {applied}',
                    "GROUP BY time(1d, 16h) fill(none)",
                )
            )
            days |= {
                int(local_day(row[0])) for series in found for row in series.values if row[0] is not None and row[1]
            }
        return sorted(days)

    def close(self) -> None:
        """Finish the request under way and give up the connections."""
        with self._writing:
            self._sender.shutdown()
            self._server.close()


def _select(
    what: str, source: str, span_s: tuple[int, int], gateways: Sequence[str] = (), also: str = "", tail: str = ""
) -> str:
    """An InfluxQL statement over times from `span_s[0]` to before `span_s[1]`; a label needs no escaping."""
    where = [f"time >= {span_s[0]}s", f"time < {span_s[1]}s"]
    if gateways:
        where.append("(" + " OR ".join(f"\"gateway\" = '{label(gateway)}'" for gateway in gateways) + ")")
    if also:
        where.append(also)
    return f"SELECT {what} FROM {source} WHERE {' AND '.join(where)} {tail}".rstrip()  # noqa: S608 (see label)


def _columns(series: Series, device: int) -> dict[str, NDArray[Any]]:
    """The records of one device, part and copy."""
    n = len(series.values)
    found = dict(zip(series.columns, zip(*series.values, strict=True), strict=True))
    columns: dict[str, NDArray[Any]] = {
        "device": np.full(n, device, np.int64),
        "part": np.full(n, int(series.tags["part"]), np.int64),
        "copy": np.full(n, int(series.tags.get("copy") or 0), np.int64),
    }
    for stored, name in (("time", "start"), ("position", "position")):
        if None in found[stored]:
            raise StoreError(f"a record of {series.tags} without its {stored}")
        columns[name] = np.array(found[stored], np.int64)
    for name, missing in MISSING.items():
        values = found.get(name)
        if values is None:
            columns[name] = np.full(n, missing, np.int64)
        elif None in values:
            columns[name] = np.array([missing if value is None else value for value in values], np.int64)
        else:
            columns[name] = np.array(values, np.int64)
    return columns
