"""Profiles of OPC UA servers: recognise what the server says of itself, or read the nodes named here."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from collectors.model import DeviceClass, Role
from collectors.profiles.loader import ProfileHeader
from collectors.strict_yaml import StrictModel
from metrics.record import MachineState

StateWord = Literal["unknown", "running", "idle", "fault", "off"]
STATE_OF_WORD: Final = {state.name.lower(): state for state in MachineState}


class SubscriptionSettings(StrictModel):
    """How values are asked for. The server may revise all of it."""

    publishing_s: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    sampling_s: Annotated[float, Field(ge=0.0, le=60)] = 0.5
    queue: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Values that the server keeps per node between two publications."""
    keep_alive_s: Annotated[float, Field(ge=0.2, le=60)] = 2.0
    """Longest silence of a living server: it answers at least this often."""

    @model_validator(mode="after")
    def _queue_holds_one_publication(self) -> Self:
        if self.sampling_s and self.queue < self.publishing_s / self.sampling_s:
            raise ValueError(
                "queue 至少为 publishing_s ÷ sampling_s，否则丢值。",
                "queue must be at least publishing_s / sampling_s, or values are lost.",
            )
        return self


class NodeTag(StrictModel):
    """One node of a server without a companion specification."""

    tag: str
    role: Role = Role.GAUGE
    unit: str = ""
    node: str = ""
    """Node id with its namespace's URI: `nsu=urn:vendor:plc;s=Line1.State`."""
    path: str = ""
    """Browse names below Objects, from any namespace: `Line1/State`."""
    scale: float = 1.0
    """What the node's value is multiplied by to give the unit."""
    modulus: float | None = None
    states: dict[int, StateWord] = Field(default_factory=dict)
    """For the role state: what the node's numbers mean; a number that is missing here is unknown."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if bool(self.node) == bool(self.path):
            raise ValueError("node 和 path 只写一个。", "give node or path, one of them.")
        if self.role is Role.STATE and not self.states:
            raise ValueError("状态点需要 states 对照表。", "a tag of role state needs states.")
        return self


class OpcuaProfile(ProfileHeader):
    """`recognise: machines` finds machines by their types; `nodes` reads what it names, as one device."""

    protocol: Literal["opcua"]
    recognise: Literal["machines", "nodes"] = "machines"
    classes: tuple[DeviceClass, ...] = ()
    """Of the machines found, only those of these classes; empty: all."""
    subscription: SubscriptionSettings = SubscriptionSettings()
    nodes: tuple[NodeTag, ...] = ()
    carrier: str = ""
    unit: str = ""
    direction: Literal["import", "export", "generation", ""] = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.recognise == "nodes") != bool(self.nodes):
            raise ValueError(
                "recognise: nodes 时列出 nodes；recognise: machines 时不要写。",
                "list nodes with recognise: nodes, and leave them out with recognise: machines.",
            )
        roles = [node.role for node in self.nodes if node.role is not Role.GAUGE]
        if len(roles) != len(set(roles)):
            raise ValueError("除 gauge 外每种 role 只能有一个。", "only one node of each role but gauge.")
        if self.subscription.keep_alive_s * 2 > self.liveness_s:
            raise ValueError(
                "liveness_s 至少为 keep_alive_s 的两倍。", "liveness_s must be at least twice keep_alive_s."
            )
        return self
