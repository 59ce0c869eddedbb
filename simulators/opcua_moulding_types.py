"""The types of an injection moulding machine (OPC 40077 1.01, OPC 40083 1.03), built by hand.

No package that we may use ships their NodeSet2 files, so the types are typed here from the published tables
(reference.opcfoundation.org): names, numeric ids of types and data types, data types, which children are
mandatory. Left out are methods, events, and what neither machine nor reader needs. Children that a table
declares have ids of the server's own namespace, for their official ones are in no table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asyncua import ua
from asyncua.server.address_space import NodeManagementService

UA: Final = "http://opcfoundation.org/UA/"
DI: Final = UA + "DI/"
GENERAL: Final = UA + "PlasticsRubber/GeneralTypes/"
IMM2MES: Final = UA + "PlasticsRubber/IMM2MES/"

_OWN_NAMESPACE: Final = 1
_INT32, _BOOLEAN, _STRING = ua.ObjectIds.Int32, ua.ObjectIds.Boolean, ua.ObjectIds.String
_UINT16, _UINT32, _UINT64 = ua.ObjectIds.UInt16, ua.ObjectIds.UInt32, ua.ObjectIds.UInt64
_DOUBLE, _DURATION, _TEXT = ua.ObjectIds.Double, ua.ObjectIds.Duration, ua.ObjectIds.LocalizedText

_ENUMERATIONS: Final = {
    "MachineModeEnumeration": 3011,
    "ProductionStatusEnumeration": 3016,
    "JobStatusEnumeration": 3017,
}

_Names = str | int
"""A name among the types or enumerations here, or an id of OPC UA's own namespace."""


@dataclass(frozen=True, slots=True)
class _Child:
    """What a type declares. `kind`: a data type of a property or variable, or the type of an object."""

    name: str
    kind: _Names
    reference: int = ua.ObjectIds.HasProperty
    mandatory: bool = True
    uri: str = GENERAL
    type_definition: int = ua.ObjectIds.PropertyType
    children: tuple[_Child, ...] = ()


@dataclass(frozen=True, slots=True)
class _Type:
    """One object type."""

    name: str
    identifier: int
    children: tuple[_Child, ...]
    base: _Names = ua.ObjectIds.BaseObjectType
    uri: str = GENERAL


def _part(
    name: str, kind: str, *, mandatory: bool = True, uri: str = GENERAL, children: tuple[_Child, ...] = ()
) -> _Child:
    return _Child(name, kind, ua.ObjectIds.HasComponent, mandatory, uri, children=children)


def _value(name: str, kind: _Names, *, mandatory: bool = True, analog: bool = False) -> _Child:
    definition = ua.ObjectIds.AnalogUnitType if analog else ua.ObjectIds.BaseDataVariableType
    return _Child(name, kind, ua.ObjectIds.HasComponent, mandatory, type_definition=definition)


_TYPES: Final = (
    _Type(
        "MachineInformationType",
        1009,
        (
            _Child("DeviceClass", _STRING, uri=DI),
            _Child("Manufacturer", _TEXT, uri=DI),
            _Child("Model", _TEXT, uri=DI),
            _Child("SerialNumber", _STRING, uri=DI),
            _Child("ProductInstanceUri", _STRING, mandatory=False, uri=DI),
            _Child("ControllerName", _STRING),
        ),
        base="ComponentType",
    ),
    _Type(
        "MachineConfigurationType",
        1016,
        (_Child("UserMachineName", _STRING), _Child("LocationName", _STRING)),
    ),
    _Type("MachineMESConfigurationType", 1018, (_Child("StandstillReasonsLockedByMES", _BOOLEAN),)),
    _Type(
        "MachineStatusType",
        1019,
        (_Child("IsPresent", _BOOLEAN), _Child("MachineMode", "MachineModeEnumeration")),
    ),
    _Type(
        "ProductionControlType",
        1017,
        (
            _Child("ProductionReleasedByMES", _BOOLEAN),
            _Child("AutomaticRunEnabled", _BOOLEAN),
            _Child("ProductionStatus", "ProductionStatusEnumeration"),
        ),
    ),
    _Type("StandstillMessageType", 1026, (_Child("Id", _STRING), _Child("Severity", _UINT16, uri=UA))),
    _Type(
        "MachineMESStatusType",
        1020,
        (
            _Child("StandstillReasonId", _STRING),
            _part("StandstillMessage", "StandstillMessageType"),
            _part("ProductionControl", "ProductionControlType"),
        ),
    ),
    _Type("JobInformationType", 1037, (_Child("JobName", _STRING), _Child("ProductionDatasetName", _STRING))),
    _Type(
        "CyclicJobInformationType",
        1024,
        (_Child("NominalParts", _UINT64), _Child("MouldId", _STRING), _Child("NumCavities", _UINT32)),
        base="JobInformationType",
    ),
    _Type(
        "ActiveJobValuesType",
        1021,
        (_Child("JobStatus", "JobStatusEnumeration"), _Child("CurrentLotName", _STRING)),
    ),
    _Type(
        "ActiveCyclicJobValuesType",
        1031,
        (
            _value("JobCycleCounter", _UINT64),
            _value("MachineCycleCounter", _UINT64, mandatory=False),
            _value("LastCycleTime", _DURATION),
            _value("JobPartsCounter", _UINT64),
            _value("JobGoodPartsCounter", _UINT64),
            _value("JobBadPartsCounter", _UINT64),
        ),
        base="ActiveJobValuesType",
    ),
    _Type(
        "JobsType",
        1032,
        (_part("ActiveJob", "JobInformationType"), _part("ActiveJobValues", "ActiveJobValuesType")),
    ),
    _Type(
        "PowerUnitType",
        1033,
        (
            _Child("Index", _UINT32),
            _Child("IsPresent", _BOOLEAN),
            _Child("Id", _STRING),
            _Child("PowerOn", _BOOLEAN),
        ),
    ),
    _Type("ElectricDriveType", 1036, (), base="PowerUnitType"),
    _Type("PowerUnitsType", 1049, (_Child("NodeVersion", _STRING, uri=UA),)),
    _Type("MouldsType", 1050, (_Child("NodeVersion", _STRING, uri=UA),)),
    _Type(
        "EnergyType",
        1063,
        (
            _value("ActualPower", _DOUBLE, mandatory=False, analog=True),
            _value("PowerConsumption", _DOUBLE, mandatory=False, analog=True),
        ),
    ),
    _Type("InjectionUnitsType", 1016, (_Child("NodeVersion", _STRING, uri=UA),), uri=IMM2MES),
    _Type(
        "IMM_MES_InterfaceType",
        1007,
        (
            _part("MachineInformation", "MachineInformationType", uri=IMM2MES),
            _part("MachineConfiguration", "MachineConfigurationType", uri=IMM2MES),
            _part("MachineMESConfiguration", "MachineMESConfigurationType", uri=IMM2MES),
            _part("MachineStatus", "MachineStatusType", uri=IMM2MES),
            _part("MachineMESStatus", "MachineMESStatusType", uri=IMM2MES),
            _part("PowerUnits", "PowerUnitsType", uri=IMM2MES),
            _part("Moulds", "MouldsType", uri=IMM2MES),
            _part("InjectionUnits", "InjectionUnitsType", uri=IMM2MES),
            _part(
                "Jobs",
                "JobsType",
                mandatory=False,
                uri=IMM2MES,
                # production is cyclic: OPC 40077, 17.1
                children=(
                    _part("ActiveJob", "CyclicJobInformationType"),
                    _part("ActiveJobValues", "ActiveCyclicJobValuesType"),
                ),
            ),
        ),
        uri=IMM2MES,
    ),
)


def add_types(service: NodeManagementService, namespaces: list[str]) -> None:
    """Add the types to an address space that has DI's; `namespaces` gets the two of plastics and rubber.

    Raises UaStatusCodeError where a node is there already.
    """
    namespaces.extend(uri for uri in (GENERAL, IMM2MES) if uri not in namespaces)
    _Types(service, namespaces).add()


class _Types:
    def __init__(self, service: NodeManagementService, namespaces: list[str]) -> None:
        self._service, self._namespaces = service, namespaces
        general, di = namespaces.index(GENERAL), namespaces.index(DI)
        self._ids = {name: ua.NodeId(number, general) for name, number in _ENUMERATIONS.items()}
        self._ids |= {t.name: ua.NodeId(t.identifier, namespaces.index(t.uri)) for t in _TYPES}
        self._ids["ComponentType"] = ua.NodeId(15063, di)

    def add(self) -> None:
        for name in _ENUMERATIONS:
            attributes = ua.DataTypeAttributes(DisplayName=ua.LocalizedText(name))
            above = ua.NodeId(ua.ObjectIds.Enumeration)
            self._add(self._ids[name], ua.NodeClass.DataType, self._name(name, GENERAL), above, attributes)
        for made in _TYPES:
            attributes = ua.ObjectTypeAttributes(DisplayName=ua.LocalizedText(made.name))
            name = self._name(made.name, made.uri)
            self._add(self._ids[made.name], ua.NodeClass.ObjectType, name, self._id(made.base), attributes)
        for made in _TYPES:
            for child in made.children:
                self._declare(self._ids[made.name], made.name, child)

    def _id(self, named: _Names) -> ua.NodeId:
        return self._ids[named] if isinstance(named, str) else ua.NodeId(named)

    def _name(self, name: str, uri: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, self._namespaces.index(uri))

    def _add(
        self,
        node: ua.NodeId,
        node_class: ua.NodeClass,
        name: ua.QualifiedName,
        above: ua.NodeId,
        attributes: ua.DataTypeAttributes | ua.ObjectTypeAttributes,
    ) -> None:
        item = ua.AddNodesItem(RequestedNewNodeId=node, NodeClass=node_class, BrowseName=name, ParentNodeId=above)
        item.ReferenceTypeId, item.NodeAttributes = ua.NodeId(ua.ObjectIds.HasSubtype), attributes
        self._service.add_nodes([item])[0].StatusCode.check()

    def _declare(self, above: ua.NodeId, path: str, child: _Child) -> None:
        path = f"{path}.{child.name}"
        node = ua.NodeId(path, _OWN_NAMESPACE)
        item = ua.AddNodesItem(
            RequestedNewNodeId=node, ParentNodeId=above, BrowseName=self._name(child.name, child.uri)
        )
        item.ReferenceTypeId = ua.NodeId(child.reference)
        shown = ua.LocalizedText(child.name)
        if child.kind in self._ids and child.kind not in _ENUMERATIONS:
            item.NodeClass, item.TypeDefinition = ua.NodeClass.Object, self._id(child.kind)
            item.NodeAttributes = ua.ObjectAttributes(DisplayName=shown)
        else:
            item.NodeClass, item.TypeDefinition = ua.NodeClass.Variable, ua.NodeId(child.type_definition)
            item.NodeAttributes = ua.VariableAttributes(
                DisplayName=shown, DataType=self._id(child.kind), ValueRank=-1, AccessLevel=1, UserAccessLevel=1
            )
        self._service.add_nodes([item])[0].StatusCode.check()
        rule = ua.ObjectIds.ModellingRule_Mandatory if child.mandatory else ua.ObjectIds.ModellingRule_Optional
        reference = ua.AddReferencesItem(SourceNodeId=node, TargetNodeId=ua.NodeId(rule), IsForward=True)
        reference.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasModellingRule)
        self._service.add_references([reference])[0].check()
        for below in child.children:
            self._declare(node, path, below)
