"""Instances of OPC UA types: mandatory children, the optional ones asked for, none of the placeholders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asyncua import ua
from asyncua.server.address_space import AddressSpace, NodeData, NodeManagementService

_HIERARCHICAL: Final = frozenset(
    ua.NodeId(identifier)
    for identifier in (
        ua.ObjectIds.HasComponent,
        ua.ObjectIds.HasProperty,
        ua.ObjectIds.HasAddIn,
        ua.ObjectIds.Organizes,
        ua.ObjectIds.HasOrderedComponent,
    )
)
_MANDATORY: Final = ua.NodeId(ua.ObjectIds.ModellingRule_Mandatory)
_OPTIONAL: Final = ua.NodeId(ua.ObjectIds.ModellingRule_Optional)
_READABLE: Final = 1


class Instances:
    """Creates instances in one server's address space, with readable string ids in one namespace."""

    def __init__(self, space: AddressSpace, namespace: int) -> None:
        self._space = space
        self._service = NodeManagementService(space)
        self._namespace = namespace

    def create(
        self,
        path: str,
        type_id: ua.NodeId,
        *,
        below: ua.NodeId,
        name: ua.QualifiedName,
        reference: int = ua.ObjectIds.HasComponent,
        wanted: frozenset[str] = frozenset(),
    ) -> ua.NodeId:
        """An object of a type below a node; `path` becomes its node id, `path.Child` that of a child.

        `wanted` names the optional children to create, as paths of browse names relative to the
        object ("Production.Statistics"). Raises ValueError where one of them is not in the type.
        """
        nodeid = ua.NodeId(path, self._namespace)
        self._add(nodeid, ua.NodeClass.Object, name, below, ua.NodeId(reference), type_id, None)
        created: dict[ua.NodeId, ua.NodeId] = {}
        done: set[str] = set()
        self._children(nodeid, None, type_id, "", wanted, created, done)
        if wanted - done:
            raise ValueError(f"not in the type of {path}: {', '.join(sorted(wanted - done))}")
        return nodeid

    def folder(self, path: str, *, below: ua.NodeId, name: ua.QualifiedName) -> ua.NodeId:
        """A folder below a node."""
        nodeid = ua.NodeId(path, self._namespace)
        folder_type = ua.NodeId(ua.ObjectIds.FolderType)
        self._add(nodeid, ua.NodeClass.Object, name, below, ua.NodeId(ua.ObjectIds.HasComponent), folder_type, None)
        return nodeid

    def variable(
        self,
        path: str,
        *,
        below: ua.NodeId,
        name: ua.QualifiedName,
        data_type: int,
        unit: ua.EUInformation | None = None,
    ) -> ua.NodeId:
        """A variable below a node: an AnalogUnitType where it has a unit."""
        nodeid = ua.NodeId(path, self._namespace)
        component = ua.NodeId(ua.ObjectIds.HasComponent)
        type_id = ua.NodeId(ua.ObjectIds.BaseDataVariableType if unit is None else ua.ObjectIds.AnalogUnitType)
        attributes = ua.VariableAttributes(DataType=ua.NodeId(data_type), AccessLevel=_READABLE, ValueRank=-1)
        self._add(nodeid, ua.NodeClass.Variable, name, below, component, type_id, attributes)
        if unit is not None:
            attributes = ua.VariableAttributes(
                DataType=ua.NodeId(ua.ObjectIds.EUInformation),
                AccessLevel=_READABLE,
                ValueRank=-1,
                Value=ua.Variant(unit, ua.VariantType.ExtensionObject),
            )
            self._add(
                ua.NodeId(f"{path}.EngineeringUnits", self._namespace),
                ua.NodeClass.Variable,
                ua.QualifiedName("EngineeringUnits", 0),
                nodeid,
                ua.NodeId(ua.ObjectIds.HasProperty),
                ua.NodeId(ua.ObjectIds.PropertyType),
                attributes,
            )
        return nodeid

    def refer(self, source: ua.NodeId, target: ua.NodeId, reference: int) -> None:
        """A reference between two nodes, and its inverse."""
        items = []
        for here, there, forward in ((source, target, True), (target, source, False)):
            item = ua.AddReferencesItem(SourceNodeId=here, TargetNodeId=there, IsForward=forward)
            item.ReferenceTypeId = ua.NodeId(reference)
            items.append(item)
        for status in self._service.add_references(items):
            status.check()

    def _children(
        self,
        nodeid: ua.NodeId,
        declaration: ua.NodeId | None,
        type_id: ua.NodeId | None,
        path: str,
        wanted: frozenset[str],
        created: dict[ua.NodeId, ua.NodeId],
        done: set[str],
    ) -> None:
        names: set[tuple[int, str | None]] = set()
        for owner in self._declaring(declaration, type_id):
            for reference in self._space[owner].references:
                name = reference.BrowseName
                key = (name.NamespaceIndex, name.Name)
                if not reference.IsForward or reference.ReferenceTypeId not in _HIERARCHICAL or key in names:
                    continue
                child = self._space.get(reference.NodeId)
                if child is None:
                    continue
                rule = _target(child, ua.ObjectIds.HasModellingRule)
                child_path = f"{path}.{name.Name}" if path else str(name.Name)
                if rule != _MANDATORY and not (rule == _OPTIONAL and child_path in wanted):
                    continue
                names.add(key)
                done.add(child_path)
                shareable = owner == declaration
                if shareable and reference.NodeId in created:  # one declaration below two parents: one node below both
                    self.refer(nodeid, created[reference.NodeId], reference.ReferenceTypeId.Identifier)
                    continue
                made = ua.NodeId(f"{nodeid.Identifier}.{name.Name}", self._namespace)
                child_type = _target(child, ua.ObjectIds.HasTypeDefinition)
                self._add(
                    made, reference.NodeClass, name, nodeid, reference.ReferenceTypeId, child_type, _attributes(child)
                )
                if shareable:
                    created[reference.NodeId] = made
                self._children(made, reference.NodeId, child_type, child_path, wanted, created, done)

    def _declaring(self, declaration: ua.NodeId | None, type_id: ua.NodeId | None) -> Iterator[ua.NodeId]:
        """Where children are declared: the declaration itself, its type, interfaces, supertypes."""
        if declaration is not None:
            yield declaration
        while type_id is not None and type_id in self._space:
            yield type_id
            node = self._space[type_id]
            yield from (r.NodeId for r in node.references if r.IsForward and _is(r, ua.ObjectIds.HasInterface))
            type_id = next(
                (r.NodeId for r in node.references if not r.IsForward and _is(r, ua.ObjectIds.HasSubtype)), None
            )

    def _add(
        self,
        nodeid: ua.NodeId,
        node_class: ua.NodeClass,
        name: ua.QualifiedName,
        below: ua.NodeId,
        reference: ua.NodeId,
        type_id: ua.NodeId | None,
        attributes: ua.VariableAttributes | ua.MethodAttributes | None,
    ) -> None:
        item = ua.AddNodesItem()
        item.RequestedNewNodeId, item.NodeClass, item.BrowseName = nodeid, node_class, name
        item.ParentNodeId, item.ReferenceTypeId = below, reference
        item.TypeDefinition = type_id or ua.NodeId()
        item.NodeAttributes = attributes or ua.ObjectAttributes()
        item.NodeAttributes.DisplayName = ua.LocalizedText(name.Name)
        self._service.add_nodes([item])[0].StatusCode.check()


def _is(reference: ua.ReferenceDescription, identifier: int) -> bool:
    return bool(reference.ReferenceTypeId == ua.NodeId(identifier))


def _target(node: NodeData, identifier: int) -> ua.NodeId | None:
    return next((r.NodeId for r in node.references if r.IsForward and _is(r, identifier)), None)


def _attributes(declaration: NodeData) -> ua.VariableAttributes | ua.MethodAttributes | None:
    node_class = _value(declaration, ua.AttributeIds.NodeClass)
    if node_class == ua.NodeClass.Method:
        return ua.MethodAttributes()
    if node_class != ua.NodeClass.Variable:
        return None
    attributes = ua.VariableAttributes(
        DataType=_value(declaration, ua.AttributeIds.DataType),
        ValueRank=_value(declaration, ua.AttributeIds.ValueRank),
        AccessLevel=_READABLE,
        UserAccessLevel=_READABLE,
    )
    held = declaration.attributes[ua.AttributeIds.Value].value
    if held is not None and held.Value is not None:
        attributes.Value = held.Value
    return attributes


def _value(node: NodeData, attribute: ua.AttributeIds) -> object:
    held = node.attributes[attribute].value
    return held.Value.Value if held is not None and held.Value is not None else None
