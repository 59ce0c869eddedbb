"""From a poll's raw bytes to float columns: pure, vectorised, compiled once per profile and poll group.

Every value is gathered byte by byte into native order, so that any word order costs the same: one
fancy index and one view per type. Nothing here touches a socket or a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from collectors.modbus.profile import REGISTERS_OF, ModbusProfile, Point, state_code
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
        data = np.frombuffer(raw, np.uint8)
        values = np.empty(len(self.tag), np.float64)
        bad: Flags | None = None
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
        if self._divisor is not None:
            values /= self._divisor
        if self._factor is not None:
            values *= self._factor
        if self._offset is not None:
            values += self._offset
        for rows, ratios, exponent in self._products:
            values[rows] *= _product(values, ratios, exponent)
        good = np.isfinite(values)
        if not good.all():
            bad = ~good
            values[bad] = np.nan
        return values, bad


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
