"""What `scan` and `read` tell the person at the cabinet, whatever the protocol."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.model import DeviceClass, Identity, Quality
from metrics.record import Evidence


@dataclass(frozen=True, slots=True)
class ToolReading:
    """One value read once by `plantpulse-gateway read`."""

    tag: str
    value: float | str | None
    """A number, or the state's word for a tag of role STATE; None exactly where quality is BAD."""
    unit: str
    quality: Quality
    source_ns: int
    """The device's own time, ns UTC; 0 where the protocol carries none."""
    received_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """One device that answered `plantpulse-gateway scan`."""

    address: str
    device_class: DeviceClass
    evidence: Evidence
    identity: Identity = field(default_factory=Identity)
    profile: str = ""
    """The profile that fits; blank where none does."""
    unit: int | None = None
    """Modbus unit id."""
    name: str = ""
    """Product URI, serial, browse path or topic, where one address holds several machines."""
