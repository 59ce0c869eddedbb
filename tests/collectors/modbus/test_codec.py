"""Every register type in every word order, scales, absent values, bits and states."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.device import reading_of
from collectors.modbus.plan import polls_of
from collectors.modbus.point import ORDERS, REGISTERS_OF
from collectors.modbus.profile import ModbusProfile
from collectors.model import Quality

FORMATS = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
BASE: dict[str, Any] = {
    "profile": "test",
    "protocol": "modbus",
    "device_class": "plc",
    "evidence": "native",
    "title_zh": "测试",
    "title_en": "test",
    "source": {"document": "this test"},
    "liveness_s": 5,
}


def profile(points: list[dict[str, Any]], **more: Any) -> ModbusProfile:
    return ModbusProfile.model_validate(BASE | {"points": points} | more)


def decode(subject: ModbusProfile, raw: bytes) -> dict[str, float | None]:
    (poll,) = polls_of(subject)
    assert len(poll.requests) == 1
    assert poll.requests[0].reply_bytes == len(raw)
    samples = reading_of(poll, [raw], [1]).samples
    return {
        subject.tags[tag].name: None if quality == Quality.BAD else value
        for tag, value, quality in zip(
            samples.tag.tolist(), samples.value.tolist(), samples.quality.tolist(), strict=True
        )
    }


def on_the_wire(big_endian: bytes, order: str) -> bytes:
    """The bytes of a value as a device with that order sends them; A is the most significant."""
    return bytes(big_endian["ABCDEFGH".index(letter)] for letter in order)


@pytest.mark.parametrize("kind", FORMATS)
@given(data=st.data())
def test_every_type_comes_back_from_every_order(kind: str, data: st.DataObject) -> None:
    width = REGISTERS_OF[kind]
    if kind.startswith("f"):
        number = data.draw(st.floats(allow_nan=False, allow_infinity=False, width=16 * width))
    else:
        bits = 16 * width
        least, most = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        number = data.draw(st.integers(least, most))
    order = data.draw(st.sampled_from(ORDERS[width]))
    raw = on_the_wire(struct.pack(f">{FORMATS[kind]}", number), order)
    subject = profile([{"tag": "x", "unit": "1", "at": 7, "type": kind, "order": order}])
    assert decode(subject, raw) == {"x": float(number)}


@pytest.mark.parametrize(("kind", "digits"), [("bcd16", 4), ("bcd32", 8), ("bcd64", 16)])
@given(data=st.data())
def test_packed_digits_come_back_from_every_order(kind: str, digits: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 10**digits - 1))
    order = data.draw(st.sampled_from(ORDERS[REGISTERS_OF[kind]]))
    raw = on_the_wire(bytes.fromhex(f"{number:0{digits}d}"), order)
    subject = profile([{"tag": "x", "unit": "1", "at": 7, "type": kind, "order": order}])
    assert decode(subject, raw) == {"x": float(number)}


def test_a_digit_above_nine_is_bad() -> None:
    subject = profile([{"tag": "x", "unit": "1", "at": 0, "type": "bcd32"}])
    assert decode(subject, bytes.fromhex("12A45678")) == {"x": None}
    assert decode(subject, bytes.fromhex("1234567F")) == {"x": None}


@pytest.mark.parametrize("word", ["7FC00000", "FF800000", "7F800000"])
def test_what_is_not_a_number_is_bad(word: str) -> None:
    subject = profile([{"tag": "x", "unit": "1", "at": 0, "type": "f32"}])
    assert decode(subject, bytes.fromhex(word)) == {"x": None}


def test_absent_values_are_bad_by_type_and_by_point() -> None:
    subject = profile(
        [
            {"tag": "a", "unit": "1", "at": 0, "type": "u16"},
            {"tag": "b", "unit": "1", "at": 1, "type": "u16", "absent": [0]},
            {"tag": "c", "unit": "1", "at": 2, "type": "u16", "absent": []},
            {"tag": "d", "unit": "1", "at": 3, "type": "i32", "absent": [-1, -2147483648]},
        ],
        absent={"u16": [0xFFFF]},
    )
    assert decode(subject, bytes.fromhex("FFFF FFFF FFFF 80000000")) == {"a": None, "b": 65535, "c": 65535, "d": None}
    assert decode(subject, bytes.fromhex("0000 0000 0000 FFFFFFFF")) == {"a": 0, "b": None, "c": 0, "d": None}


@pytest.mark.parametrize(
    ("scale", "raw", "value"), [(0.1, 2301, 230.1), (0.01, 7, 0.07), (0.001, 12345, 12.345), (4, 3, 12)]
)
def test_decimal_scales_give_the_decimal_number_exactly(scale: float, raw: int, value: float) -> None:
    subject = profile([{"tag": "x", "unit": "1", "at": 0, "type": "u16", "scale": scale}])
    assert decode(subject, struct.pack(">H", raw)) == {"x": value}


def test_an_offset_is_added_after_the_scale() -> None:
    subject = profile([{"tag": "x", "unit": "°C", "at": 0, "type": "u16", "scale": 0.1, "offset": -40}])
    assert decode(subject, struct.pack(">H", 655)) == {"x": 25.5}


def test_bits_of_a_word_and_coils() -> None:
    in_word = [{"tag": f"bit{n}", "unit": "1", "at": 0, "type": "bit", "bit": n} for n in (0, 1, 7, 8, 15)]
    assert decode(profile(in_word), bytes.fromhex("8182")) == {"bit0": 0, "bit1": 1, "bit7": 1, "bit8": 1, "bit15": 1}
    coils = [{"tag": f"c{n}", "unit": "1", "at": n, "type": "bit", "table": "coil"} for n in (3, 4, 12)]
    # coils from 3 on: 3 and 12 are on; the first one asked for is the lowest bit of the first byte
    assert decode(profile(coils), bytes([0b00000001, 0b00000010])) == {"c3": 1, "c4": 0, "c12": 1}


def test_a_state_by_bits_takes_the_first_that_is_set() -> None:
    states = [{"bit": 4, "state": "fault"}, {"bit": 0, "state": "running"}]
    subject = profile([{"tag": "state", "at": 0, "type": "u16", "bit_states": states, "otherwise": "idle"}])
    assert decode(subject, bytes.fromhex("0011")) == {"state": 3}
    assert decode(subject, bytes.fromhex("0001")) == {"state": 1}
    assert decode(subject, bytes.fromhex("0002")) == {"state": 2}


def test_yaml_off_without_quotes_is_the_word_off() -> None:
    subject = profile([{"tag": "state", "at": 0, "type": "u16", "states": {0: False, 1: "running"}}])
    assert decode(subject, bytes.fromhex("0000")) == {"state": 4}


def test_types_mixed_in_one_reply_stay_with_their_tags() -> None:
    subject = profile(
        [
            {"tag": "a", "unit": "1", "at": 10, "type": "f32"},
            {"tag": "b", "unit": "1", "at": 12, "type": "u16"},
            {"tag": "c", "unit": "1", "at": 13, "type": "f32", "order": "CDAB"},
            {"tag": "d", "unit": "1", "at": 15, "type": "i16"},
        ]
    )
    raw = struct.pack(">fH", 1.5, 7) + bytes.fromhex("0000 4020") + struct.pack(">h", -9)
    assert decode(subject, raw) == {"a": 1.5, "b": 7, "c": 2.5, "d": -9}


def test_a_refused_request_makes_only_its_rows_bad_and_keeps_each_reply_s_time() -> None:
    subject = profile(
        [
            {"tag": "near", "unit": "1", "at": 0, "type": "u16"},
            {"tag": "far", "unit": "1", "at": 900, "type": "u16"},
            {"tag": "farther", "unit": "1", "at": 2000, "type": "u16"},
        ]
    )
    (poll,) = polls_of(subject)
    samples, good_ns = reading_of(poll, [b"\x00\x01", None, b"\x00\x03"], [100, 200, 300])
    assert samples.quality.tolist() == [Quality.GOOD, Quality.BAD, Quality.GOOD]
    assert np.isnan(samples.value[1])
    assert samples.received_ns.tolist() == [100, 200, 300]
    assert good_ns == 300
    assert reading_of(poll, [None, None, None], [1, 2, 3]).good_ns == 0


@given(st.binary(min_size=24, max_size=24))
def test_no_bytes_whatever_make_a_value_that_is_neither_finite_nor_bad(raw: bytes) -> None:
    subject = profile(
        [
            {"tag": "a", "unit": "1", "at": 0, "type": "f32", "order": "BADC", "scale": 1000},
            {"tag": "b", "unit": "1", "at": 2, "type": "f64", "scale": 0.001},
            {"tag": "c", "unit": "1", "at": 6, "type": "bcd64"},
            {"tag": "d", "unit": "1", "at": 10, "type": "u16"},
            {"tag": "state", "at": 11, "type": "u16", "states": {1: "idle"}},
        ]
    )
    (poll,) = polls_of(subject)
    samples = reading_of(poll, [raw], [1]).samples
    assert np.array_equal(np.isnan(samples.value), samples.quality == Quality.BAD)
    assert not np.isinf(samples.value).any()
