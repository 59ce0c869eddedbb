"""Which requests a poll needs: neighbouring registers in one request, blocks never torn."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.modbus.codec import Decoder, Place
from collectors.modbus.point import FUNCTION_OF, REGISTERS_OF, Point
from collectors.modbus.profile import ModbusProfile

_BIT_TABLES: Final = ("coil", "discrete")
_MAX_BITS: Final = 2000


@dataclass(frozen=True, slots=True)
class Request:
    """One read: `count` registers (or bits) from protocol address `address`."""

    function: int
    address: int
    count: int

    @property
    def pdu(self) -> bytes:
        """Function code and its two fields."""
        return struct.pack(">BHH", self.function, self.address, self.count)

    @property
    def reply_bytes(self) -> int:
        """Bytes of data in the reply."""
        return (self.count + 7) // 8 if self.function <= FUNCTION_OF["discrete"] else 2 * self.count


@dataclass(frozen=True, slots=True)
class Poll:
    """What is read together every `every_s`: its requests in order, and their decoder."""

    every_s: float
    requests: tuple[Request, ...]
    decoder: Decoder
    request_of_row: NDArray[np.intp]
    """Index of the request that brings each row of the decoder."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Registers that must come by one request: one point, or all points of a block."""

    first: int
    end: int
    points: tuple[tuple[int, Point], ...]


def polls_of(profile: ModbusProfile, apart: Collection[Request] = ()) -> tuple[Poll, ...]:
    """The profile's polls, most frequent first.

    `apart`: requests that the device refused; their registers are read without any gap.
    """
    rates = sorted({point.every_s or profile.every_s for point in profile.points})
    return tuple(_poll(profile, every_s, apart) for every_s in rates)


def _poll(profile: ModbusProfile, every_s: float, apart: Collection[Request]) -> Poll:
    requests: list[Request] = []
    places: list[Place] = []
    offset = 0
    for table, function in FUNCTION_OF.items():
        points = [
            (tag, point)
            for tag, point in enumerate(profile.points)
            if (point.every_s or profile.every_s) == every_s and (point.table or profile.table) == table
        ]
        limit = _MAX_BITS if table in _BIT_TABLES else profile.max_registers
        holes = [
            range(hole.first - profile.count_from, hole.last - profile.count_from + 1)
            for hole in profile.holes
            if (hole.table or profile.table) == table
        ]
        refused = [request for request in apart if request.function == function]
        for group in _coalesced(_spans(profile, points), profile.gap_limit, limit, refused, holes):
            request = Request(function, group[0].first, max(span.end for span in group) - group[0].first)
            requests.append(request)
            for span in group:
                for tag, point in span.points:
                    within = profile.address_of(point) - request.address
                    if table in _BIT_TABLES:
                        places.append(Place(tag, point, offset + within // 8, within % 8))
                    else:
                        places.append(Place(tag, point, offset + 2 * within))
            offset += request.reply_bytes
    decoder = Decoder(profile, places, offset)
    ends: list[int] = []
    for request in requests:
        ends.append((ends[-1] if ends else 0) + request.reply_bytes)
    rows = np.searchsorted(np.asarray(ends), decoder.first_byte, side="right")
    return Poll(every_s, tuple(requests), decoder, rows)


def _spans(profile: ModbusProfile, points: Sequence[tuple[int, Point]]) -> list[_Span]:
    blocks: dict[str, list[tuple[int, Point]]] = {}
    for tag, point in points:
        blocks.setdefault(point.block or f"\0{tag}", []).append((tag, point))
    spans = []
    for members in blocks.values():
        first = min(profile.address_of(point) for _, point in members)
        end = max(profile.address_of(point) + REGISTERS_OF[point.type] for _, point in members)
        spans.append(_Span(first, end, tuple(members)))
    return sorted(spans, key=lambda span: (span.first, span.end))


def _coalesced(
    spans: Sequence[_Span], gap_limit: int, limit: int, refused: Collection[Request], holes: Sequence[range]
) -> list[list[_Span]]:
    """Spans by request. What lies within a refused request is joined only where nothing lies between; no
    request reaches over a hole."""
    groups: list[list[_Span]] = []
    for span in spans:
        if groups:
            first, end = groups[-1][0].first, max(s.end for s in groups[-1])
            in_refused = any(r.address <= first and span.end <= r.address + r.count for r in refused)
            over_hole = any(hole.start < span.first and hole.stop > end for hole in holes)
            permitted_gap = 0 if in_refused or over_hole else gap_limit
            if span.first - end <= permitted_gap and max(end, span.end) - first <= limit:
                groups[-1].append(span)
                continue
        groups.append([span])
    return groups
