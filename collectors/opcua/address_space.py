"""Reading a server's address space in batches: browsing, names, types and values. Nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asyncua import Client, ua

from collectors.opcua.limits import Limits, limits_of_server

UA: Final = "http://opcfoundation.org/UA/"
_MOST_REFERENCES: Final = 1_000
MOST_NODES: Final = 5_000
"""Nodes looked at below one machine; nobody's state or counter lies behind more."""

NOT_ENTERED: Final = frozenset(
    {
        "ActiveJob",
        "Equipment",
        "FileSystem",
        "InjectionUnits",
        "JobInPreparation",
        "JobManagement",
        "MethodSet",
        "Moulds",
        "Prognoses",
        "ProductionDatasetManagement",
        "ProductionPlan",
        "Programs",
        "ResultManagement",
        "Software",
        "Tools",
        "Users",
        "WorkMasters",
    }
)
"""Where programs, tools, jobs, recipes and names of people live: a plant's own business, never browsed or read."""
ENTERED_FOR: Final = {
    "ActiveProgram": frozenset({"State"}),
    "Jobs": frozenset({"ActiveJobValues"}),
    "Notification": frozenset({"Messages"}),
}
"""The same, but for what tells whether the machine works: of these, nothing but the children named here."""


@dataclass(frozen=True, slots=True)
class Found:
    """One node below a machine. `path`: browse names without namespaces, from the machine's children on."""

    node: ua.NodeId
    path: tuple[str, ...]
    node_class: ua.NodeClass
    type_definition: ua.NodeId

    @property
    def name(self) -> str:
        """The browse name without its namespace."""
        return self.path[-1]


class AddressSpace:
    """One session's view of a server. Namespace indices hold for this session only."""

    def __init__(self, client: Client, namespaces: Sequence[str], limits: Limits) -> None:
        self._limits = limits
        self._session = client.uaclient.session
        self._namespaces = list(namespaces)
        self._supertypes: dict[ua.NodeId, ua.NodeId | None] = {}

    @classmethod
    async def of(cls, client: Client, limits: Limits | None = None) -> AddressSpace:
        """Read the namespaces of a connected client's server, and its limits where they are not known."""
        limits = limits or await limits_of_server(client)
        return cls(client, await client.get_namespace_array(), limits)

    def index(self, uri: str) -> int | None:
        """Index of a namespace in this session, None where the server does not have it."""
        return self._namespaces.index(uri) if uri in self._namespaces else None

    def node(self, uri: str, identifier: int) -> ua.NodeId | None:
        """A numeric node id of a companion specification, None where the server does not have it."""
        index = self.index(uri)
        return None if index is None else ua.NodeId(identifier, index)

    def uri_of(self, node: ua.NodeId) -> str:
        """The namespace URI of a node id; blank for an index that the server does not list."""
        index = node.NamespaceIndex
        return self._namespaces[index] if index < len(self._namespaces) else ""

    def parse(self, text: str) -> ua.NodeId | None:
        """`nsu=URI;s=Name` as a node id of this session, None where the server lacks the namespace.

        Raises ValueError for what is no node id.
        """
        head, _, rest = text.partition(";") if text.startswith("nsu=") else ("nsu=" + UA, "", text)
        index = self.index(head.removeprefix("nsu="))
        try:
            given = ua.NodeId.from_string(rest)
        except ua.UaError as error:
            raise ValueError(str(error)) from error
        return None if index is None else ua.NodeId(given.Identifier, index, given.NodeIdType)

    def text_of(self, node: ua.NodeId) -> str:
        """A node id as `parse` reads it: with its namespace's URI, except in OPC UA's own."""
        text = str(ua.NodeId(node.Identifier, 0, node.NodeIdType).to_string())
        return f"nsu={self.uri_of(node)};{text}" if node.NamespaceIndex else text

    async def children(self, nodes: Sequence[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
        """Forward hierarchical references to objects and variables of each node; none of one that is not there."""
        return await self._browse(
            nodes,
            ua.ObjectIds.HierarchicalReferences,
            ua.BrowseDirection.Forward,
            ua.NodeClass.Object | ua.NodeClass.Variable,
        )

    async def at(self, path: str) -> ua.NodeId | None:
        """The node at a path of browse names below Objects, from any namespace; None where there is none."""
        node = ua.NodeId(ua.ObjectIds.ObjectsFolder)
        for name in path.split("/"):
            references = (await self.children([node]))[0]
            match = next((r for r in references if r.BrowseName.Name == name), None)
            if match is None:
                return None
            node = _local(match.NodeId)
        return node

    async def below(
        self,
        root: ua.NodeId,
        *,
        depth: int = 10,
        most: int = MOST_NODES,
        without: Collection[ua.NodeId] = (),
    ) -> list[Found]:
        """Everything below a node, nearest first, each node once; neither NOT_ENTERED nor `without` is entered,
        and of what is in ENTERED_FOR only what is named there."""
        found: list[Found] = []
        seen = {root, *without}
        level: list[tuple[ua.NodeId, tuple[str, ...]]] = [(root, ())]
        for _ in range(depth):
            references = await self.children([node for node, _ in level])
            following: list[tuple[ua.NodeId, tuple[str, ...]]] = []
            for (_, path), below in zip(level, references, strict=True):
                only = ENTERED_FOR.get(path[-1]) if path else None
                for reference in below:
                    name = reference.BrowseName.Name or ""
                    if only is not None and name not in only:
                        continue
                    node = _local(reference.NodeId)
                    if node in seen or name in NOT_ENTERED or len(found) >= most:
                        continue
                    seen.add(node)
                    here = (*path, name)
                    found.append(Found(node, here, reference.NodeClass, _local(reference.TypeDefinition)))
                    following.append((node, here))
            if not following:
                break
            level = following
        return found

    async def read(self, nodes: Sequence[ua.NodeId], attribute: int = ua.AttributeIds.Value) -> list[ua.DataValue]:
        """One attribute of each node, in order; a bad status where a node cannot be read."""
        values: list[ua.DataValue] = []
        step = self._limits.nodes_per_read
        for start in range(0, len(nodes), step):
            values.extend(await self._session.read_attributes(list(nodes[start : start + step]), attribute))
        return values

    async def types_of(self, types: Sequence[ua.NodeId]) -> list[set[tuple[str, Any]]]:
        """Each type with all its supertypes, as pairs of namespace URI and identifier."""
        waiting = {t for t in types if not t.is_null() and t not in self._supertypes}
        while waiting:
            batch = list(waiting)
            answers = await self._browse(batch, ua.ObjectIds.HasSubtype, ua.BrowseDirection.Inverse, 0)
            for node, references in zip(batch, answers, strict=True):
                self._supertypes[node] = _local(references[0].NodeId) if references else None
            waiting = {s for s in self._supertypes.values() if s is not None and s not in self._supertypes}
        chains = []
        for given in types:
            chain: set[tuple[str, Any]] = set()
            above: ua.NodeId | None = given
            while above is not None and not above.is_null() and (self.uri_of(above), above.Identifier) not in chain:
                chain.add((self.uri_of(above), above.Identifier))
                above = self._supertypes.get(above)
            chains.append(chain)
        return chains

    async def _browse(
        self, nodes: Sequence[ua.NodeId], reference: int, direction: ua.BrowseDirection, mask: int
    ) -> list[list[ua.ReferenceDescription]]:
        answers: list[list[ua.ReferenceDescription]] = []
        step = self._limits.nodes_per_browse
        for start in range(0, len(nodes), step):
            parameters = ua.BrowseParameters()
            parameters.View.Timestamp = ua.get_win_epoch()
            parameters.RequestedMaxReferencesPerNode = _MOST_REFERENCES
            for node in nodes[start : start + step]:
                description = ua.BrowseDescription()
                description.NodeId = node
                description.BrowseDirection = direction
                description.ReferenceTypeId = ua.NodeId(reference)
                description.IncludeSubtypes = reference != ua.ObjectIds.HasSubtype
                description.NodeClassMask = mask
                description.ResultMask = ua.BrowseResultMask.All
                parameters.NodesToBrowse.append(description)
            for result in await self._session.browse(parameters):
                references = list(result.References or ())
                point = result.ContinuationPoint
                while point:
                    following = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[point])
                    rest = (await self._session.browse_next(following))[0]
                    references.extend(rest.References or ())
                    point = rest.ContinuationPoint
                answers.append(references)
        return answers


def _local(node: Any) -> ua.NodeId:
    """A plain node id of what references carry (expanded ids of the same server)."""
    return ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType) if not node.is_null() else ua.NodeId()
