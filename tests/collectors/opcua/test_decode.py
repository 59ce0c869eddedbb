"""Our decode of a publish response says what asyncua's says, and leaves to asyncua what it does not understand."""

from __future__ import annotations

import itertools
import struct
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary, variant_to_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.opcua.decode import Changes, Publication, message, publication

_KINDS: Final = ua.VariantType
SCALARS: Final[dict[ua.VariantType, list[Any]]] = {
    _KINDS.Null: [None],
    _KINDS.Boolean: [True, False],
    _KINDS.SByte: [-128, 127],
    _KINDS.Byte: [0, 255],
    _KINDS.Int16: [-(2**15), 2**15 - 1],
    _KINDS.UInt16: [0, 2**16 - 1],
    _KINDS.Int32: [-(2**31), 2**31 - 1],
    _KINDS.UInt32: [0, 2**32 - 1],
    _KINDS.Int64: [-(2**63), 2**63 - 1],
    _KINDS.UInt64: [0, 2**64 - 1],
    _KINDS.Float: [0.1, -3.4e38, float("nan"), float("inf")],
    _KINDS.Double: [0.1, 1e308, float("nan"), float("-inf")],
    _KINDS.String: ["", "12.5 运行", None],
    _KINDS.DateTime: [datetime(2026, 3, 1, 12, tzinfo=UTC)],
    _KINDS.Guid: [uuid.UUID(int=2**100 + 7)],
    _KINDS.ByteString: [b"", b"\x00\xff"],
    _KINDS.XmlElement: [ua.XmlElement("<a/>")],
    _KINDS.NodeId: [ua.NodeId(5006, 3), ua.NodeId("Line1.State", 2)],
    _KINDS.ExpandedNodeId: [ua.ExpandedNodeId(7, 1, NamespaceUri="urn:x")],
    _KINDS.StatusCode: [ua.StatusCode(ua.StatusCodes.BadTimeout)],
    _KINDS.QualifiedName: [ua.QualifiedName("Power", 2)],
    _KINDS.LocalizedText: [ua.LocalizedText("机床", "zh")],
    _KINDS.ExtensionObject: [ua.EUInformation("urn:unece", 5067858, ua.LocalizedText("m"))],
    _KINDS.DataValue: [ua.DataValue(ua.Variant(1, _KINDS.Int32))],
    _KINDS.Variant: [ua.Variant(1, _KINDS.Int32)],
    _KINDS.DiagnosticInfo: [ua.DiagnosticInfo()],
}
VARIANTS: Final = [
    *(ua.Variant(value, kind) for kind, values in SCALARS.items() for value in values),
    *(ua.Variant([values[0]] * 2, kind) for kind, values in SCALARS.items() if kind.value and kind.value < 22),
    ua.Variant([[1, 2], [3, 4]], _KINDS.Int32),
]
STATUSES: Final = [
    ua.StatusCodes.Good,
    ua.StatusCodes.GoodClamped,
    ua.StatusCodes.Good | 0x0480,
    ua.StatusCodes.UncertainLastUsableValue,
    ua.StatusCodes.BadNoCommunication,
    ua.StatusCodes.BadNodeIdUnknown,
]
MOMENTS: Final = [
    134_000_000_123_456_789,  # 2025
    116_444_736_000_000_000,  # 1970
    100_000_000_000_000_000,  # before it
    0,
    -5,
    208_678_456_548_547_758,  # the last that fits ns since 1970
    208_678_456_548_547_799,
    2**63 - 1,
]
MASKS: Final = range(64)


def data_value(variant: ua.Variant, mask: int, status: int = 0, source: int = MOMENTS[0]) -> bytes:
    """By OPC 10000-6, 5.2.2.17."""
    parts = [struct.pack("<B", mask)]
    for bit, encoded in (
        (0x01, variant_to_binary(variant)),
        (0x02, struct.pack("<I", status)),
        (0x04, struct.pack("<q", source)),
        (0x10, struct.pack("<H", 1234)),
        (0x08, struct.pack("<q", MOMENTS[0] + 7)),
        (0x20, struct.pack("<H", 4321)),
    ):
        if mask & bit:
            parts.append(encoded)
    return b"".join(parts)


def response(values: list[bytes], *, more: Any = None) -> bytes:
    """A publish response with one data change for each value; handles count from 7. `more`: one more notification."""
    made = ua.PublishResponse()
    made.Parameters.SubscriptionId = 42
    made.Parameters.AvailableSequenceNumbers = [3, 4]
    made.Parameters.MoreNotifications = True
    made.Parameters.NotificationMessage.SequenceNumber = 4
    empty = ua.DataChangeNotification()
    made.Parameters.NotificationMessage.NotificationData = [empty] if more is None else [empty, more]
    encoded = struct_to_binary(made)
    body = struct.pack("<i", len(values))
    body += b"".join(struct.pack("<I", handle) + value for handle, value in enumerate(values, 7))
    body += struct.pack("<i", -1)
    head = struct.pack("<BBHB", 1, 0, ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary, 1)
    before, after = encoded.split(head, 1)
    (size,) = struct.unpack_from("<i", after)
    return before + head + struct.pack("<i", len(body)) + body + after[4 + size :]


def ours(body: bytes) -> Publication:
    return publication(Buffer(body))


def theirs(body: bytes) -> Publication:
    decoded = struct_from_binary(ua.PublishResponse, Buffer(body)).Parameters
    made = message(decoded.SubscriptionId, decoded.NotificationMessage)
    made.available = tuple(decoded.AvailableSequenceNumbers)
    made.more = decoded.MoreNotifications
    return made


def same(one: Publication, other: Publication) -> bool:
    assert (one.subscription, one.sequence, one.available, one.more, one.ended, one.is_keep_alive) == (
        other.subscription,
        other.sequence,
        other.available,
        other.more,
        other.ended,
        other.is_keep_alive,
    )
    for a, b in zip(one.changes, other.changes, strict=True):
        for name in ("handle", "value", "status", "source_ns"):
            left, right = getattr(a, name), getattr(b, name)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right, name)
        assert a.others.keys() == b.others.keys()
        for row, value in a.others.items():
            wanted = b.others[row]
            assert (value.Value, value.StatusCode, value.SourceTimestamp) == (
                wanted.Value,
                wanted.StatusCode,
                wanted.SourceTimestamp,
            )
    return True


def combinations(variant: ua.Variant) -> Iterator[bytes]:
    for mask, status, moment in itertools.product(MASKS, STATUSES, MOMENTS):
        yield data_value(variant, mask, status, moment)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: f"{v.VariantType.name}{'[]' if v.is_array else ''}")
def test_every_built_in_type_status_and_time_decodes_as_asyncua_decodes_it(variant: ua.Variant) -> None:
    body = response(list(combinations(variant)))
    decoded = ours(body)
    assert not decoded.by_asyncua
    assert same(decoded, theirs(body))


@pytest.mark.parametrize("kind", [kind for kind in SCALARS if kind.value <= 11], ids=lambda k: k.name)
def test_numbers_of_one_layout_decode_alike_one_by_one_and_as_a_view(kind: ua.VariantType) -> None:
    for mask, status in itertools.product(MASKS[::3], STATUSES[2:4]):
        values = [
            data_value(ua.Variant(v, kind), mask, status, MOMENTS[0] + 10 * i) for i, v in enumerate(SCALARS[kind])
        ]
        body = response(values * 60)
        assert same(ours(body), theirs(body))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(VARIANTS), st.sampled_from([1, 3, 5, 7, 13, 63]), st.integers(1, 150)), max_size=6
    )
)
def test_runs_of_layouts_in_any_order_keep_every_value_in_its_place(runs: list[tuple[ua.Variant, int, int]]) -> None:
    body = response([data_value(variant, mask) for variant, mask, n in runs for _ in range(n)])
    decoded = ours(body)
    assert not decoded.by_asyncua
    assert same(decoded, theirs(body))
    assert decoded.changes[0].handle.tolist() == list(range(7, 7 + sum(n for *_, n in runs)))


def test_a_status_change_and_a_keep_alive_are_told_apart_from_data() -> None:
    ended = ua.StatusChangeNotification(Status=ua.StatusCode(ua.StatusCodes.BadTimeout))
    body = response([data_value(ua.Variant(1.5, _KINDS.Double), 7)], more=ended)
    assert ours(body).ended == ended.Status
    assert same(ours(body), theirs(body))
    silent = ua.PublishResponse()
    silent.Parameters.NotificationMessage.SequenceNumber = 9
    assert ours(struct_to_binary(silent)).is_keep_alive
    assert same(ours(struct_to_binary(silent)), theirs(struct_to_binary(silent)))


def test_events_between_data_are_passed_over() -> None:
    events = ua.EventNotificationList(Events=[ua.EventFieldList(3, [ua.Variant("door", _KINDS.String)])])
    body = response([data_value(ua.Variant(2, _KINDS.Int32), 7)], more=events)
    assert not ours(body).by_asyncua
    assert ours(body).changes[0].value.tolist() == [2.0]


def test_a_layout_that_is_not_known_is_decoded_by_asyncua() -> None:
    strange = bytearray(data_value(ua.Variant(2, _KINDS.Int32), 7))
    strange[0] |= 0x40
    body = response([data_value(ua.Variant(1, _KINDS.Int32), 7), bytes(strange)])
    assert ours(body).by_asyncua
    assert same(ours(body), theirs(body))


def test_a_refusal_is_an_error_and_no_publication() -> None:
    refused = ua.PublishResponse()
    refused.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadNoSubscription)
    with pytest.raises(ua.uaerrors.BadNoSubscription):
        ours(struct_to_binary(refused))


def test_a_message_that_was_cut_off_is_never_half_a_publication() -> None:
    values = [data_value(ua.Variant(float(i), _KINDS.Double), 7) for i in range(30)]
    body = response(values)
    whole = ours(body)
    for end in range(0, len(body), 7):
        try:
            decoded = ours(body[:end])
        except Exception:  # noqa: BLE001 (asyncua raises what it likes)
            continue
        assert same(decoded, whole)


def test_no_changes_are_empty_columns() -> None:
    decoded = ours(response([]))
    (changes,) = decoded.changes
    assert isinstance(changes, Changes)
    assert len(changes.handle) == len(changes.value) == 0
    assert not decoded.is_keep_alive
