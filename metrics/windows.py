"""Reduce windows to one row per device: the arithmetic behind `metrics.days.day_states`.

Three tiers give the same integers; each hands on what it cannot do:

- *dense*: every device has the same windows, one record each, in order (a plant without trouble);
- *slots*: windows of one length, aligned, in any order, with holes and supplements; sums need no order,
  so nothing is sorted: a table of slots shows that no key comes twice;
- *sorted*: everything else (records sent twice, windows of several lengths, overlaps).

Rows are worked through in blocks of whole devices that stay in the processor's cache.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from metrics.record import DAY_S, STATE_COLUMNS, TENTHS_PER_S, UNKNOWN_READING, Flag, Records

Columns = dict[str, NDArray[Any]]
"""Rows per device under the names of metrics.days.DAY_COLUMNS, without `day`."""

BLOCK_ROWS: Final = 1 << 18
TIMES: Final = ("observed", "connected", *STATE_COLUMNS)
COUNTS: Final = ("quantity", "quantity_idle", "quantity_span", "parts", "good", "bad")
_TABLE_PER_ROW: Final = 8  # slots a row may cost before sorting is the cheaper proof
_ROWS_PER_RUN: Final = 8  # shorter runs of one device are brought together first
_LANES: Final = 4  # values of 16 bits in a word of 64
_LANE_TOP: Final = (1 << 16) - 1
_LANE_WORDS: Final = 16  # fewer words a sum, and adding lane by lane costs more than it saves
_INT64_MAX: Final = int(np.iinfo(np.int64).max)


def reduce_windows(
    records: Records, position: NDArray[np.int64] | None, day_start_s: int, *, times_only: bool = False
) -> list[Columns]:
    """Rows of every device with records, in blocks by ascending device.

    `records` of one local day that starts at `day_start_s` (s UTC), valid as `metrics.record.refusals`
    says, any order; `position` (n,) of each in the journal, None: as given; `times_only`: the columns TIMES are
    enough. Raises ValueError for a record of another day, OverflowError where a device's counts leave 63 bits.
    """
    device = records.device
    n = len(device)
    reduced: list[Columns] = []
    begin, last_device = 0, -1
    while begin < n:
        end = min(begin + BLOCK_ROWS, n)
        heads = _heads(device[begin + 1 : end] != device[begin : end - 1])
        if end < n:
            if len(heads) == 1:
                other = np.flatnonzero(device[begin:] != device[begin])
                end = begin + int(other[0]) if len(other) else n
            else:
                end = begin + int(heads[-1])
                heads = heads[:-1]
        first_of_runs = device[begin + heads]
        if int(first_of_runs[0]) <= last_device or not bool((first_of_runs[1:] > first_of_runs[:-1]).all()):
            return _unsorted(records, position, day_start_s, times_only)
        last_device = int(first_of_runs[-1])
        rows = slice(begin, end)
        places = None if position is None else position[rows]
        reduced.append(_block(records.take(rows), places, day_start_s, heads, times_only))
        begin = end
    return reduced


def _unsorted(
    records: Records, position: NDArray[np.int64] | None, day_start_s: int, times_only: bool
) -> list[Columns]:
    """Rows of devices that come in several runs each."""
    heads = _heads(records.device[1:] != records.device[:-1])
    if len(heads) * _ROWS_PER_RUN <= len(records):
        return [_block(records, position, day_start_s, heads, times_only)]
    # A radix sort where the table is small; stable, so each device keeps its order.
    small = int(records.device.max()) < 1 << 16
    order = np.argsort(records.device.astype(np.uint16) if small else records.device, kind="stable")
    places = order if position is None else position[order]
    return reduce_windows(records.take(order), places, day_start_s, times_only=times_only)


def _block(
    r: Records, position: NDArray[np.int64] | None, day_start_s: int, heads: NDArray[np.int64], times_only: bool
) -> Columns:
    columns = _dense(r, day_start_s, heads, times_only)
    if columns is None:
        _require_day(r.start, day_start_s)  # only here: each pass over a column costs as much as a sum
        columns = _slots(r, day_start_s, heads) or _sorted(r, position)
    return columns


def _require_day(start: NDArray[np.int64], day_start_s: int) -> None:
    first_s, last_s = int(start.min()), int(start.max())
    if first_s < day_start_s or last_s >= day_start_s + DAY_S:
        raise ValueError(f"records start at {first_s} to {last_s} s, outside the day that begins at {day_start_s} s")


# ------------------------------------------------------------------------------------------- dense


def _dense(r: Records, day_start_s: int, heads: NDArray[np.int64], times_only: bool) -> Columns | None:
    """One record per device and window, the same windows for all, in order. None: it is not so."""
    rows = len(heads)
    width, rest = divmod(len(r), rows)
    length = _one_length(r)
    if rest or length is None or int(r.part.max()) or not bool((heads == np.arange(rows) * width).all()):
        return None
    starts = r.start[:width]
    devices = r.device[heads]
    regular = (
        bool((devices[1:] > devices[:-1]).all())
        and bool((np.diff(starts) * TENTHS_PER_S >= length).all())
        and bool((r.start[width:] == r.start[:-width]).all())  # each row's windows are those of the row before
    )
    if not regular:
        return None
    _require_day(starts, day_start_s)
    columns: Columns = {"device": devices}
    for name in TIMES:
        columns[name] = _row_sums(getattr(r, name), rows, width)
    if times_only:
        return columns
    for name in COUNTS:
        column = getattr(r, name)
        columns[name] = column.reshape(rows, width).sum(axis=1, dtype=_sum_type(column, width))
    proven = r.connected.reshape(rows, width) != 0
    ever = proven.any(axis=1)
    last = np.full(rows, width - 1)
    ended = np.flatnonzero(ever & ~proven[:, -1])
    last[ended] = width - 1 - proven[ended, ::-1].argmax(axis=1)
    columns["first_connected_s"] = np.where(ever, starts[proven.argmax(axis=1)], -1)
    columns["last_connected_s"] = np.where(ever, _end_s(starts[last], length), -1)
    columns["flags"] = np.bitwise_or.reduce(r.flags.reshape(rows, width), axis=1)
    columns["quantity_estimated"] = _estimated(r, heads, columns["flags"])
    known = np.flatnonzero(r.reading != UNKNOWN_READING)
    columns |= _readings(r, known, known // width, rows)
    columns["records"] = np.full(rows, width)
    return _complete(columns)


def _row_sums(column: NDArray[np.uint16], rows: int, width: int) -> NDArray[np.uint32]:
    """Sums of each `width` consecutive values, exact.

    Four values are added at once in the four lanes of a 64-bit word, over so few words that no lane can carry
    into the next one; the largest value says how many those are.
    """
    top = int(column.max())
    if top == 0:
        return np.zeros(rows, np.uint32)
    row_words, rest = divmod(width, _LANES)
    safe = next((n for n in range(min(row_words, _LANE_TOP // top), 0, -1) if row_words % n == 0), 0)
    values = column
    if rest == 0 and safe >= _LANE_WORDS:
        values = column.view(np.uint64).reshape(-1, safe).sum(axis=1).view(np.uint16)
    sums: NDArray[np.uint32] = values.reshape(rows, -1).sum(axis=1, dtype=np.uint32)
    return sums


def _one_length(r: Records) -> int | None:
    length = int(r.length[0])
    return length if length == int(r.length.max()) == int(r.length.min()) else None


def _sum_type(column: NDArray[Any], terms: int) -> type[np.unsignedinteger[Any]] | type[np.signedinteger[Any]]:
    """The fastest type that holds any sum of `terms` values of a column. Raises OverflowError beyond 63 bits."""
    top = int(column.max())
    if top * terms > _INT64_MAX:
        raise OverflowError(f"{terms} values up to {top} leave 63 bits")
    return np.uint32 if column.itemsize < 8 and top * terms < 1 << 32 else np.int64


# ------------------------------------------------------------------------------------------- slots


def _slots(r: Records, day_start_s: int, heads: NDArray[np.int64]) -> Columns | None:
    """Aligned windows of one length, in any order, each key once. None: it is not so.

    `heads` first rows of the runs of one device; a device may come in several.
    """
    n = len(r)
    length = _one_length(r)
    if length is None:
        return None
    length_s, rest = divmod(length, TENTHS_PER_S)
    if rest or length_s == 0:
        return None
    devices, of_run = np.unique(r.device[heads], return_inverse=True)
    per_device = -(-DAY_S // length_s)
    table = len(devices) * per_device
    if table > _TABLE_PER_ROW * n:
        return None
    since_s = (r.start - day_start_s).astype(np.uint32)
    window = since_s // np.uint32(length_s)
    if not bool((window * np.uint32(length_s) == since_s).all()):
        return None
    counts = np.diff(heads, append=n)
    slot = np.repeat(of_run * per_device, counts)
    slot += window
    late = np.flatnonzero(r.part != 0)
    late_slot = slot[late]
    row_of_slot = np.full(table + 1, n, np.uint32)
    if len(late):
        # Supplements go to a slot of their own behind the table: they claim no window.
        claimed = slot.copy()
        claimed[late] = table
    else:
        claimed = slot
    row_of_slot[claimed] = np.arange(n, dtype=np.uint32)
    row_of_slot[table] = n
    if int(np.count_nonzero(row_of_slot != n)) != n - len(late) or not _all_differ(late_slot, r.part[late]):
        return None

    by_device = _Runs(heads, counts, of_run, len(devices))
    columns: Columns = {name: by_device.add(getattr(r, name)) for name in (*TIMES, *COUNTS)}
    if len(late):
        windows, member = np.unique(late_slot, return_inverse=True)
        owner = row_of_slot[windows]
        owned = owner != n
        sums: Columns = {}
        for name in TIMES:
            column = getattr(r, name)
            added = np.zeros(len(windows), np.int64)
            np.add.at(added, member, column[late].astype(np.int64))
            added[owned] += column[owner[owned]]
            sums[name] = added
        capped = _capped(sums, np.full(len(windows), length))
        for name in TIMES:
            np.subtract.at(columns[name], windows // per_device, sums[name] - capped[name])
    columns["device"] = devices
    proven = r.connected != 0
    first = by_device.reduce(np.minimum, np.where(proven, since_s, np.uint32(DAY_S)))
    since_s += np.uint32(1)
    since_s *= proven  # one more than the second, so that 0 is no proof
    last = by_device.reduce(np.maximum, since_s)
    columns["first_connected_s"] = np.where(last > 0, day_start_s + first.astype(np.int64), -1)
    columns["last_connected_s"] = np.where(last > 0, _end_s(day_start_s + last.astype(np.int64) - 1, length), -1)
    flags = np.bitwise_or.reduceat(r.flags, heads)
    columns["flags"] = by_device.combine(np.bitwise_or, flags)
    columns["quantity_estimated"] = by_device.combine(np.add, _estimated(r, heads, flags))
    known = np.flatnonzero(r.reading != UNKNOWN_READING)
    if len(known):
        # In order of window and part, without sorting rows: slot, part and row packed in one integer.
        packed = (slot[known] << 8 | r.part[known]) << 32 | known
        if not bool((packed[1:] > packed[:-1]).all()):
            packed.sort()
            known = packed & 0xFFFFFFFF
    columns |= _readings(r, known, slot[known] // per_device, len(devices))
    columns["records"] = by_device.combine(np.add, counts)
    if len(late):
        columns["supplements"] = np.bincount(late_slot // per_device, minlength=len(devices))
    return _complete(columns)


def _all_differ(slot: NDArray[np.int64], part: NDArray[np.uint8]) -> bool:
    key = slot << 8 | part
    key.sort()
    return bool((key[1:] > key[:-1]).all())


class _Runs:
    """Adds up columns by runs of rows, and the runs by device."""

    def __init__(self, heads: NDArray[np.int64], counts: NDArray[np.int64], of_run: NDArray[Any], n_devices: int):
        self._heads = heads
        self._longest = int(counts.max())
        self._order = np.argsort(of_run, kind="stable")
        self._device_heads = np.searchsorted(of_run[self._order], np.arange(n_devices))
        self._once = len(heads) == n_devices and bool((self._order == np.arange(n_devices)).all())

    def add(self, column: NDArray[Any]) -> NDArray[np.int64]:
        """Exact sums per device."""
        sums = np.add.reduceat(column, self._heads, dtype=_sum_type(column, self._longest)).astype(np.int64)
        if not self._once:
            _sum_type(sums, len(self._heads))
        return self.combine(np.add, sums)

    def reduce(self, operation: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """Any associative and commutative operation per device."""
        return self.combine(operation, operation.reduceat(values, self._heads))

    def combine(self, operation: np.ufunc, per_run: NDArray[Any]) -> NDArray[Any]:
        """From runs to devices."""
        return per_run if self._once else operation.reduceat(per_run[self._order], self._device_heads)


# ------------------------------------------------------------------------------------------ sorted


def _sorted(r: Records, position: NDArray[np.int64] | None) -> Columns:
    """Any records at all, by sorting them."""
    place = np.arange(len(r)) if position is None else position
    order = np.lexsort((place, r.part, r.start, r.device))
    r = r.take(order)
    again = np.zeros(len(r), np.bool_)
    again[1:] = (r.device[1:] == r.device[:-1]) & (r.start[1:] == r.start[:-1]) & (r.part[1:] == r.part[:-1])
    winner = np.maximum.accumulate(np.where(again, 0, np.arange(len(r))))
    differs = np.zeros(len(r), np.bool_)
    for column in r.columns().values():
        differs |= column != column[winner]
    all_heads = _heads(r.device[1:] != r.device[:-1])
    columns: Columns = {
        "device": r.device[all_heads],
        "duplicates": np.add.reduceat(again & ~differs, all_heads, dtype=np.int64),
        "conflicts": np.add.reduceat(again & differs, all_heads, dtype=np.int64),
    }
    r = r.take(~again)

    heads = _heads(r.device[1:] != r.device[:-1])
    counts = np.diff(heads, append=len(r))
    window = _heads((r.device[1:] != r.device[:-1]) | (r.start[1:] != r.start[:-1]))
    length = np.maximum.reduceat(r.length, window).astype(np.int64)
    start = r.start[window]
    device = r.device[window]
    window_heads = _heads(device[1:] != device[:-1])
    window_counts = np.diff(window_heads, append=len(window))
    # Ends of the windows so far, per device: lifting each device above the ones before it lets one running
    # maximum serve them all.
    origin_s = int(start.min())
    begin = (start - origin_s) * TENTHS_PER_S
    lift = np.repeat(np.arange(len(window_heads)), window_counts) * ((int(begin.max()) + int(length.max())) + 1)
    end = begin + length + lift
    before = np.empty_like(end)
    before[0] = 0
    before[1:] = np.maximum.accumulate(end)[:-1]
    begin += lift
    room = np.clip(end - np.maximum(begin, before), 0, length)
    sums = {name: np.add.reduceat(getattr(r, name), window, dtype=np.int64) for name in TIMES}
    for name, capped in _capped(sums, room).items():
        columns[name] = np.add.reduceat(capped, window_heads)
    columns["overlaps"] = np.add.reduceat(before > begin, window_heads, dtype=np.int64)
    proven = sums["connected"] > 0
    last = np.maximum.reduceat(np.where(proven, _end_s(start, length), -1), window_heads)
    first = np.minimum.reduceat(np.where(proven, start, _INT64_MAX), window_heads)
    columns["first_connected_s"] = np.where(last >= 0, first, -1)
    columns["last_connected_s"] = last

    for name in COUNTS:
        column = getattr(r, name)
        columns[name] = np.add.reduceat(column, heads, dtype=_sum_type(column, int(counts.max())))
    columns["flags"] = np.bitwise_or.reduceat(r.flags, heads)
    columns["quantity_estimated"] = _estimated(r, heads, columns["flags"])
    known = np.flatnonzero(r.reading != UNKNOWN_READING)
    columns |= _readings(r, known, np.repeat(np.arange(len(heads)), counts)[known], len(heads))
    columns["records"] = counts
    columns["supplements"] = np.add.reduceat(r.part > 0, heads, dtype=np.int64)
    return _complete(columns)


# ------------------------------------------------------------------------------------------ shared


def _heads(change: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First index of every run; `change` says for rows 1 … whether one begins there."""
    return np.concatenate((np.zeros(1, np.int64), np.flatnonzero(change) + 1))


def _end_s(start_s: Any, length_tenths: Any) -> Any:
    return start_s + length_tenths // TENTHS_PER_S


def _capped(sums: Columns, room: NDArray[np.int64]) -> Columns:
    """Times of windows, none above `room` (0.1 s). States share it: each gets what those before it leave."""
    capped = {name: np.minimum(sums[name], room) for name in ("observed", "connected")}
    left = room
    for name in STATE_COLUMNS:
        capped[name] = np.minimum(sums[name], left)
        left = left - capped[name]
    return capped


def _estimated(r: Records, heads: NDArray[np.int64], flags: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Quantity of the records flagged estimated, per run; `flags` the or of each run's."""
    estimated = np.zeros(len(heads), np.int64)
    if bool((flags & np.uint32(Flag.ESTIMATED)).any()):
        marked = np.flatnonzero(r.flags & np.uint32(Flag.ESTIMATED))
        np.add.at(estimated, np.searchsorted(heads, marked, side="right") - 1, r.quantity[marked])
    return estimated


def _readings(r: Records, known: NDArray[Any], run: NDArray[Any], runs: int) -> Columns:
    """First and last reading per run from the rows `known`, given in order of run, window and part."""
    columns = {
        name: np.full(runs, -1, np.int64)
        for name in ("first_reading", "first_reading_s", "last_reading", "last_reading_s")
    }
    if len(known):
        heads = _heads(run[1:] != run[:-1])
        for name, at in (("first", heads), ("last", np.append(heads[1:], len(known)) - 1)):
            columns[f"{name}_reading"][run[at]] = r.reading[known[at]]
            columns[f"{name}_reading_s"][run[at]] = r.start[known[at]]
    return columns


def _complete(columns: Columns) -> Columns:
    columns["quantity_span_s"] = columns.pop("quantity_span")
    for name in ("supplements", "duplicates", "conflicts", "overlaps"):
        columns.setdefault(name, np.zeros(len(columns["device"]), np.int64))
    return columns
