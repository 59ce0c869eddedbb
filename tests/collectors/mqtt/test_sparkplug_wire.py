"""Our decoder against Google's protobuf library over the same public schema, and against noise."""

from __future__ import annotations

import contextlib
import math
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.model import Quality
from collectors.mqtt import sparkplug_wire as wire
from collectors.mqtt.rows import Rows
from collectors.mqtt.sparkplug_layout import Bound, Layout, source_ns, value_of
from simulators import sparkplug_schema as schema
from simulators.sparkplug_schema import DataType, Metric

NOW_MS = 1_795_460_000_000
SIGNED = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
UNSIGNED = {DataType.UINT8: 8, DataType.UINT16: 16, DataType.UINT32: 32, DataType.UINT64: 64, DataType.DATETIME: 64}

STEPPED_OVER = {DataType.BYTES: 16, DataType.DATASET: 17, DataType.TEMPLATE: 18}


def _value(datatype: DataType) -> st.SearchStrategy[Any]:
    if datatype in SIGNED:
        bits = SIGNED[datatype]
        return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    if datatype in UNSIGNED:
        return st.integers(0, (1 << UNSIGNED[datatype]) - 1)
    if datatype is DataType.FLOAT:
        return st.floats(width=32)
    if datatype is DataType.DOUBLE:
        return st.floats()
    if datatype is DataType.BOOLEAN:
        return st.booleans()
    if datatype is DataType.BYTES:
        return st.binary(max_size=20)
    if datatype is DataType.DATASET:
        return st.lists(st.lists(st.floats(), min_size=2, max_size=2), max_size=3)
    if datatype is DataType.TEMPLATE:
        return st.lists(st.integers(0, 9).map(lambda n: Metric(DataType.INT32, n, f"member {n}")), max_size=3)
    return st.text(max_size=20)


@st.composite
def metrics(draw: st.DrawFn, *, plain: bool = False) -> Metric:
    datatype = draw(st.sampled_from(DataType))
    value = draw(_value(datatype) if plain else st.none() | _value(datatype))
    return Metric(
        datatype,
        value,
        name="" if plain else draw(st.text(max_size=12)),
        alias=draw(st.integers(0, 2**40)),
        at_ms=draw(st.integers(NOW_MS, NOW_MS + 10**9)),
        historical=False if plain else draw(st.booleans()),
        with_datatype=draw(st.booleans()),
        quality=None if plain else draw(st.sampled_from([None, 192, 500, 0])),
    )


@given(st.lists(metrics(), max_size=12), st.none() | st.integers(0, 255))
def test_it_reads_what_the_generated_classes_wrote(sent: list[Metric], seq: int | None) -> None:
    payload = wire.decode(schema.encode(sent, at_ms=NOW_MS, seq=seq))
    assert (payload.time_ms, payload.seq, len(payload.metrics)) == (NOW_MS, seq, len(sent))
    for metric, want in zip(payload.metrics, sent, strict=True):
        assert (metric.name or "", metric.alias, metric.time_ms) == (want.name, want.alias, want.at_ms)
        assert metric.historical is want.historical
        assert metric.null is (want.value is None)
        assert metric.quality == (192 if want.quality is None else want.quality)
        if want.with_datatype:
            assert metric.datatype == want.datatype
        if want.value is None:
            assert metric.kind == 0
            continue
        if want.datatype in STEPPED_OVER:
            assert (metric.kind, metric.value) == (STEPPED_OVER[want.datatype], 0)
            assert value_of(metric, Bound(0, want.datatype, 1.0, None)) == (0.0, Quality.BAD)
            continue
        if want.datatype in (DataType.STRING, DataType.TEXT):
            assert metric.value == want.value.encode()
            continue
        bound = Bound(0, want.datatype, 1.0, None)
        value, quality = value_of(metric, bound)
        if metric.quality != 192:
            assert quality == Quality.BAD
            continue
        if isinstance(want.value, float):
            assert struct.pack("<d", value) == struct.pack("<d", want.value) or math.isnan(want.value)
        else:
            assert value == float(want.value)


@given(st.binary(max_size=200))
def test_noise_is_a_wire_error_or_nothing_worse(noise: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        assert wire.decode(noise).metrics is not None


@given(st.lists(metrics(), min_size=1, max_size=4), st.data())
def test_a_cut_message_is_never_read_past_its_end(sent: list[Metric], data: st.DataObject) -> None:
    whole = schema.encode(sent, at_ms=NOW_MS, seq=1)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        payload = wire.decode(whole[:cut])
    except wire.WireError:
        return
    assert len(payload.metrics) <= len(sent)


@given(st.lists(metrics(plain=True), min_size=1, max_size=8), st.lists(st.data(), min_size=3, max_size=3))
def test_a_learnt_shape_reads_exactly_as_decoding_in_full(first: list[Metric], draws: list[st.DataObject]) -> None:
    states = {b"Running": 1, b"1": 1, b"true": 1}
    bounds = [
        None if n % 5 == 4 else Bound(n, m.datatype, 0.5 if n % 2 else 1.0, states if n == 0 else None)
        for n, m in enumerate(first)
    ]
    one_time = draws[0].draw(st.booleans())
    layouts: dict[int, Layout | None] = {}
    slow, fast = Rows(), Rows()
    sent = first
    for number, draw in enumerate([None, *draws, None]):
        if draw is not None:  # the same metrics with other times and values
            sent = [
                replace(m, value=draw.draw(_value(m.datatype)), at_ms=NOW_MS + number if one_time else m.at_ms + number)
                for m in sent
            ]
        data = schema.encode(sent, at_ms=NOW_MS, seq=number)
        payload = wire.decode(data)
        for metric, bound in zip(payload.metrics, bounds, strict=True):
            if bound is not None:
                slow.add(bound.index, *value_of(metric, bound), source_ns(metric.time_ms, payload.time_ms), number)
        before = len(fast)
        layout = layouts.get(len(data))
        if layout is None or not layout.read(data, number, number, fast):
            assert len(fast) == before, "a refused message must leave nothing behind"
            for metric, bound in zip(payload.metrics, bounds, strict=True):
                if bound is not None:
                    fast.add(bound.index, *value_of(metric, bound), source_ns(metric.time_ms, payload.time_ms), number)
            layouts[len(data)] = Layout.learn(data, payload, bounds)
    one, other = slow.samples(), fast.samples()
    for column in ("tag", "quality", "source_ns", "received_ns", "value"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), err_msg=column)


@pytest.mark.parametrize("messages", [7, 8, 50])
def test_many_messages_of_one_shape_read_together_are_as_one_by_one(messages: int) -> None:
    datatypes = [DataType.DOUBLE, DataType.INT64, DataType.FLOAT, DataType.STRING, DataType.DOUBLE, DataType.BOOLEAN]
    words = ("Running", "Stopped")
    bounds = [Bound(9 - n, d, 0.5 if n == 4 else 1.0, None) for n, d in enumerate(datatypes)]
    bounds[3] = Bound(6, DataType.STRING, 1.0, {b"Running": 1, b"Stopped": 2})
    rows, expected, layout = Rows(), [], None
    for n in range(messages + 1):
        values = [n / 3, 1000 + n, n * 0.25, words[n % 2], -n / 7, n % 2 == 0]
        sent = [Metric(d, v, alias=k) for k, (d, v) in enumerate(zip(datatypes, values, strict=True))]
        data = schema.encode(sent, at_ms=NOW_MS + n, seq=n)
        if layout is None:
            layout = Layout.learn(data, wire.decode(data), bounds)
        else:
            assert layout.read(data, n, n, rows)
            expected += [(9, n / 3), (8, 1000 + n), (7, n * 0.25), (6, 1 + n % 2), (5, -n / 14), (4, n % 2 == 0)]
        assert layout is not None
    assert len(rows) == len(expected)
    samples = rows.samples()
    assert list(zip(samples.tag.tolist(), samples.value.tolist(), strict=True)) == expected
    assert samples.source_ns.tolist() == [(NOW_MS + n) * 10**6 for n in range(1, messages + 1) for _ in datatypes]


def test_a_shape_is_really_reused() -> None:
    sent = [Metric(DataType.DOUBLE, 1.5, alias=1), Metric(DataType.INT64, 300, alias=2)]
    data = schema.encode(sent, at_ms=NOW_MS, seq=7)
    layout = Layout.learn(data, wire.decode(data), [Bound(0, 10, 1.0, None), Bound(1, 4, 1.0, None)])
    assert layout is not None
    rows = Rows()
    later = [Metric(DataType.DOUBLE, -2.5, alias=1), Metric(DataType.INT64, 16_000, alias=2)]
    assert layout.read(schema.encode(later, at_ms=NOW_MS + 1000, seq=8), 5, 8, rows)
    assert list(rows.value) == [-2.5, 16_000]
    assert rows.samples().source_ns.tolist() == [(NOW_MS + 1000) * 10**6] * 2
    other_alias = [Metric(DataType.DOUBLE, -2.5, alias=3), later[1]]
    assert not layout.read(schema.encode(other_alias, at_ms=NOW_MS, seq=9), 5, 9, rows)
    assert not layout.read(schema.encode(later, at_ms=NOW_MS, seq=11), 5, 9, rows), "a gap is for the full decoder"


@pytest.mark.parametrize(
    ("raw", "bits", "value"), [(0xFF, 8, -1), (0xFFFFFFFF, 8, -1), (0xFFFFFF80, 8, -128), (127, 8, 127)]
)
def test_the_sign_is_found_however_far_it_was_extended(raw: int, bits: int, value: int) -> None:
    assert wire.signed(raw, bits) == value


def test_the_rebirth_request_is_what_the_specification_asks_for() -> None:
    request = schema.decode(wire.rebirth_request(NOW_MS))
    assert request.timestamp == NOW_MS
    [metric] = request.metrics
    assert (metric.name, metric.datatype, metric.boolean_value) == ("Node Control/Rebirth", DataType.BOOLEAN, True)
    assert metric.timestamp == NOW_MS
