"""A reply is credited to its own request or to none, whatever happens to the bytes on the way."""

from __future__ import annotations

import struct
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.framing import DoubtError, Exchange, Framing, SerialFraming, TcpFraming
from collectors.modbus.identification import REQUEST as IDENTIFICATION
from simulators.modbus_server import crc16

READ_2 = struct.pack(">BHH", 3, 0, 2)
REPLY_2 = bytes.fromhex("03 04 1122 3344")


def tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def rtu(unit: int, pdu: bytes) -> bytes:
    return bytes([unit]) + pdu + crc16(bytes([unit]) + pdu)


def ask(framing: Framing, unit: int = 1, pdu: bytes = READ_2, reply_bytes: int | None = 4) -> int:
    """Send a request; its transaction id (TCP)."""
    frame = framing.request(Exchange(unit, pdu[0], reply_bytes), pdu)
    return int(struct.unpack(">H", frame[:2])[0])


def test_requests_are_framed_as_the_standards_say() -> None:
    assert TcpFraming().request(Exchange(17, 3, 4), READ_2).hex(" ") == "00 01 00 00 00 06 11 03 00 00 00 02"
    # the worked example of Modbus over serial line: unit 2, function 7 has CRC 41 12
    assert SerialFraming().request(Exchange(2, 7, None), b"\x07").hex(" ") == "02 07 41 12"


@given(st.data())
def test_a_reply_may_come_in_any_pieces(data: st.DataObject) -> None:
    framing = TcpFraming()
    frame = tcp(ask(framing), 1, REPLY_2)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(frame) - 1))))
    pieces = [frame[a:b] for a, b in zip([0, *cuts], [*cuts, len(frame)], strict=True)]
    *early, last = [framing.feed(piece) for piece in pieces]
    assert early == [None] * len(early)
    assert last == REPLY_2


@given(st.data())
def test_a_serial_reply_may_come_in_any_pieces(data: st.DataObject) -> None:
    framing = SerialFraming()
    ask(framing)
    frame = rtu(1, REPLY_2)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(frame) - 1))))
    pieces = [frame[a:b] for a, b in zip([0, *cuts], [*cuts, len(frame)], strict=True)]
    *early, last = [framing.feed(piece) for piece in pieces]
    assert early == [None] * len(early)
    assert last == REPLY_2


@pytest.mark.parametrize("framing", [TcpFraming(), SerialFraming()], ids=["tcp", "serial"])
def test_an_exception_is_a_reply(framing: Framing) -> None:
    transaction = ask(framing)
    frame = tcp(transaction, 1, b"\x83\x02") if isinstance(framing, TcpFraming) else rtu(1, b"\x83\x02")
    assert framing.feed(frame) == b"\x83\x02"


def test_an_identification_tells_its_own_length_on_a_line() -> None:
    framing = SerialFraming()
    ask(framing, pdu=IDENTIFICATION, reply_bytes=None)
    pdu = bytes.fromhex("2B 0E 01 01 00 00 02") + b"\x00\x02AB" + b"\x01\x03XYZ"
    frame = rtu(1, pdu)
    assert [framing.feed(frame[n : n + 1]) for n in range(len(frame) - 1)] == [None] * (len(frame) - 1)
    assert framing.feed(frame[-1:]) == pdu


def test_a_late_reply_is_dropped_and_counted_and_the_next_one_credited() -> None:
    framing = TcpFraming()
    first = ask(framing)
    framing.give_up()
    second = ask(framing)
    late, own = tcp(first, 1, bytes.fromhex("03 04 DEAD BEEF")), tcp(second, 1, REPLY_2)
    assert framing.feed(late) is None
    assert framing.feed(own) == REPLY_2
    assert framing.late_frames == 1


def test_a_late_reply_glued_to_the_next_one_is_told_apart() -> None:
    framing = TcpFraming()
    first = ask(framing)
    framing.give_up()
    second = ask(framing)
    assert framing.feed(tcp(first, 1, bytes.fromhex("03 04 DEAD BEEF")) + tcp(second, 1, REPLY_2)) == REPLY_2


def test_a_late_reply_of_another_unit_on_a_line_is_dropped_and_counted() -> None:
    framing = SerialFraming()
    ask(framing, unit=1)
    framing.give_up()
    ask(framing, unit=2)
    assert framing.feed(rtu(1, bytes.fromhex("03 04 DEAD BEEF"))) is None
    assert framing.feed(rtu(2, REPLY_2)) == REPLY_2
    assert framing.late_frames == 1


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("an id that was never sent", lambda t: tcp(t + 7, 1, REPLY_2)),
        ("id 0", lambda t: tcp(0, 1, REPLY_2)),
        ("another unit", lambda t: tcp(t, 2, REPLY_2)),
        ("another function", lambda t: tcp(t, 1, b"\x04" + REPLY_2[1:])),
        ("too few registers", lambda t: tcp(t, 1, bytes.fromhex("03 02 1122"))),
        ("too many registers", lambda t: tcp(t, 1, bytes.fromhex("03 06 1122 3344 5566"))),
        ("a byte count that lies", lambda t: tcp(t, 1, bytes.fromhex("03 06 1122 3344"))),
        ("no Modbus at all", lambda t: b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("a length beyond a frame", lambda t: struct.pack(">HHHB", t, 0, 300, 1)),
        ("RTU frames from the TCP port", lambda t: rtu(1, REPLY_2) * 2),
    ],
)
def test_a_reply_that_does_not_fit_puts_the_link_in_doubt(why: str, change: object) -> None:
    framing = TcpFraming()
    transaction = ask(framing)
    with pytest.raises(DoubtError):
        framing.feed(change(transaction))  # type: ignore[operator]


@pytest.mark.parametrize(
    "frame",
    [
        rtu(2, REPLY_2),
        rtu(1, b"\x04" + REPLY_2[1:]),
        rtu(1, bytes.fromhex("03 02 1122")),
        rtu(1, REPLY_2)[:-1] + b"\x00",
        b"\x00" + rtu(1, REPLY_2),
    ],
    ids=["unit", "function", "length", "checksum", "noise"],
)
def test_a_serial_reply_that_does_not_fit_puts_the_link_in_doubt(frame: bytes) -> None:
    framing = SerialFraming()
    ask(framing)
    with pytest.raises(DoubtError):
        framing.feed(frame)


def test_the_same_reply_twice_is_credited_once() -> None:
    framing = TcpFraming()
    frame = tcp(ask(framing), 1, REPLY_2)
    assert framing.feed(frame) == REPLY_2
    with pytest.raises(DoubtError):
        framing.feed(frame)


def test_transaction_ids_go_round_without_0() -> None:
    framing = TcpFraming()
    seen = set()
    for _ in range(70_000):
        seen.add(ask(framing))
        framing.give_up()
    assert seen == set(range(1, 0x10000))


Event = tuple[str, int]
EVENTS = st.lists(
    st.tuples(st.sampled_from(["ask", "reply", "late", "wrong", "noise", "give up"]), st.integers(0, 255)), max_size=40
)


@pytest.mark.parametrize("make", [TcpFraming, SerialFraming])
@given(events=EVENTS)
def test_no_order_of_faults_credits_a_value_to_another_request(
    make: type[TcpFraming] | type[SerialFraming], events: list[Event]
) -> None:
    """Each request carries a mark that only its own reply holds; whatever is credited must bear it.

    On a line a unit rests after a missed reply (the breaker sees to it), so every request here goes
    to a unit of its own.
    """
    framing = make()
    marks: list[tuple[int, int]] = []  # (transaction, unit) of every request; the mark is its index

    def frame_of(index: int) -> bytes:
        transaction, unit = marks[index]
        pdu = struct.pack(">BBI", 3, 4, index)
        return tcp(transaction, unit, pdu) if make is TcpFraming else rtu(unit, pdu)

    pending: int | None = None
    for kind, number in events:
        data = b""
        if kind == "ask":
            if pending is not None:
                framing.give_up()
            pending = len(marks)
            marks.append((ask(framing, unit=pending % 247 + 1), pending % 247 + 1))
        elif kind == "give up":
            framing.give_up()
            pending = None
        elif kind == "reply" and pending is not None:
            data = frame_of(pending)
        elif kind == "late" and marks:
            data = frame_of(number % len(marks))
        elif kind == "wrong" and marks:
            data = bytearray(frame_of(number % len(marks)))
            data[number % len(data)] ^= 1 + number % 254
            data = bytes(data)
        elif kind == "noise":
            data = bytes([number]) * (number % 9)
        with suppress(DoubtError):
            reply = framing.feed(data)
            if reply is not None and kind != "wrong":
                assert pending is not None
                assert reply == struct.pack(">BBI", 3, 4, pending)
                pending = None
            elif reply is not None:
                pending = None
            continue
        framing.reset()
        pending = None


@pytest.mark.long
@pytest.mark.parametrize("make", [TcpFraming, SerialFraming])
def test_a_million_mangled_frames_credit_no_value_to_another_request(
    make: type[TcpFraming] | type[SerialFraming],
) -> None:
    """Seeded: each reply is cut, doubled, delayed, mixed with noise or another's, or left as it is.

    A delayed reply comes before its unit is asked again: on a line the unit's rest sees to that. Lines and RTU over
    TCP have one framing; `test_link_faults.py` goes over real sockets and lines. A reply left as it is comes through
    at once, whatever was before it.
    """
    random = Random(20261123)
    framing = make()
    waiting: list[tuple[int, bytes]] = []
    credited = wrong = 0
    for number in range(1_000_000):
        unit = number % 247 + 1
        transaction = ask(framing, unit=unit)
        pdu = struct.pack(">BBI", 3, 4, number)
        frame = tcp(transaction, unit, pdu) if make is TcpFraming else rtu(unit, pdu)
        fault = random.randrange(8)
        if fault == 0:
            waiting.append((number, frame))
            frame = b""
        elif fault == 1:
            frame = frame[: random.randrange(len(frame))]
        elif fault == 2:
            frame = random.randbytes(random.randrange(1, 9)) + frame
        elif fault == 3 and waiting:
            frame = waiting.pop(random.randrange(len(waiting)))[1] + frame
        elif fault == 4:
            frame = frame + frame
        while waiting and number - waiting[0][0] > 200:
            del waiting[0]
        is_whole = fault > 4
        try:
            reply = framing.feed(frame)
        except DoubtError:
            assert not is_whole
            framing.reset()
            continue
        assert reply is not None or not is_whole
        if reply is not None:
            credited += 1
            wrong += reply != pdu
        if framing.give_up():
            framing.reset()
    assert wrong == 0
    assert credited > 300_000
