"""Samples as InfluxDB's line protocol. Pure.

One measurement. Tags: `gateway`, `device`, `tag`, `unit` (left out where a tag has none). Fields: `value` (float;
absent where quality is BAD), `quality` (integer, as in OPC UA: 0 good, 1 uncertain, 2 bad), `lag_us` (integer,
gateway's time minus device's time; absent where the device gave none). Time: the device's own where it gave one,
else the gateway's, ns. A sample that is sent twice is the same point.

Syntax: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import math
import re
from typing import Final

import numpy as np

from gateway.outputs.rows import Rows

_SPECIAL: Final = re.compile(r"([,= ])")
_NS_PER_US: Final = 1000


def lines_of(rows: Rows, measurement: str, gateway: str) -> list[str]:
    """One line for each row, in order."""
    pairs, inverse = np.unique(rows.device.astype(np.int64) << 16 | rows.tag, return_inverse=True)
    series = [_series(rows, int(pair), measurement, gateway) for pair in pairs]
    lags_us = (rows.received_ns - rows.source_ns) // _NS_PER_US
    columns = (inverse, rows.value, rows.quality, rows.source_ns, lags_us, rows.time_ns)
    return [
        f"{series[which]} "
        f"{f'value={value!r},' if math.isfinite(value) else ''}quality={quality}i"
        f"{f',lag_us={lag_us}i' if source_ns else ''} {time_ns}"
        for which, value, quality, source_ns, lag_us, time_ns in zip(*(c.tolist() for c in columns), strict=True)
    ]


def _series(rows: Rows, pair: int, measurement: str, gateway: str) -> str:
    device = rows.devices[pair >> 16]
    tag = device.tags[pair & 0xFFFF]
    unit = f",unit={_escaped(tag.unit)}" if tag.unit else ""
    names = f"gateway={_escaped(gateway)},device={_escaped(device.id)},tag={_escaped(tag.name)}"
    return f"{_escaped(measurement)},{names}{unit}"


def _escaped(text: str) -> str:
    """As a tag's value: a backslash cannot be written before a comma, a line end not at all, and none is empty."""
    readable = "".join(c if c.isprintable() and c != "\\" else "_" for c in text) or "_"
    return _SPECIAL.sub(r"\\\1", readable)
