"""Reduce windows to one row per device: the arithmetic behind `metrics.days.day_states`.

Three tiers give the same integers; each hands on what it cannot do:

- *dense*: every device has the same windows, one record each, in order (a plant without trouble);
- *slots*: windows of one length, aligned, in any order, with holes and supplements; sums need no order,
  so nothing is sorted: a table of slots shows that no key comes twice;
- *sorted*: everything else (records sent twice, windows of several lengths, overlaps).

Rows are worked through in blocks of whole devices that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from metrics.record import DAY_S, MAX_WINDOW_S, STATE_COLUMNS, TENTHS_PER_S, UNKNOWN_READING, Flag, Records

Columns = dict[str, NDArray[Any]]
"""Rows per device under the names of metrics.days.DAY_COLUMNS, without `day`."""

BLOCK_ROWS: Final = 1 << 18
TIMES: Final = ("observed", "connected", *STATE_COLUMNS)
COUNTS: Final = ("quantity", "quantity_idle", "quantity_span", "parts", "good", "bad")
_TABLE_PER_ROW: Final = 8  # slots a row may cost before sorting is the cheaper proof
_LANE_GROUP_MIN: Final = 8
_LENGTH_MAX: Final = MAX_WINDOW_S * TENTHS_PER_S
_INT64_MAX: Final = int(np.iinfo(np.int64).max)


def reduce_windows(records: Records, position: NDArray[np.int64] | None, day_start_s: int) -> list[Columns]:
    """Rows of every device with records, in blocks by ascending device.

    `records` of one local day that starts at `day_start_s` (s UTC), any order; `position` (n,) of each
    in the journal, None: as given. Raises OverflowError where a device's counts leave 63 bits.
    """
    if len(records) == 0:
        return []
    device = records.device
    if not bool((device[1:] >= device[:-1]).all()):
        # A radix sort where the table is small; stable, so each device keeps its order.
        narrow = device.astype(np.uint16) if int(device.max()) < 1 << 16 else device
        order = np.argsort(narrow, kind="stable")
        records = records.take(order)
        position = order if position is None else position[order]
    reduced: list[Columns] = []
    for rows in _blocks(records.device):
        block = records.take(rows)
        reduced.append(
            _dense(block) or _slots(block, day_start_s) or _sorted(block, None if position is None else position[rows])
        )
    return reduced


def _blocks(device: NDArray[np.uint32]) -> Iterator[slice]:
    """Slices of whole devices, each of at least BLOCK_ROWS rows but the last."""
    begin = 0
    while begin < len(device):
        last = min(begin + BLOCK_ROWS, len(device)) - 1
        end = int(np.searchsorted(device, device[last], side="right"))
        yield slice(begin, end)
        begin = end


# ------------------------------------------------------------------------------------------- dense


def _dense(r: Records) -> Columns | None:
    """One record per device and window, the same windows for all, in order. None: it is not so."""
    n = len(r)
    first_device = r.device[0]
    width = int(np.searchsorted(r.device, first_device, side="right"))
    rows, rest = divmod(n, width)
    length = int(r.length[0])
    if rest or int(r.part.max()) or int(r.length.max()) != length or int(r.length.min()) != length:
        return None
    table = r.device.reshape(rows, width)
    starts = r.start[:width]
    regular = (
        bool((table == table[:, :1]).all())
        and bool((np.diff(table[:, 0]) > 0).all())
        and bool((np.diff(starts) * TENTHS_PER_S >= length).all())
        and bool((r.start.reshape(rows, width) == starts).all())
    )
    if not regular or not _within(r, length):
        return None
    columns: Columns = {name: _table_sums(getattr(r, name), rows, width) for name in (*TIMES, *COUNTS)}
    columns["device"] = table[:, 0]
    if int(r.connected.min()) > 0:
        columns["first_connected_s"] = np.full(rows, starts[0])
        columns["last_connected_s"] = np.full(rows, _end_s(starts[-1], length))
    else:
        proven = r.connected.reshape(rows, width) != 0
        ever = proven.any(axis=1)
        first = starts[proven.argmax(axis=1)]
        last = starts[width - 1 - proven[:, ::-1].argmax(axis=1)]
        columns["first_connected_s"] = np.where(ever, first, -1)
        columns["last_connected_s"] = np.where(ever, _end_s(last, length), -1)
    heads = np.arange(0, n, width)
    columns["flags"] = np.bitwise_or.reduce(r.flags.reshape(rows, width), axis=1)
    columns["quantity_estimated"] = _estimated(r, heads)
    known = np.flatnonzero(r.reading != UNKNOWN_READING)
    columns |= _readings(r, known, known // width, rows)
    columns["records"] = np.full(rows, width)
    return _complete(columns)


def _within(r: Records, length: int) -> bool:
    """Whether no record needs capping: every time and the sum of states are at most the window."""
    if length > _LENGTH_MAX or max(int(getattr(r, name).max()) for name in TIMES) > length:
        return False
    states = r.running + r.idle  # each is at most _LENGTH_MAX, so 16 bits hold the four of them
    states += r.fault
    states += r.off
    return int(states.max()) <= length


def _table_sums(column: NDArray[Any], rows: int, width: int) -> NDArray[Any]:
    """Sums (rows,) of each row of a (rows, width) table of unsigned or 64-bit integers, exact.

    Narrow columns are added as 64-bit words of several lanes, as many at a time as no lane can overflow.
    """
    top = int(column.max())
    _require_63_bits(top, width)
    lanes = 8 // column.itemsize
    if lanes == 1:
        return column.reshape(rows, width).sum(axis=1, dtype=np.int64)
    if top == 0:
        return np.zeros(rows, np.int64)
    words, rest = divmod(width, lanes)
    lane_bits = 64 // lanes
    lane_max = (1 << lane_bits) - 1
    group = next((g for g in range(min(words, lane_max // top), 0, -1) if words % g == 0), 0)
    if rest or group < _LANE_GROUP_MIN or not column.flags.c_contiguous:
        return column.reshape(rows, width).sum(axis=1, dtype=np.int64)
    added = column.view(np.uint64).reshape(rows, words // group, group).sum(axis=2)
    total = np.zeros(rows, np.uint64)
    for lane in range(lanes):
        total += ((added >> np.uint64(lane * lane_bits)) & np.uint64(lane_max)).sum(axis=1)
    return total.astype(np.int64)


# ------------------------------------------------------------------------------------------- slots


def _slots(r: Records, day_start_s: int) -> Columns | None:
    """Aligned windows of one length, in any order within a device, each key once. None: it is not so."""
    length = int(r.length[0])
    length_s, rest = divmod(length, TENTHS_PER_S)
    if rest or length_s == 0 or int(r.length.max()) != length or int(r.length.min()) != length:
        return None
    n = len(r)
    heads = _heads(r.device[1:] != r.device[:-1])
    per_device = -(-DAY_S // length_s)
    if len(heads) * per_device > _TABLE_PER_ROW * n:
        return None
    since_s = (r.start - day_start_s).astype(np.uint32)
    slot = since_s // np.uint32(length_s)
    if not bool((slot * np.uint32(length_s) == since_s).all()):
        return None
    counts = np.diff(heads, append=n)
    slot += np.repeat(np.arange(len(heads), dtype=np.uint32) * np.uint32(per_device), counts)
    late = np.flatnonzero(r.part)
    row_of_slot = np.full(len(heads) * per_device, n, np.uint32)
    row = np.arange(n, dtype=np.uint32)
    if len(late):
        on_time = r.part == 0
        row_of_slot[slot[on_time]] = row[on_time]
    else:
        row_of_slot[slot] = row
    if int(np.count_nonzero(row_of_slot != n)) != n - len(late):
        return None
    late_slot = slot[late]
    if len(late) and len(np.unique(late_slot.astype(np.int64) << 8 | r.part[late])) != len(late):
        return None
    if not _within(r, length):
        return None

    columns: Columns = {name: _run_sums(getattr(r, name), heads, counts) for name in (*TIMES, *COUNTS)}
    if len(late):
        windows, member = np.unique(late_slot, return_inverse=True)
        owner = row_of_slot[windows]
        owned = owner != n
        sums: Columns = {}
        for name in TIMES:
            column = getattr(r, name)
            added = np.zeros(len(windows), np.int64)
            np.add.at(added, member, column[late])
            added[owned] += column[owner[owned]]
            sums[name] = added
        capped = _capped(sums, np.full(len(windows), length))
        for name in TIMES:
            np.subtract.at(columns[name], windows // per_device, sums[name] - capped[name])
    columns["device"] = r.device[heads]
    first, last = _proof_bounds(r.start, r.connected, heads)
    columns["first_connected_s"] = first
    columns["last_connected_s"] = np.where(last >= 0, _end_s(last, length), -1)
    columns["flags"] = np.bitwise_or.reduceat(r.flags, heads)
    columns["quantity_estimated"] = _estimated(r, heads)
    known = np.flatnonzero(r.reading != UNKNOWN_READING)
    if len(known):
        # In order of window and part, without sorting: slot, part and row packed in one integer.
        packed = (slot[known].astype(np.int64) << 8 | r.part[known]) << 32 | known
        if not bool((packed[1:] > packed[:-1]).all()):
            packed.sort()
            known = packed & 0xFFFFFFFF
    columns |= _readings(r, known, slot[known] // per_device, len(heads))
    columns["records"] = counts
    if len(late):
        columns["supplements"] = np.bincount(late_slot // per_device, minlength=len(heads))
    return _complete(columns)


def _run_sums(column: NDArray[Any], heads: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exact sums of the runs that begin at `heads`."""
    top = int(column.max())
    longest = int(counts.max())
    _require_63_bits(top, longest)
    if top == 0:
        return np.zeros(len(heads), np.int64)
    narrow = column.itemsize < 8 and top * longest < 1 << 32
    return np.add.reduceat(column, heads, dtype=np.uint32 if narrow else np.int64).astype(np.int64)


def _proof_bounds(
    start: NDArray[np.int64], connected: NDArray[Any], heads: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start of the first and of the last window with a proof, per run; -1: none."""
    if int(connected.min()) > 0:
        return np.minimum.reduceat(start, heads), np.maximum.reduceat(start, heads)
    proven = connected != 0
    last = np.maximum.reduceat(np.where(proven, start, -1), heads)
    first = np.minimum.reduceat(np.where(proven, start, _INT64_MAX), heads)
    return np.where(last >= 0, first, -1), last


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
        columns[name] = _run_sums(getattr(r, name), heads, counts)
    columns["flags"] = np.bitwise_or.reduceat(r.flags, heads)
    columns["quantity_estimated"] = _estimated(r, heads)
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


def _estimated(r: Records, heads: NDArray[np.int64]) -> NDArray[np.int64]:
    """Quantity of the records flagged estimated, per run."""
    marked = np.flatnonzero(r.flags & np.uint32(Flag.ESTIMATED))
    estimated = np.zeros(len(heads), np.int64)
    if len(marked):
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


def _require_63_bits(top: int, terms: int) -> None:
    if top * terms > _INT64_MAX:
        raise OverflowError(f"{terms} values up to {top} leave 63 bits")
