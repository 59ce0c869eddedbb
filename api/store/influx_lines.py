"""Interval records as InfluxDB's line protocol, and names as its tag values.

One point a record: measurement `record`, tags `gateway`, `device`, `part`, time in s, every column that is not 0 for
all records of a batch (`reading`: not −1) as an integer field, and `position`, its place in the journal. A
field that is missing has that value. A later record of the same key never touches that point: it goes
to the measurement `record_again` with the tag `copy` 1, 2 … in the order of the journal. A type never changes.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from metrics.record import RECORD_COLUMNS, UNKNOWN_READING, Records

FIRST: Final = "record"
"""Measurement of the record of a key that was journalled first."""
AGAIN: Final = "record_again"
"""Measurement of what was journalled later for a key that was taken."""

FIELDS: Final = tuple(c for c in RECORD_COLUMNS if c.name not in ("device", "start", "part"))
MISSING: Final = {c.name: UNKNOWN_READING if c.name == "reading" else 0 for c in FIELDS}
"""What a field that is not there stands for."""

_SPECIAL: Final = re.compile(r"[%\\,= '\"]")


def label(name: str) -> str:
    """A gateway's or device's id as a tag value, the same on every server.

    Signs that line protocol or InfluxQL would need escaped, each in a way of its own, are written %XX; so are those
    that cannot be printed. Everything else stays readable, Chinese too.
    """
    escaped = _SPECIAL.sub(_percent, name)
    return escaped if escaped.isprintable() else "".join(c if c.isprintable() else _percent(c) for c in escaped)


def name_of(value: str) -> str:
    """The id that a tag value stands for."""
    return unquote(value)


def _percent(found: re.Match[str] | str) -> str:
    sign = found if isinstance(found, str) else found[0]
    return "".join(f"%{byte:02X}" for byte in sign.encode("utf-8", "surrogatepass"))


def lines_of(
    gateway: str, devices: list[str], records: Records, position: int, copies: NDArray[np.int64] | None
) -> str:
    """The lines of one batch's records, each ended by a newline.

    Parameters: `devices` that `records.device` points into; `position` of the batch in the journal; `copies` (n,):
    how many records of the same key came before, None where none did. Raises IndexError for a device outside the table.
    """
    n = len(records)
    if n == 0:
        return ""
    text, varying = _fields(records, position)
    tags = [f"device={label(device)},gateway={label(gateway)},part=" for device in devices]
    part = int(records.part[0])
    if copies is None and (records.part == part).all():
        heads = [f"{FIRST},{tag}{part} " for tag in tags]
        head = [heads[i] for i in records.device.tolist()]
    else:
        head = [
            f"{FIRST},{tags[device]}{part} " if copy == 0 else f"{AGAIN},copy={copy},{tags[device]}{part} "
            for device, part, copy in zip(
                records.device.tolist(),
                records.part.tolist(),
                [0] * n if copies is None else copies.tolist(),
                strict=True,
            )
        ]
    form = f"%s{text} %d\n"
    return "".join(map(form.__mod__, zip(head, *varying, records.start.tolist(), strict=True)))


def _fields(records: Records, position: int) -> tuple[str, list[list[int]]]:
    """The fields' text with a %d for each column that varies, and those columns' values.

    What is the same in all rows is written once into the text: that is most of a record, and most of the time.
    """
    text = [f"position={position}i"]
    varying: list[list[int]] = []
    for column in FIELDS:
        values = getattr(records, column.name)
        low = int(values.min())
        if low != int(values.max()):
            text.append(f"{column.name}=%di")
            varying.append(values.tolist())
        elif low != MISSING[column.name]:
            text.append(f"{column.name}={low}i")
    return ",".join(text), varying
