"""Profiles of OPC UA servers: recognise what the server says of itself, or read the nodes named here."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from collectors.model import DeviceClass, Role
from collectors.profiles.loader import ProfileHeader
from collectors.strict_yaml import StrictModel
from metrics.record import MachineState

StateWord = Literal["unknown", "running", "idle", "fault", "off"]
Deadband = Annotated[float, Field(gt=0)] | Annotated[str, Field(pattern=r"^\d+(\.\d+)?%$")]
_LEAST_QUEUED: Final = 2
_MOST_QUEUED: Final = 10_000
STATE_OF_WORD: Final = {state.name.lower(): state for state in MachineState}


def _default_deadbands() -> dict[str, float | str]:
    return {"power": 0.01}


class SubscriptionSettings(StrictModel):
    """How values are asked for. The server may revise all of it."""

    publishing_s: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    sampling_s: Annotated[float, Field(ge=0.0, le=60)] = 0.5
    queue: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Values that the server is asked to keep per node; 0: what a cut of `bridge_s` takes."""
    bridge_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """A cut this long loses nothing where the server keeps queues as long as it is asked to."""
    deadband: dict[str, Deadband] = Field(default_factory=_default_deadbands)
    """By tag: a change too small to report, in the tag's unit, or "1%" of the node's range (EURange)."""
    mode: Literal["subscribe", "poll"] = "subscribe"
    """`poll` reads every `publishing_s`, for a server whose subscriptions cannot be relied on."""
    keep_alive_s: Annotated[float, Field(ge=0.2, le=60)] = 2.0
    """Longest silence of a living server: it answers at least this often."""

    @model_validator(mode="after")
    def _queue_holds_one_publication(self) -> Self:
        if self.queue and self.sampling_s and self.queue < self.publishing_s / self.sampling_s:
            raise ValueError(
                "queue 至少为 publishing_s ÷ sampling_s，否则丢值。",
                "queue must be at least publishing_s / sampling_s, or values are lost.",
            )
        return self

    @property
    def queued(self) -> int:
        """Queue size to ask for: at least what one publication, and a cut that is to be bridged, can hold."""
        if self.queue:
            return self.queue
        held_s = max(self.publishing_s, self.bridge_s)
        return min(_MOST_QUEUED, max(_LEAST_QUEUED, math.ceil(held_s / (self.sampling_s or self.publishing_s))))


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
