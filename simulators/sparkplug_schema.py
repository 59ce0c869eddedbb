"""Sparkplug B payloads by Google's protobuf library, from a descriptor built here out of the public schema's numbers.

Independent of the collectors' own decoder: a wrong field number there cannot hide here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message


class DataType(IntEnum):
    """Datatypes of Sparkplug B 3.0 that the simulators use."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    DATASET = 16
    BYTES = 17
    TEMPLATE = 19


_F: Final = descriptor_pb2.FieldDescriptorProto
_METRIC_FIELDS: Final = (
    ("name", 1, _F.TYPE_STRING, False),
    ("alias", 2, _F.TYPE_UINT64, False),
    ("timestamp", 3, _F.TYPE_UINT64, False),
    ("datatype", 4, _F.TYPE_UINT32, False),
    ("is_historical", 5, _F.TYPE_BOOL, False),
    ("is_transient", 6, _F.TYPE_BOOL, False),
    ("is_null", 7, _F.TYPE_BOOL, False),
    ("int_value", 10, _F.TYPE_UINT32, True),
    ("long_value", 11, _F.TYPE_UINT64, True),
    ("float_value", 12, _F.TYPE_FLOAT, True),
    ("double_value", 13, _F.TYPE_DOUBLE, True),
    ("boolean_value", 14, _F.TYPE_BOOL, True),
    ("string_value", 15, _F.TYPE_STRING, True),
    ("bytes_value", 16, _F.TYPE_BYTES, True),
)
_VALUE_FIELD: Final = {
    DataType.INT8: "int_value",
    DataType.INT16: "int_value",
    DataType.INT32: "int_value",
    DataType.INT64: "long_value",
    DataType.UINT8: "int_value",
    DataType.UINT16: "int_value",
    DataType.UINT32: "long_value",
    DataType.UINT64: "long_value",
    DataType.FLOAT: "float_value",
    DataType.DOUBLE: "double_value",
    DataType.BOOLEAN: "boolean_value",
    DataType.STRING: "string_value",
    DataType.DATETIME: "long_value",
    DataType.TEXT: "string_value",
    DataType.BYTES: "bytes_value",
}
_MASK: Final = {"int_value": (1 << 32) - 1, "long_value": (1 << 64) - 1}


def _payload_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="plantpulse.sparkplug", syntax="proto2")
    payload = file.message_type.add(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for name, number, kind, in_oneof in _METRIC_FIELDS:
        field = metric.field.add(name=name, number=number, type=kind, label=_F.LABEL_OPTIONAL)
        if in_oneof:
            field.oneof_index = 0
    data_set = payload.nested_type.add(name="DataSet")
    row = data_set.nested_type.add(name="Row")
    cell = data_set.nested_type.add(name="DataSetValue")
    cell.oneof_decl.add(name="value")
    cell.field.add(name="double_value", number=4, type=_F.TYPE_DOUBLE, label=_F.LABEL_OPTIONAL, oneof_index=0)
    _add_messages(row, "elements", 1, "DataSet.DataSetValue", repeated=True)
    data_set.field.add(name="num_of_columns", number=1, type=_F.TYPE_UINT64, label=_F.LABEL_OPTIONAL)
    data_set.field.add(name="columns", number=2, type=_F.TYPE_STRING, label=_F.LABEL_REPEATED)
    data_set.field.add(name="types", number=3, type=_F.TYPE_UINT32, label=_F.LABEL_REPEATED)
    _add_messages(data_set, "rows", 4, "DataSet.Row", repeated=True)
    template = payload.nested_type.add(name="Template")
    template.field.add(name="version", number=1, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
    _add_messages(template, "metrics", 2, "Metric", repeated=True)
    template.field.add(name="template_ref", number=4, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
    template.field.add(name="is_definition", number=5, type=_F.TYPE_BOOL, label=_F.LABEL_OPTIONAL)
    property_set = payload.nested_type.add(name="PropertySet")
    property_value = payload.nested_type.add(name="PropertyValue")
    property_value.oneof_decl.add(name="value")
    property_value.field.add(name="type", number=1, type=_F.TYPE_UINT32, label=_F.LABEL_OPTIONAL)
    property_value.field.add(name="is_null", number=2, type=_F.TYPE_BOOL, label=_F.LABEL_OPTIONAL)
    for name, number, kind in (("int_value", 3, _F.TYPE_UINT32), ("string_value", 8, _F.TYPE_STRING)):
        property_value.field.add(name=name, number=number, type=kind, label=_F.LABEL_OPTIONAL, oneof_index=0)
    property_set.field.add(name="keys", number=1, type=_F.TYPE_STRING, label=_F.LABEL_REPEATED)
    _add_messages(property_set, "values", 2, "PropertyValue", repeated=True)
    _add_messages(metric, "properties", 9, "PropertySet", repeated=False)
    for name, number, kind_name in (("dataset_value", 17, "DataSet"), ("template_value", 18, "Template")):
        _add_messages(metric, name, number, kind_name, repeated=False)
        metric.field[-1].oneof_index = 0
    payload.field.add(name="timestamp", number=1, type=_F.TYPE_UINT64, label=_F.LABEL_OPTIONAL)
    _add_messages(payload, "metrics", 2, "Metric", repeated=True)
    payload.field.add(name="seq", number=3, type=_F.TYPE_UINT64, label=_F.LABEL_OPTIONAL)
    payload.field.add(name="uuid", number=4, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
    payload.field.add(name="body", number=5, type=_F.TYPE_BYTES, label=_F.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("plantpulse.sparkplug.Payload"))


def _add_messages(owner: Any, name: str, number: int, of: str, *, repeated: bool) -> None:
    label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
    type_name = f".plantpulse.sparkplug.Payload.{of}"
    owner.field.add(name=name, number=number, type=_F.TYPE_MESSAGE, type_name=type_name, label=label)


Payload: Final = _payload_class()
"""The generated message class."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric to send. `value` None is null; blank name and alias None leave the field out.

    The value of a DATASET is rows of floats, that of a TEMPLATE the metrics of an instance.
    """

    datatype: DataType
    value: Any
    name: str = ""
    alias: int | None = None
    at_ms: int = 0
    historical: bool = False
    with_datatype: bool = True
    quality: int | None = None
    """The property `Quality`: 192 good, 500 stale, 0 bad; None leaves the properties out."""


def encode(metrics: Sequence[Metric], *, at_ms: int, seq: int | None) -> bytes:
    """A payload as bytes; `seq` None leaves it out, as a death does. Negative integers are two's complement."""
    payload: Any = Payload()
    payload.timestamp = at_ms
    if seq is not None:
        payload.seq = seq
    for given in metrics:
        _fill(payload.metrics.add(), given, at_ms)
    return bytes(payload.SerializeToString())


def _fill(metric: Any, given: Metric, at_ms: int) -> None:
    if given.name:
        metric.name = given.name
    if given.alias is not None:
        metric.alias = given.alias
    metric.timestamp = given.at_ms or at_ms
    if given.with_datatype:
        metric.datatype = given.datatype
    if given.historical:
        metric.is_historical = True
    if given.quality is not None:
        for key, datatype, value in (("engUnit", DataType.STRING, "kWh"), ("Quality", DataType.INT32, given.quality)):
            metric.properties.keys.append(key)
            given_property = metric.properties.values.add()
            given_property.type = datatype
            setattr(given_property, _VALUE_FIELD[datatype], value)
    if given.value is None:
        metric.is_null = True
    elif given.datatype is DataType.DATASET:
        width = len(given.value[0]) if given.value else 0
        data_set = metric.dataset_value
        data_set.num_of_columns = width
        data_set.columns.extend(f"column {n}" for n in range(width))
        data_set.types.extend([DataType.DOUBLE] * width)
        for row in given.value:
            elements = data_set.rows.add().elements
            for cell in row:
                elements.add().double_value = cell
    elif given.datatype is DataType.TEMPLATE:
        metric.template_value.template_ref = "a type"
        metric.template_value.is_definition = False
        for member in given.value:
            _fill(metric.template_value.metrics.add(), member, at_ms)
    else:
        field = _VALUE_FIELD[given.datatype]
        setattr(metric, field, given.value & _MASK[field] if field in _MASK else given.value)


def decode(data: bytes) -> Any:
    """A payload's message object. Raises google.protobuf.message.DecodeError."""
    return Payload.FromString(data)
