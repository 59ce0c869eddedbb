"""From a poll's raw bytes to float columns: pure, vectorised, compiled once per profile and poll group.

A poll of many values is gathered byte by byte into native order: one fancy index and one view per type,
whatever the word order. A poll of few values is unpacked by one `struct`, which costs less than numpy's calls.
Nothing here touches a socket or a clock.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from collectors.modbus.point import REGISTERS_OF, Point, state_code
from collectors.modbus.profile import ModbusProfile
from collectors.model import Role

_DTYPES: Final[Mapping[str, str]] = {
    "u16": "<u2",
    "i16": "<i2",
    "u32": "<u4",
    "i32": "<i4",
    "u64": "<u8",
    "i64": "<i8",
    "f32": "<f4",
    "f64": "<f8",
}
_CODES: Final[Mapping[str, str]] = {
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
    "f32": "f",
    "f64": "d",
    "bit": "B",
}
_FEW: Final = 32
"""Values up to which one struct is quicker than one gather for each type."""
_PLAIN_ORDER: Final = "ABCDEFGH"
_BIT, _BCD = "bit", "bcd"
_MAX_DIGIT: Final = 9
_LARGEST_EXPONENT: Final = 10
"""Scale registers hold -10 to 10; more is "not implemented" (SunSpec writes -32768) or nonsense."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Column = TypeVar("Column", bound=NDArray[Any])


@dataclass(frozen=True, slots=True)
class Place:
    """A point and where its bytes begin in the poll's raw bytes (`bit_offset` for coils: of that byte)."""

    tag: int
    point: Point
    at_byte: int
    bit_offset: int | None = None


@dataclass(frozen=True, slots=True)
class _Family:
    """Points of one type, decoded together into the rows `rows`."""

    kind: str
    rows: slice
    gather: NDArray[np.intp]
    dtype: np.dtype[Any] | None
    width_bytes: int
    absent: tuple[tuple[int, float], ...]
    """(position within the family, raw value that means "not there")."""
    shifts: NDArray[np.uint8]


class Decoder:
    """Decodes one poll. `tag[i]` is the tag of row i; rows are ordered by type, not by tag."""

    def __init__(self, profile: ModbusProfile, places: Sequence[Place], size_bytes: int) -> None:
        self.size_bytes = size_bytes
        families: list[_Family] = []
        ordered: list[Place] = []
        kinds = {place.point.type: None for place in places}
        for kind in kinds:
            members = [place for place in places if place.point.type == kind]
            rows = slice(len(ordered), len(ordered) + len(members))
            families.append(_family(kind, members, rows, profile))
            ordered += members
        self._families = tuple(families)
        self._few = _Few(profile, ordered, size_bytes) if len(ordered) <= _FEW else None
        self.tag = _constant(np.array([place.tag for place in ordered], np.uint16))
        self.first_byte: NDArray[np.intp] = np.array([place.at_byte for place in ordered], np.intp)
        """Where each row's bytes begin: tells which request brought it."""
        self.all_good = _constant(np.zeros(len(ordered), np.uint8))
        """Qualities of a poll without a bad value, shared by all of them."""
        self.no_source = _constant(np.zeros(len(ordered), np.int64))
        """Modbus carries no source time."""
        divisor, factor = _divisors_and_factors([place.point for place in ordered])
        self._divisor = divisor if np.any(divisor != 1.0) else None
        self._factor = factor if np.any(factor != 1.0) else None
        offset = np.array([place.point.offset for place in ordered])
        self._offset = offset if np.any(offset != 0.0) else None
        self._products = _products(ordered)
        self._states = tuple((row, p.point) for row, p in enumerate(ordered) if p.point.quantity.role is Role.STATE)

    def decode(self, raw: bytes) -> tuple[Floats, Flags | None]:
        """Values of all rows, and which of them are bad; None when all are good.

        A value that is not a number, not a digit, "not there" or no known state is bad; its value is NaN.
        """
        values = self._few.values(raw) if self._few is not None else self._many(raw)
        bad: Flags | None = None
        if self._divisor is not None:
            values /= self._divisor
        if self._factor is not None:
            values *= self._factor
        if self._offset is not None:
            values += self._offset
        for rows, ratios, exponent in self._products:
            values[rows] *= _product(values, ratios, exponent)
        # the sum tells whether any is not finite; one that overflows only costs the closer look
        if not math.isfinite(sum(values.tolist())):
            bad = ~np.isfinite(values)
            values[bad] = np.nan
            if not bad.any():
                bad = None
        return values, bad

    def _many(self, raw: bytes) -> Floats:
        """Raw values, type by type."""
        data = np.frombuffer(raw, np.uint8)
        values = np.empty(len(self.tag), np.float64)
        for family in self._families:
            if family.dtype is not None:
                numbers = data[family.gather].view(family.dtype)
                values[family.rows] = numbers
                for position, absent in family.absent:
                    if numbers[position] == absent:
                        values[family.rows.start + position] = np.nan
            elif family.kind == _BIT:
                values[family.rows] = data[family.gather] >> family.shifts & 1
            else:
                values[family.rows] = _bcd(data[family.gather].reshape(-1, family.width_bytes))
        for row, point in self._states:
            values[row] = _state_of(point, values[row])
        return values


class _Few:
    """Raw values of a few points by one struct, then one call for each that is no plain number."""

    def __init__(self, profile: ModbusProfile, ordered: Sequence[Place], size_bytes: int) -> None:
        gather: list[int] = []
        codes = ""
        special: list[tuple[int, Callable[[Any], float]]] = []
        for row, place in enumerate(ordered):
            point = place.point
            gather += _wire_bytes(place)
            codes += f"{2 * REGISTERS_OF[point.type]}s" if point.type.startswith(_BCD) else _CODES[point.type]
            reader = _reader(profile, place)
            if reader is not None:
                special.append((row, reader))
        # bytes that lie in order already need no gathering, but padding over what nobody asked for
        in_order = all(before < after for before, after in pairwise(gather))
        self._gather = None if in_order else np.array(gather, np.intp)
        self._unpack = struct.Struct(_padded(ordered, size_bytes) if in_order else f">{codes}").unpack
        self._special = tuple(special)

    def values(self, raw: bytes) -> Floats:
        """One value for each row; NaN where it is bad."""
        if self._gather is not None:
            raw = np.frombuffer(raw, np.uint8)[self._gather].tobytes()
        numbers = self._unpack(raw)
        if self._special:
            changed = list(numbers)
            for row, reader in self._special:
                changed[row] = reader(changed[row])
            return np.array(changed, np.float64)
        return np.array(numbers, np.float64)


def _wire_bytes(place: Place) -> list[int]:
    """Where the bytes of a value lie in the raw data, the most significant first."""
    point = place.point
    if point.type == _BIT:
        # a bit of a register: bits 0-7 are in its second byte
        return [place.at_byte + (1 if place.bit_offset is None and (point.bit or 0) < 8 else 0)]
    width = 2 * REGISTERS_OF[point.type]
    order = point.order or _PLAIN_ORDER[:width]
    return [place.at_byte + order.index(letter) for letter in _PLAIN_ORDER[:width]]


def _padded(ordered: Sequence[Place], size_bytes: int) -> str:
    """The struct of values that lie in the raw data one after the other, each in plain order."""
    code, at = ">", 0
    for place in ordered:
        wire = _wire_bytes(place)
        code += f"{wire[0] - at}x" if wire[0] > at else ""
        code += f"{len(wire)}s" if place.point.type.startswith(_BCD) else _CODES[place.point.type]
        at = wire[-1] + 1
    return code + (f"{size_bytes - at}x" if size_bytes > at else "")


def _reader(profile: ModbusProfile, place: Place) -> Callable[[Any], float] | None:
    """What turns an unpacked value into the raw value where it is no plain number; None where it is."""
    point = place.point
    if point.type == _BIT:
        shift = (place.bit_offset if place.bit_offset is not None else point.bit or 0) % 8
        return lambda byte: float(byte >> shift & 1)
    if point.type.startswith(_BCD):
        return _digits
    absent = frozenset(profile.absent_of(point))
    if point.quantity.role is Role.STATE:
        return lambda word: math.nan if word in absent else _state_of(point, word)
    # compared as floats, as the profile's numbers are: 2^64 - 1 is none
    return (lambda number: math.nan if float(number) in absent else float(number)) if absent else None


def _digits(raw: bytes) -> float:
    """Packed decimal digits; NaN where a digit is above 9."""
    text = raw.hex()
    return float(text) if text.isdecimal() else math.nan


def _products(ordered: Sequence[Place]) -> tuple[tuple[NDArray[np.intp], tuple[int, ...], int | None], ...]:
    """Rows that share their ratios and scale register, with the rows of these."""
    row_of = {place.point.tag: row for row, place in enumerate(ordered)}
    shared: dict[tuple[tuple[str, ...], str | None], list[int]] = {}
    for row, place in enumerate(ordered):
        if place.point.times or place.point.exponent:
            shared.setdefault((place.point.times, place.point.exponent), []).append(row)
    return tuple(
        (np.array(rows, np.intp), tuple(row_of[name] for name in times), None if exponent is None else row_of[exponent])
        for (times, exponent), rows in shared.items()
    )


def _product(values: Floats, ratios: tuple[int, ...], exponent: int | None) -> float:
    """What these rows are multiplied by; NaN where a ratio is not above 0 or a scale register makes no sense."""
    factor = 1.0
    for row in ratios:
        ratio = float(values[row])
        factor *= ratio if 0 < ratio < np.inf else np.nan
    if exponent is not None:
        power = float(values[exponent])
        factor *= 10.0**power if abs(power) <= _LARGEST_EXPONENT else np.nan
    return factor


def _constant(column: Column) -> Column:
    """Shared between batches, so nobody may write into it."""
    column.flags.writeable = False
    return column


def _family(kind: str, members: Sequence[Place], rows: slice, profile: ModbusProfile) -> _Family:
    absent = tuple((position, raw) for position, m in enumerate(members) for raw in profile.absent_of(m.point))
    if kind == _BIT:
        # a bit of a register: bits 0-7 are in its second byte
        at = [
            m.at_byte if m.bit_offset is not None else m.at_byte + (1 if (m.point.bit or 0) < 8 else 0) for m in members
        ]
        shifts = [(m.bit_offset if m.bit_offset is not None else m.point.bit or 0) % 8 for m in members]
        return _Family(_BIT, rows, np.array(at, np.intp), None, 1, (), np.array(shifts, np.uint8))
    width = 2 * REGISTERS_OF[kind]
    gather = []
    for member in members:
        order = member.point.order or _PLAIN_ORDER[:width]
        big_endian = [member.at_byte + order.index(letter) for letter in _PLAIN_ORDER[:width]]
        gather += big_endian if kind.startswith(_BCD) else big_endian[::-1]
    dtype = None if kind.startswith(_BCD) else np.dtype(_DTYPES[kind])
    name = _BCD if dtype is None else kind
    absent = absent if dtype is not None else ()
    return _Family(name, rows, np.array(gather, np.intp), dtype, width, absent, np.zeros(0, np.uint8))


def _divisors_and_factors(points: Sequence[Point]) -> tuple[Floats, Floats]:
    """0.1 becomes a division by 10, which is exact where a product with 0.1 is not."""
    divisor, factor = np.ones(len(points)), np.ones(len(points))
    for row, point in enumerate(points):
        inverse = 1.0 / point.scale
        if point.scale < 1.0 and abs(inverse - round(inverse)) < 1e-9 * inverse:
            divisor[row] = round(inverse)
        else:
            factor[row] = point.scale
    return divisor, factor


def _bcd(digits: NDArray[np.uint8]) -> Floats:
    """Packed decimal digits, most significant byte first (rows × bytes); NaN where a digit is above 9."""
    high, low = digits >> 4, digits & 0x0F
    pairs = high * 10.0 + low
    weights = 100.0 ** np.arange(digits.shape[1] - 1, -1, -1)
    return np.where(((high > _MAX_DIGIT) | (low > _MAX_DIGIT)).any(axis=1), np.nan, pairs @ weights)


def _state_of(point: Point, raw: float) -> float:
    """Code of the state that a word says; NaN for one that the profile does not know."""
    if not np.isfinite(raw):
        return float("nan")
    word = int(raw)
    if point.states is not None:
        state = point.states.get(word)
        return float("nan") if state is None else float(state_code(state))
    for bit_state in point.bit_states:
        if word >> bit_state.bit & 1:
            return float(state_code(bit_state.state))
    return float(state_code(point.otherwise or "unknown"))
