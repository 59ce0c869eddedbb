"""Every wire version ever shipped can be read today: stored examples, binary and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import wire
from metrics.record import RECORD_COLUMNS, Flag, Records, refusals

EXAMPLES = Path(__file__).parent / "wire"
EPOCH = 0x1122334455667788


def example_records() -> Records:
    """Three records as a gateway writes them: a running machine, a silent one, a supplement."""
    columns: dict[str, list[int]] = {
        "device": [0, 1, 0],
        "start": [1_795_406_400, 1_795_406_400, 1_795_406_340],
        "length": [600, 600, 600],
        "observed": [600, 600, 0],
        "part": [0, 0, 1],
        "connected": [598, 0, 0],
        "running": [400, 0, 0],
        "idle": [150, 0, 0],
        "fault": [20, 0, 0],
        "off": [0, 0, 0],
        "quantity": [12_345, 0, 250],
        "quantity_idle": [1_200, 0, 0],
        "quantity_span": [60, 0, 30],
        "reading": [987_654_321, -1, -1],
        "parts": [17, 0, 1],
        "good": [240, 0, 3],
        "bad": [2, 0, 0],
        "flags": [int(Flag.RESUMED), 0, int(Flag.ESTIMATED | Flag.HISTORICAL)],
    }
    return Records.from_columns(columns)


DEVICES = [wire.DeviceRef("cnc-cell/0001", 7), wire.DeviceRef("表计-1", 8)]
GAPS = [wire.Gap(["cnc-cell/0001"], 1_795_400_000, 1_795_400_060, 1, "dropped: outbox full", 3)]
GAPS_OF_ANOTHER_EPOCH = [
    wire.Gap([], 0, 0, 0, "no longer kept", batch=(EPOCH - 1, 17)),
    wire.Gap(["表计-1"], 1_795_400_000, 1_795_400_060, 1, "lost: the outbox was damaged"),
]
MESSAGES: dict[str, msgspec.Struct] = {
    "ingest": wire.ingest_message("g-1", EPOCH, 5, DEVICES, example_records(), previous=(EPOCH, 4), gaps=GAPS),
    "ingest-gaps": wire.ingest_message(
        "g-1", EPOCH, 1, DEVICES, example_records(), previous=(EPOCH - 1, 20), gaps=GAPS_OF_ANOTHER_EPOCH
    ),
    "live": wire.Live(
        "g-1",
        1_795_406_460_000_000_000,
        [wire.DevicePresence("cnc-cell/0001", True, "running", 1_795_406_400_000_000_000, 1_795_406_459_000_000_000)],
        backlog_batches=2,
        oldest_unsent_s=61,
        shed={"late": 4},
    ),
    "announce": wire.Announce(
        "g-1",
        EPOCH,
        [
            wire.Announcement(
                7,
                1_795_406_400_000_000_000,
                "cnc-cell/0001",
                "opc.tcp://10.0.4.7:4840",
                "opcua-machinetool",
                "cnc",
                "self-identified",
                manufacturer="Example",
                model="VMC-850",
                serial="0001",
                product_uri="urn:example:0001",
                carrier="electricity",
                unit="kWh",
                direction="import",
                liveness_s=6.0,
                asset="A-01",
            )
        ],
    ),
    "enroll": wire.Enroll("ABCD-1234", "Raspberry Pi 4"),
}
JSON_INGEST = wire.IngestJson(
    "g-1",
    5,
    1,
    ["meter-1"],
    {c.name: [int(v) for v in getattr(example_records(), c.name)[:1]] for c in RECORD_COLUMNS},
)
KINDS = {name: type(message) for name, message in MESSAGES.items()}


def stored(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_stored_binary_message_is_read_as_it_was_meant(name: str) -> None:
    assert wire.decode(stored(f"v1-{name}.bin"), KINDS[name]) == MESSAGES[name]


def test_the_records_of_a_stored_batch_are_those_that_were_sent() -> None:
    message = wire.decode(stored("v1-ingest.bin"), wire.Ingest)
    records = wire.records_of(message)
    for column in RECORD_COLUMNS:
        assert np.array_equal(getattr(records, column.name), getattr(example_records(), column.name)), column.name
    assert refusals(records, len(message.devices)) == []


def test_a_gap_names_the_batch_it_stands_for_in_its_own_epoch_and_in_another() -> None:
    own, other = (wire.decode(stored(f"v1-{name}.bin"), wire.Ingest) for name in ("ingest", "ingest-gaps"))
    assert [gap.stands_for(own.epoch) for gap in own.gaps] == [(EPOCH, 3)]
    assert [gap.stands_for(other.epoch) for gap in other.gaps] == [(EPOCH - 1, 17), None]
    # A county that knows only `sequence` takes neither for a batch of the epoch around it.
    assert [gap.sequence for gap in other.gaps] == [0, 0]


@pytest.mark.parametrize("name", ["live", "announce", "enroll"])
def test_a_stored_json_message_is_read_as_it_was_meant(name: str) -> None:
    assert wire.decode_json(stored(f"v1-{name}.json"), KINDS[name]) == MESSAGES[name]


def test_a_stored_json_batch_is_the_binary_one() -> None:
    message = wire.from_json(wire.decode_json(stored("v1-ingest.json"), wire.IngestJson))
    records = wire.records_of(message)
    assert (message.gateway, message.sequence, [d.id for d in message.devices]) == ("g-1", 1, ["meter-1"])
    for column in RECORD_COLUMNS:
        assert getattr(records, column.name).tolist() == getattr(example_records(), column.name).tolist()[:1]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_todays_gateway_writes_what_the_example_holds(name: str) -> None:
    """A change of the format needs a new version, and a new example beside the old one."""
    written = wire.decompress(wire.encode(MESSAGES[name]))
    assert written == wire.decompress(stored(f"v1-{name}.bin"))


@settings(max_examples=50)
@given(st.data())
def test_records_come_back_bit_by_bit(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 20))
    columns: dict[str, Any] = {}
    for column in RECORD_COLUMNS:
        limits = np.iinfo(np.dtype(column.dtype))
        columns[column.name] = data.draw(st.lists(st.integers(limits.min, limits.max), min_size=n, max_size=n))
    sent = Records.from_columns(
        {name: np.array(v, np.dtype(c.dtype)) for (name, v), c in zip(columns.items(), RECORD_COLUMNS, strict=True)}
    )
    message = wire.ingest_message("g", 1, 2, DEVICES, sent)
    read = wire.records_of(wire.decode(wire.encode(message), wire.Ingest))
    for column in RECORD_COLUMNS:
        assert np.array_equal(getattr(read, column.name), getattr(sent, column.name))


@pytest.mark.parametrize("at", range(0, 200, 7))
def test_a_damaged_body_is_refused_with_a_reason(at: int) -> None:
    body = bytearray(stored("v1-ingest.bin"))
    body[at % len(body)] ^= 0xFF
    with pytest.raises(wire.WireError):
        wire.decode(bytes(body), wire.Ingest)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(wire.MAX_DECODED_BYTES + 1))
    assert len(bomb) < 10_000
    with pytest.raises(wire.WireError, match="unpacks to"):
        wire.decode(bomb, wire.Ingest)


@pytest.mark.parametrize("field", ["devices", "gaps"])
def test_a_list_longer_than_any_gateway_makes_is_refused_while_it_is_read(field: str) -> None:
    """A body of a few bytes an item, once unpacked: a hundred times that as objects."""
    records = Records.empty()
    one = wire.Gap([], 0, 0, 0, "") if field == "gaps" else wire.DeviceRef("d")
    message = wire.ingest_message("g-1", EPOCH, 1, [wire.DeviceRef("d")], records)
    for count, fits in ((wire.MAX_ROWS, True), (wire.MAX_ROWS + 1, False)):
        body = wire.encode(msgspec.structs.replace(message, **{field: [one] * count}))
        if fits:
            assert len(getattr(wire.decode(body, wire.Ingest), field)) == count
        else:
            with pytest.raises(wire.WireError, match="of length <= 10000"):
                wire.decode(body, wire.Ingest)


def test_another_version_and_ragged_columns_are_refused() -> None:
    message = MESSAGES["ingest"]
    with pytest.raises(wire.WireError, match="version 2"):
        wire.decode(wire.encode(msgspec.structs.replace(message, version=2)), wire.Ingest)
    assert isinstance(message, wire.Ingest)
    with pytest.raises(wire.WireError, match="column device"):
        wire.records_of(msgspec.structs.replace(message, rows=4))


def test_a_batch_of_a_thousand_records_takes_at_most_8_bytes_a_record() -> None:
    """1,000 live records: 50 devices, 20 minutes; the goal of `gateway.record_bytes`, HTTP apart."""
    rng = np.random.default_rng(7)
    n, devices = 1000, 50
    columns: dict[str, Any] = {c.name: np.zeros(n, np.int64) for c in RECORD_COLUMNS}
    columns["device"] = np.tile(np.arange(devices), n // devices)
    columns["start"] = np.repeat(1_795_406_400 + 60 * np.arange(n // devices), devices)
    running = rng.random(n) < 0.7
    columns["length"] += 600
    columns["observed"] += 600
    columns["connected"] += 600
    columns["running"] = np.where(running, 600, 0)
    columns["idle"] = np.where(running, 0, 600)
    columns["quantity"] = np.where(running, rng.normal(150, 8, n), rng.normal(20, 1, n)).astype(np.int64)
    columns["quantity_idle"] = np.where(running, 0, columns["quantity"])
    columns["quantity_span"] += 60
    columns["reading"] -= 1
    columns["parts"] = np.where(running, rng.integers(1, 4, n), 0)
    columns["good"] += 2400
    refs = [wire.DeviceRef(f"machine-{i:02}", i) for i in range(devices)]
    body = wire.encode(wire.ingest_message("g-1", EPOCH, 1, refs, Records.from_columns(columns)))
    assert len(body) / n <= 8
