"""Which requests a poll needs: neighbouring registers in one request, blocks never torn."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.modbus.codec import Decoder, Place
from collectors.modbus.point import FUNCTION_OF, REGISTERS_OF, Point
from collectors.modbus.profile import ModbusProfile

_BIT_TABLES: Final = ("coil", "discrete")
_MAX_BITS: Final = 2000


Cut = tuple[int, int]
"""Function code and address: a request must not reach over it from below."""


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
    pieces: tuple[tuple[range, ...], ...]
    """For each request the registers that somebody asked for, in parts that only come together."""

    def cuts_in(self, request: Request) -> frozenset[Cut]:
        """Where to cut a request that the device refused: at all its gaps; where it has none, in the middle. None
        where it is in one piece already."""
        pieces = self.pieces[self.requests.index(request)]
        gaps = {after.start for before, after in pairwise(pieces) if after.start > before.stop}
        middle = {pieces[len(pieces) // 2].start} if len(pieces) > 1 else set()
        return frozenset((request.function, address) for address in gaps or middle)


@dataclass(frozen=True, slots=True)
class _Span:
    """Registers that must come by one request: one point, or all points of a block."""

    first: int
    end: int
    points: tuple[tuple[int, Point], ...]


def polls_of(profile: ModbusProfile, cuts: Collection[Cut] = ()) -> tuple[Poll, ...]:
    """The profile's polls, most frequent first. `cuts`: what was learnt from requests that the device refused."""
    rates = sorted({point.every_s or profile.every_s for point in profile.points})
    return tuple(_poll(profile, every_s, cuts) for every_s in rates)


def _poll(profile: ModbusProfile, every_s: float, cuts: Collection[Cut]) -> Poll:
    requests: list[Request] = []
    pieces: list[tuple[range, ...]] = []
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
        begins = {address for of_function, address in cuts if of_function == function}
        for group in _coalesced(_spans(profile, points), profile.gap_limit, limit, begins, holes):
            request = Request(function, group[0].first, max(span.end for span in group) - group[0].first)
            requests.append(request)
            pieces.append(_pieces(group))
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
    return Poll(every_s, tuple(requests), decoder, rows, tuple(pieces))


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


def _pieces(group: Sequence[_Span]) -> tuple[range, ...]:
    """The registers of a request, those that overlap together."""
    pieces: list[range] = []
    for span in group:
        if pieces and span.first < pieces[-1].stop:
            pieces[-1] = range(pieces[-1].start, max(pieces[-1].stop, span.end))
        else:
            pieces.append(range(span.first, span.end))
    return tuple(pieces)


def _coalesced(
    spans: Sequence[_Span], gap_limit: int, limit: int, begins: Collection[int], holes: Sequence[range]
) -> list[list[_Span]]:
    """Spans by request. No request reaches over a hole, nor from below over an address in `begins`."""
    groups: list[list[_Span]] = []
    for span in spans:
        if groups:
            first, end = groups[-1][0].first, max(s.end for s in groups[-1])
            over_hole = any(hole.start < span.first and hole.stop > end for hole in holes)
            is_cut = span.first in begins and span.first >= end
            permitted_gap = 0 if over_hole else gap_limit
            if not is_cut and span.first - end <= permitted_gap and max(end, span.end) - first <= limit:
                groups[-1].append(span)
                continue
        groups.append([span])
    return groups
