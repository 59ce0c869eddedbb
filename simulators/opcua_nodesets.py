"""The companion specifications' types as an OPC UA address space, read from the official NodeSet2 files.

The files come from the npm package node-opcua-nodesets, which `npm ci --prefix simulators/nodesets`
puts in place; they are loaded, never copied. asyncua's own importer adds references that the files do
not have (a property hangs below its parent by HasComponent as well) and refuses DI's design-tool nodes,
so the files are read here: nodes, attributes, values, and exactly the references of the file with
their inverses. The types of injection moulding machines are in no such package and are built by hand.

Reading takes seconds, most of it asyncua's standard address space; so the result is kept as one file
per version of package and asyncua, with one pickle per node that is opened when the node is first used.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import logging
import os
import pickle
import threading
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from asyncua import ua
from asyncua.server.address_space import AddressSpace, NodeData, NodeManagementService
from asyncua.server.standard_address_space import standard_address_space

from simulators.opcua_moulding_types import add_types

_log = logging.getLogger(__name__)

PACKAGE: Final = Path(__file__).parent / "nodesets" / "node_modules" / "node-opcua-nodesets"
FILES: Final = (
    "Opc.Ua.Di.NodeSet2.xml",
    "Opc.Ua.IA.NodeSet2.xml",
    "Opc.Ua.Machinery.NodeSet2.xml",
    "opc.ua.isa95-jobcontrol.nodeset2.xml",
    "Opc.Ua.Machinery.Jobs.Nodeset2.xml",
    "Opc.Ua.MachineTool.NodeSet2.xml",
    "Opc.Ua.Robotics.NodeSet2.xml",
)
"""In order of dependency: MachineTool 1.02 requires Machinery Jobs, which requires ISA-95 job control."""

UA: Final = "http://opcfoundation.org/UA/"
DI: Final = UA + "DI/"
IA: Final = UA + "IA/"
MACHINERY: Final = UA + "Machinery/"
MACHINE_TOOL: Final = UA + "MachineTool/"
ROBOTICS: Final = UA + "Robotics/"

APPLICATION_URI: Final = "urn:plantpulse:simulator:opcua"
"""Namespace 1 of every server is its own application (OPC 10000-5, 6.3.1)."""

_LAYOUT: Final = 2
"""Raise when what the kept file holds changes its shape."""
_XML: Final = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
_SUBTYPE: Final = ua.NodeId(ua.ObjectIds.HasSubtype)


class NodesetsMissingError(Exception):
    """The NodeSet2 files are not in place, or are not what they should be."""


@dataclass(frozen=True)
class TypeSpace:
    """An address space of types only: the node's pickle by node id, and the namespaces by index."""

    namespaces: tuple[str, ...]
    pickles: dict[ua.NodeId, bytes]

    def index(self, uri: str) -> int:
        """Index of a namespace. Raises ValueError where it is not there."""
        return self.namespaces.index(uri)

    def nodes(self) -> LazyNodes:
        """A private copy for one server, opened node by node."""
        return LazyNodes(self.pickles)


class LazyNodes(MutableMapping[ua.NodeId, NodeData]):
    """Nodes of one server: its own, and those of a type space, unpickled at their first use."""

    def __init__(self, pickles: dict[ua.NodeId, bytes]) -> None:
        self._pickles = pickles
        self._open: dict[ua.NodeId, NodeData] = {}
        self._deleted: set[ua.NodeId] = set()

    def __getitem__(self, key: ua.NodeId) -> NodeData:
        node = self._open.get(key)
        if node is None:
            if key in self._deleted:
                raise KeyError(key)
            node = self._open[key] = pickle.loads(self._pickles[key])  # noqa: S301 - made by us, see _trusted
        return node

    def __setitem__(self, key: ua.NodeId, value: NodeData) -> None:
        self._deleted.discard(key)
        self._open[key] = value

    def __delitem__(self, key: ua.NodeId) -> None:
        if key not in self:
            raise KeyError(key)
        self._open.pop(key, None)
        self._deleted.add(key)

    def __contains__(self, key: object) -> bool:
        return key in self._open or (key in self._pickles and key not in self._deleted)

    def __iter__(self) -> Iterator[ua.NodeId]:
        yield from self._open
        yield from (key for key in self._pickles if key not in self._open and key not in self._deleted)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def cache_folder() -> Path:
    """Where read type spaces are kept: PLANTPULSE_CACHE_DIR, else the user's cache folder."""
    named = os.environ.get("PLANTPULSE_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plantpulse"


_reading = threading.Lock()


def type_space(
    vendor_namespaces: Sequence[str] = (), *, package: Path = PACKAGE, cache: Path | None = None
) -> TypeSpace:
    """The type space with `vendor_namespaces` registered before the companion specifications'.

    Blocking: seconds the first time on a machine, some 50 ms from the kept file, at once within a
    process. Raises NodesetsMissingError.
    """
    with _reading:
        return _type_space(tuple(vendor_namespaces), package, cache or cache_folder())


@lru_cache(maxsize=4)
def _type_space(vendor_namespaces: tuple[str, ...], package: Path, cache: Path) -> TypeSpace:
    key = {
        "layout": _LAYOUT,
        "package": _package_version(package),
        "asyncua": importlib.metadata.version("asyncua"),
        "files": list(FILES),
        "vendor": list(vendor_namespaces),
    }
    variant = zlib.crc32(json.dumps(key).encode())
    name = f"opcua-types-{key['package']}-{key['asyncua']}-{variant:08x}.pickle"
    kept = _read_kept(cache / name, key)
    if kept is None:
        kept = _build(package, vendor_namespaces)
        _keep(cache / name, key, kept)
    return kept


def _package_version(package: Path) -> str:
    try:
        return str(json.loads((package / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError) as error:
        raise NodesetsMissingError(
            f"没有 OPC UA 官方 NodeSet2 文件（{package}）。请运行 npm ci --prefix simulators/nodesets。"
            f" / The official OPC UA NodeSet2 files are missing ({package})."
            " Run: npm ci --prefix simulators/nodesets"
        ) from error


def _trusted(path: Path) -> bool:
    """Whether only this user can have written a file: unpickling runs what it says."""
    try:
        status = path.stat()
        folder = path.parent.stat()
    except OSError:
        return False
    return all(s.st_uid == os.getuid() and not s.st_mode & 0o022 for s in (status, folder))


def _read_kept(path: Path, key: dict[str, Any]) -> TypeSpace | None:
    if not _trusted(path):
        return None
    try:
        with path.open("rb") as file:
            found, namespaces, pickles = pickle.load(file)  # noqa: S301 - checked by _trusted
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, AttributeError, ImportError) as error:
        _log.warning("%s cannot be read and is made again: %s", path, error)
        return None
    return TypeSpace(namespaces, pickles) if found == key else None


def _keep(path: Path, key: dict[str, Any], space: TypeSpace) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            pickle.dump((key, space.namespaces, space.pickles), file, pickle.HIGHEST_PROTOCOL)
        unfinished.replace(path)
    except OSError as error:  # a read-only home costs time at the next start, nothing else
        _log.warning("%s cannot be written; the next start reads the NodeSet2 files again: %s", path, error)


def _build(package: Path, vendor_namespaces: tuple[str, ...]) -> TypeSpace:
    space = AddressSpace()
    service = NodeManagementService(space)
    standard_address_space.fill_address_space(service)
    namespaces = [UA, APPLICATION_URI, *vendor_namespaces]
    for file in FILES:
        path = package / "nodesets" / file
        try:
            root = ElementTree.parse(path).getroot()  # noqa: S314 - a file of a package pinned by its lock
        except (OSError, ElementTree.ParseError) as error:
            raise NodesetsMissingError(
                f"NodeSet2 文件无法读取：{path}（{error}）。请重新运行 npm ci --prefix simulators/nodesets。"
                f" / Cannot read {path} ({error}). Run again: npm ci --prefix simulators/nodesets"
            ) from error
        _Nodeset(root, namespaces).add_to(service)
    add_types(service, namespaces)
    for node in space._nodes.values():  # no method of a type can be called; functions cannot be pickled
        node.call = None
    pickles = {nodeid: pickle.dumps(node, pickle.HIGHEST_PROTOCOL) for nodeid, node in space._nodes.items()}
    return TypeSpace(tuple(namespaces), pickles)


_CLASSES: Final[dict[str, tuple[ua.NodeClass, Callable[[], Any]]]] = {
    "UAObject": (ua.NodeClass.Object, ua.ObjectAttributes),
    "UAVariable": (ua.NodeClass.Variable, ua.VariableAttributes),
    "UAMethod": (ua.NodeClass.Method, ua.MethodAttributes),
    "UAObjectType": (ua.NodeClass.ObjectType, ua.ObjectTypeAttributes),
    "UAVariableType": (ua.NodeClass.VariableType, ua.VariableTypeAttributes),
    "UADataType": (ua.NodeClass.DataType, ua.DataTypeAttributes),
    "UAReferenceType": (ua.NodeClass.ReferenceType, ua.ReferenceTypeAttributes),
}


class _Nodeset:
    """One NodeSet2 file, its indices translated to those of the server."""

    def __init__(self, root: ElementTree.Element, namespaces: list[str]) -> None:
        self._root = root
        uris = [element.text or "" for element in root.findall(f"{_XML}NamespaceUris/{_XML}Uri")]
        for uri in uris:
            if uri not in namespaces:
                namespaces.append(uri)
        self._index = [0, *(namespaces.index(uri) for uri in uris)]
        self._aliases = {
            element.attrib["Alias"]: element.text or "" for element in root.findall(f"{_XML}Aliases/{_XML}Alias")
        }

    def add_to(self, service: NodeManagementService) -> None:
        """Add every node, then every reference in both directions."""
        elements = [
            element
            for element in self._root
            if element.tag.removeprefix(_XML) in _CLASSES and element.get("DesignToolOnly") != "true"
        ]
        for unplaced in service.try_add_nodes([self._item(element) for element in elements], check=False):
            raise NodesetsMissingError(f"节点重复：{unplaced.RequestedNewNodeId} / node given twice")
        references: list[ua.AddReferencesItem] = []
        for element in elements:
            source = self._nodeid(element.attrib["NodeId"])
            for reference in element.findall(f"{_XML}References/{_XML}Reference"):
                kind = self._nodeid(reference.attrib["ReferenceType"])
                target = self._nodeid((reference.text or "").strip())
                forward = reference.get("IsForward", "true") != "false"
                references.append(_reference(source, kind, target, forward))
                if kind.Identifier != ua.ObjectIds.HasTypeDefinition or kind.NamespaceIndex:
                    references.append(_reference(target, kind, source, not forward))
        # type definitions first: a description copies its target's type when it is made
        references.sort(key=lambda r: r.ReferenceTypeId != ua.NodeId(ua.ObjectIds.HasTypeDefinition))
        missing = list(service.try_add_references(references))
        if missing:
            _log.debug("%d references lead to nodes that no loaded file has", len(missing))

    def _item(self, element: ElementTree.Element) -> ua.AddNodesItem:
        node_class, attributes_of = _CLASSES[element.tag.removeprefix(_XML)]
        item = ua.AddNodesItem()
        item.RequestedNewNodeId = self._nodeid(element.attrib["NodeId"])
        item.BrowseName = self._qualified(element.attrib["BrowseName"])
        item.NodeClass = node_class
        attributes = attributes_of()
        attributes.DisplayName = ua.LocalizedText(element.findtext(f"{_XML}DisplayName") or item.BrowseName.Name)
        attributes.Description = ua.LocalizedText(element.findtext(f"{_XML}Description"))
        if node_class in (ua.NodeClass.Variable, ua.NodeClass.VariableType):
            attributes.DataType = self._nodeid(element.get("DataType", "i=24"))
            attributes.ValueRank = int(element.get("ValueRank", "-1"))
            value = element.find(f"{_XML}Value")
            if value is not None and len(value):
                attributes.Value = self._variant(value[0])
        if node_class is ua.NodeClass.Variable:
            attributes.AccessLevel = attributes.UserAccessLevel = int(element.get("AccessLevel", "1"))
        if node_class is ua.NodeClass.Object:
            attributes.EventNotifier = int(element.get("EventNotifier", "0"))
        if hasattr(attributes, "IsAbstract"):
            attributes.IsAbstract = element.get("IsAbstract") == "true"
        if node_class is ua.NodeClass.ReferenceType:
            attributes.Symmetric = element.get("Symmetric") == "true"
            attributes.InverseName = ua.LocalizedText(element.findtext(f"{_XML}InverseName"))
        item.NodeAttributes = attributes
        return item

    def _nodeid(self, text: str) -> ua.NodeId:
        nodeid = ua.NodeId.from_string(self._aliases.get(text, text))
        return ua.NodeId(nodeid.Identifier, self._index[nodeid.NamespaceIndex])

    def _qualified(self, text: str) -> ua.QualifiedName:
        head, colon, name = text.partition(":")
        if colon and head.isdecimal():
            return ua.QualifiedName(name, self._index[int(head)])
        return ua.QualifiedName(text, 0)

    def _variant(self, element: ElementTree.Element) -> ua.Variant:
        kind = element.tag.rpartition("}")[2]
        if kind.startswith("ListOf"):
            kind = kind.removeprefix("ListOf")
            return ua.Variant([self._scalar(kind, item) for item in element], ua.VariantType[kind], is_array=True)
        return ua.Variant(self._scalar(kind, element), ua.VariantType[kind])

    def _scalar(self, kind: str, element: ElementTree.Element) -> Any:
        text = (element.text or "").strip()
        if kind in ("UInt32", "Int32"):
            return int(text)
        if kind == "Double":
            return float(text)
        if kind == "Boolean":
            return text == "true"
        if kind == "DateTime":
            return datetime.fromisoformat(text)
        if kind == "ByteString":
            return base64.b64decode(text)
        if kind == "LocalizedText":
            return ua.LocalizedText(_below(element, "Text"))
        if kind == "QualifiedName":
            return ua.QualifiedName(
                _below(element, "Name") or "", self._index[int(_below(element, "NamespaceIndex") or 0)]
            )
        if kind == "ExtensionObject":
            return self._structure(element)
        return text

    def _structure(self, element: ElementTree.Element) -> Any:
        body = next(part for part in element.iter() if part.tag.endswith("}Body"))[0]
        kind = body.tag.rpartition("}")[2]
        if kind == "Argument":
            datatype = next((part for part in body if part.tag.endswith("}DataType")), None)
            identifier = _below(datatype, "Identifier") if datatype is not None else None
            return ua.Argument(
                Name=_below(body, "Name") or "",
                DataType=self._nodeid(identifier or "i=24"),
                ValueRank=int(_below(body, "ValueRank") or -1),
            )
        if kind == "EnumValueType":
            name = next((part for part in body if part.tag.endswith("}DisplayName")), body)
            return ua.EnumValueType(
                Value=int(_below(body, "Value") or 0), DisplayName=ua.LocalizedText(_below(name, "Text"))
            )
        raise NodesetsMissingError(f"不支持的结构：{kind} / a structure that is not supported: {kind}")


def _below(element: ElementTree.Element, name: str) -> str | None:
    for part in element:
        if part.tag.rpartition("}")[2] == name:
            return (part.text or "").strip()
    return None


def _reference(source: ua.NodeId, kind: ua.NodeId, target: ua.NodeId, forward: bool) -> ua.AddReferencesItem:
    item = ua.AddReferencesItem()
    item.SourceNodeId, item.ReferenceTypeId, item.TargetNodeId, item.IsForward = source, kind, target, forward
    item.TargetNodeClass = ua.NodeClass.Unspecified
    return item
