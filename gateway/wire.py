"""The uplink contract: what a gateway says to its county, and what it hears back.

MessagePack through msgspec, compressed with zstd; the same messages as JSON are accepted from people
and third parties. This module is a leaf: it knows the columns of `metrics.record` and nothing of the
gateway. A stored example of every version ever shipped stays in `tests/contract/wire/`.

| message | route | direction |
|---|---|---|
| `Ingest` → `IngestAnswer` | POST /api/v1/ingest | interval records, announcements, gaps |
| `Live` | POST /api/v1/live | volatile presence, every 5 s and on change |
| `Announce` | POST /api/v1/announce | who each device says it is |
| `Enroll` → `Enrolled` | POST /api/v1/enroll | one-time code against a credential |
| – → `Enrolled` | POST /api/v1/enroll/rotate | a valid credential against a new one |
| – → `Standing` | GET /api/v1/enroll | what the county holds of a credential |
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import numpy as np
import zstandard

from metrics.record import RECORD_COLUMNS, Records
from metrics.record import DeviceClass as DeviceClass

WIRE_VERSION: Final = 1
CONTENT_TYPE_MSGPACK: Final = "application/msgpack"
CONTENT_TYPE_JSON: Final = "application/json"
CONTENT_ENCODING: Final = "zstd"
MAX_ROWS: Final = 10_000
_AT_MOST: Final = msgspec.Meta(max_length=MAX_ROWS)
"""No list of a message is longer: small ones of many items would cost their reader hundreds of megabytes."""
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
MAX_DECODED_BYTES: Final = 16 * 1024 * 1024
_ZSTD_LEVEL: Final = 9  # small batches: 10 % fewer bytes than level 3 for microseconds more

_MAX_EPOCH: Final = (1 << 64) - 1
MAX_ID: Final = 200
MAX_REASON: Final = 1000
MAX_GAP_ROWS: Final = (1 << 31) - 1
Epoch = Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": _MAX_EPOCH})]
"""An outbox's random 64 bits. What is above them, which only JSON can say, `decode_json` refuses."""
Whole = Annotated[int, msgspec.Meta(ge=0, le=(1 << 62) - 1)]
"""A sequence, a count, seconds UTC: what every engine can keep."""
TimeNs = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""Nanoseconds UTC. A clock that is wrong is no reason to refuse a message, one that no engine can keep is."""
DeviceId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]


def is_device_id(text: str) -> bool:
    """Whether a device may be called so: journals keep ids as text, by lines, and engines in 200 signs."""
    return 0 < len(text) <= MAX_ID and text.isprintable()


EvidenceName = Literal["self-identified", "native", "retrofit", "declared"]
StateName = Literal["unknown", "running", "idle", "fault", "off"]
Direction = Literal["import", "export", "generation"]


class WireError(ValueError):
    """A body that is no valid message: too large, not decodable, wrong version, ragged columns."""


class DeviceRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of a batch's device table: the device's id and the announcement that describes it."""

    id: DeviceId
    announcement: Whole = 0


class Gap(msgspec.Struct, frozen=True, omit_defaults=True):
    """Stands for records that will never come. Times in s UTC, `[start_s, end_s)`.

    `sequence` is that of the batch it stands for where that is of the epoch of the message around it.
    """

    devices: Annotated[list[DeviceId], _AT_MOST]
    start_s: Whole
    end_s: Whole
    rows: Annotated[int, msgspec.Meta(ge=0, le=MAX_GAP_ROWS)]
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)]
    sequence: Whole = 0
    batch: tuple[Epoch, Whole] | None = None
    """(epoch, sequence) of a batch of another epoch; `sequence` is 0 then, for a county that does not know this."""

    def stands_for(self, epoch: int) -> tuple[int, int] | None:
        """(epoch, sequence) of the batch that will never come, None where no number is known.

        `epoch`: that of the message around the gap.
        """
        if self.batch is not None:
            return self.batch
        return (epoch, self.sequence) if self.sequence else None


class Announcement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one device said of itself, dated and numbered by the gateway's outbox."""

    number: Whole
    at_ns: TimeNs
    device: DeviceId
    address: str
    profile: str
    device_class: DeviceClass
    evidence: EvidenceName
    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    product_uri: str = ""
    carrier: str = ""
    unit: str = ""
    direction: Direction | Literal[""] = ""
    liveness_s: float = 0.0
    asset: str = ""
    """The asset that the plant's file proposes for this device; the county decides."""


class Ingest(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "version": "v",
        "gateway": "g",
        "epoch": "e",
        "sequence": "s",
        "previous": "p",
        "rows": "n",
        "devices": "d",
        "columns": "c",
        "gaps": "x",
    },
):
    """One batch of interval records. `columns` holds one little-endian byte string a column.

    `epoch` is the outbox's random 64 bits; `previous` names the (epoch, sequence) sent before this
    one, or is None for the first of all.
    """

    gateway: str
    epoch: Epoch
    sequence: Whole
    rows: Whole
    devices: Annotated[list[DeviceRef], _AT_MOST]
    columns: list[bytes]
    previous: tuple[Epoch, Whole] | None = None
    gaps: Annotated[list[Gap], _AT_MOST] = []
    version: int = WIRE_VERSION


class IngestJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same batch for people and third parties: columns as lists of integers, by name."""

    gateway: str
    epoch: Epoch
    sequence: Whole
    devices: Annotated[list[DeviceId], _AT_MOST]
    columns: dict[str, list[int]]
    previous: tuple[Epoch, Whole] | None = None
    gaps: Annotated[list[Gap], _AT_MOST] = []
    version: int = WIRE_VERSION


class RefusedRow(msgspec.Struct, frozen=True):
    """One row that is not stored, and why."""

    index: int
    column: str
    value: int
    expected: str


class Missing(msgspec.Struct, frozen=True):
    """Sequences `[first, last]` of an epoch that the county lacks and asks for."""

    epoch: int
    first: int
    last: int


class IngestAnswer(msgspec.Struct, frozen=True):
    """`journalled`: synced to the journal now. `duplicate`: it already was. `conflict`: the key was
    journalled with other bytes; the gateway opens a new epoch and sends again."""

    result: Literal["journalled", "duplicate", "conflict"]
    epoch: int
    sequence: int
    accepted: int
    refused: list[RefusedRow]
    held: int
    missing: list[Missing]
    county_time_ns: int
    announce_again: bool = False
    """The batch names announcements that the county lacks: send the latest of every device once more."""
    hand_over_s: int = 0
    """Other hardware took this gateway's place: rows from this time on (s UTC) are not taken. 0: nobody did."""


class DevicePresence(msgspec.Struct, frozen=True):
    """How the gateway judges one device now. Times in ns UTC; 0: never."""

    id: DeviceId
    connected: bool
    state: StateName
    since_ns: TimeNs
    last_proof_ns: TimeNs


class Live(msgspec.Struct, frozen=True):
    """Presence of all devices of a gateway, and how the gateway itself is."""

    gateway: str
    sent_ns: TimeNs
    devices: Annotated[list[DevicePresence], _AT_MOST]
    backlog_batches: Whole = 0
    oldest_unsent_s: Whole = 0
    shed: dict[str, Whole] = {}
    version: int = WIRE_VERSION


class Announce(msgspec.Struct, frozen=True):
    """Announcements in the order of their numbers."""

    gateway: str
    epoch: Epoch
    announcements: Annotated[list[Announcement], _AT_MOST]
    version: int = WIRE_VERSION


class Accepted(msgspec.Struct, frozen=True):
    """The county's answer to `Live` and `Announce`."""

    accepted: int
    county_time_ns: int


class Enroll(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A one-time code, and what the hardware calls itself.

    `replace`: this hardware takes the place of the one that is enrolled, from the next whole window of
    `window_s` on.
    """

    code: str
    hardware: str = ""
    replace: bool = False
    window_s: int = 60


class KnownDevice(msgspec.Struct, frozen=True):
    """A device as the hardware that is replaced last announced it: what a plant's file needs to read it again."""

    id: str
    address: str
    profile: str
    asset: str = ""


class Enrolled(msgspec.Struct, frozen=True):
    """A new credential. It is shown once.

    `hand_over_s` (s UTC, 0: nobody was replaced): records from there on are this hardware's. `devices`: what the
    replaced hardware read.
    """

    gateway: str
    credential: str
    county_time_ns: int
    hand_over_s: int = 0
    devices: list[KnownDevice] = []


class Standing(msgspec.Struct, frozen=True):
    """What the county holds of a valid credential. `hand_over_s`: as in `IngestAnswer`."""

    gateway: str
    issued_ns: int
    county_time_ns: int
    hand_over_s: int = 0


M = TypeVar("M", bound=msgspec.Struct)
_of_this_thread = threading.local()

_COLUMN_BYTES: Final = tuple(np.dtype(c.dtype).itemsize for c in RECORD_COLUMNS)


def ingest_message(
    gateway: str,
    epoch: int,
    sequence: int,
    devices: list[DeviceRef],
    records: Records,
    *,
    previous: tuple[int, int] | None = None,
    gaps: list[Gap] | None = None,
) -> Ingest:
    """Put records into an envelope. Raises WireError above MAX_ROWS rows."""
    if len(records) > MAX_ROWS:
        raise WireError(f"{len(records)} rows, at most {MAX_ROWS} in a batch")
    columns = [
        np.ascontiguousarray(a, dtype=c.dtype).tobytes()
        for c, a in zip(RECORD_COLUMNS, records.columns().values(), strict=True)
    ]
    return Ingest(gateway, epoch, sequence, len(records), devices, columns, previous, gaps or [])


def records_of(message: Ingest) -> Records:
    """The records of a batch as views of its bytes: nothing is copied.

    Raises WireError where the number of columns or a column's length does not fit `rows`.
    """
    if len(message.columns) != len(RECORD_COLUMNS):
        raise WireError(f"{len(message.columns)} columns, expected {len(RECORD_COLUMNS)}")
    arrays: dict[str, Any] = {}
    for column, width, raw in zip(RECORD_COLUMNS, _COLUMN_BYTES, message.columns, strict=True):
        if len(raw) != message.rows * width:
            raise WireError(f"column {column.name}: {len(raw)} bytes, expected {message.rows} × {width}")
        arrays[column.name] = np.frombuffer(raw, column.dtype)
    return Records(**arrays)


def from_json(message: IngestJson) -> Ingest:
    """The binary form of a JSON batch. Raises WireError naming the column that is wrong."""
    known = {c.name for c in RECORD_COLUMNS}
    unknown = sorted(message.columns.keys() - known)
    missing = sorted(known - message.columns.keys())
    if unknown or missing:
        raise WireError(f"columns not known: {unknown}; columns missing: {missing}")
    try:
        records = Records.from_columns(message.columns)
    except (ValueError, OverflowError, TypeError) as error:
        raise WireError(str(error)) from error
    devices = [DeviceRef(name) for name in message.devices]
    return ingest_message(
        message.gateway, message.epoch, message.sequence, devices, records, previous=message.previous, gaps=message.gaps
    )


def encode(message: msgspec.Struct) -> bytes:
    """MessagePack, compressed: the body of a request."""
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(msgspec.msgpack.encode(message))


def _decompressor() -> zstandard.ZstdDecompressor:
    """This thread's own: making one costs as much as reading a batch with it."""
    kept: zstandard.ZstdDecompressor | None = getattr(_of_this_thread, "decompressor", None)
    if kept is None:
        kept = _of_this_thread.decompressor = zstandard.ZstdDecompressor()
    return kept


def decompress(body: bytes) -> bytes:
    """The MessagePack of a compressed body. Raises WireError for a damaged, or a too large one."""
    if len(body) > MAX_BODY_BYTES:
        raise WireError(f"body of {len(body)} bytes, at most {MAX_BODY_BYTES}")
    try:
        declared = zstandard.frame_content_size(body)
        if declared > MAX_DECODED_BYTES:
            raise WireError(f"body unpacks to {declared} bytes, at most {MAX_DECODED_BYTES}")
        return _decompressor().decompress(body, max_output_size=MAX_DECODED_BYTES)
    except zstandard.ZstdError as error:
        raise WireError(f"body is not a whole zstd frame: {error}") from error


def decode(body: bytes, kind: type[M]) -> M:
    """Read a compressed MessagePack body as `kind`. Raises WireError saying what is wrong."""
    return _checked(lambda: msgspec.msgpack.decode(decompress(body), type=kind))


def decode_json(body: bytes, kind: type[M]) -> M:
    """Read a JSON body as `kind`. Raises WireError saying what is wrong."""
    if len(body) > MAX_DECODED_BYTES:
        raise WireError(f"body of {len(body)} bytes, at most {MAX_DECODED_BYTES}")
    message = _checked(lambda: msgspec.json.decode(body, type=kind))
    if any(epoch > _MAX_EPOCH for epoch in _epochs_of(message)):
        raise WireError("an epoch is beyond 64 bits")
    return message


def _epochs_of(message: msgspec.Struct) -> Iterator[int]:
    """The epochs that a message names: MessagePack has no room for one beyond 64 bits, JSON has."""
    yield getattr(message, "epoch", 0)
    previous: tuple[int, int] | None = getattr(message, "previous", None)
    if previous is not None:
        yield previous[0]
    gaps: list[Gap] = getattr(message, "gaps", [])
    yield from (gap.batch[0] for gap in gaps if gap.batch is not None)


def _checked(read: Callable[[], M]) -> M:
    try:
        message = read()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"not a valid message: {error}") from error
    version = getattr(message, "version", WIRE_VERSION)
    if version != WIRE_VERSION:
        raise WireError(f"wire version {version}, this service reads {WIRE_VERSION}")
    return message


def digest(body: bytes) -> str:
    """SHA-256 of a body, in hex: tells a batch sent again from another one under its key."""
    return hashlib.sha256(body).hexdigest()
