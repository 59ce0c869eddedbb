"""What collectors hand to the gateway: tags, samples as columns, devices, proof of connection, errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from metrics.record import DeviceClass as DeviceClass
from metrics.record import Evidence

Clock = Callable[[], int]
"""The gateway's time line: ns since 1970 UTC, never running backwards. Collectors read no other clock."""

FOREVER_S: Final = float("inf")


class Quality(IntEnum):
    """As in OPC UA. BAD has no value."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Role(StrEnum):
    """What the gateway does with a tag. A device has at most one tag of each role but GAUGE.

    STATE: values are `MachineState` codes. QUANTITY: a cumulative counter in the unit of the device's
    carrier (kWh, m³). PARTS: a cumulative counter of pieces. POWER: active power in kW. GAUGE: shown
    on the plant's page, never leaves the plant.
    """

    STATE = "state"
    QUANTITY = "quantity"
    PARTS = "parts"
    POWER = "power"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Tag:
    """One readable point of a device. `modulus` is where a counter wraps to 0, in the tag's unit."""

    name: str
    unit: str = ""
    role: Role = Role.GAUGE
    modulus: float | None = None


@dataclass(frozen=True, slots=True)
class PowerThresholds:
    """How the state of an old machine follows from its meter's power [kW], with hysteresis and dwell."""

    off_below_kw: float
    running_above_kw: float
    hysteresis_kw: float
    dwell_s: float


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device says it is. Blank where it says nothing."""

    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    product_uri: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as found: what the gateway announces, and the tags its samples index into."""

    id: str
    entry: str
    """The id of the configured entry it came from; equal to `id`, or the part before '/'."""
    profile: str
    address: str
    device_class: DeviceClass
    evidence: Evidence
    tags: tuple[Tag, ...]
    liveness_s: float
    identity: Identity = Identity()
    carrier: str = ""
    """electricity, water, gas …; blank where the device counts nothing."""
    unit: str = ""
    direction: Literal["import", "export", "generation", ""] = ""
    rated_max_per_h: float | None = None
    """Largest plausible counter growth in one hour, in the unit: bounds what a reset could hide."""
    power_thresholds: PowerThresholds | None = None
    """Set where the state is to be inferred from the tag of role POWER."""

    @property
    def tells_state(self) -> bool:
        """Whether it says what its machine does, or lets its power say so; a meter on a line does neither."""
        return self.power_thresholds is not None or self.tag_index(Role.STATE) is not None

    def tag_index(self, role: Role) -> int | None:
        """Index of the tag of a role, None where the device has none."""
        for index, tag in enumerate(self.tags):
            if tag.role is role:
                return index
        return None


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of one device as columns of equal length n; no object per value."""

    tag: NDArray[np.uint16]
    """Index into the device's tags."""
    value: NDArray[np.float64]
    """NaN exactly where quality is BAD."""
    quality: NDArray[np.uint8]
    source_ns: NDArray[np.int64]
    """The device's own time, ns UTC; 0 where the protocol carries none, or where the value is the
    first after a (re)subscription, a birth or a retained message: the state now."""
    received_ns: NDArray[np.int64]
    """The gateway's time, ns UTC."""

    def __len__(self) -> int:
        return len(self.tag)

    @classmethod
    def of(
        cls,
        tag: Sequence[int] | NDArray[Any],
        value: Sequence[float] | NDArray[Any],
        received_ns: int | NDArray[np.int64],
        *,
        quality: Sequence[int] | NDArray[Any] | int = Quality.GOOD,
        source_ns: Sequence[int] | NDArray[Any] | int = 0,
    ) -> Self:
        """Build from sequences; a single number stands for all rows. BAD values become NaN."""
        n = len(tag)
        qualities = np.broadcast_to(np.asarray(quality, np.uint8), (n,))
        values = np.where(qualities == Quality.BAD, np.nan, np.asarray(value, np.float64))
        return cls(
            np.asarray(tag, np.uint16),
            values,
            qualities,
            np.broadcast_to(np.asarray(source_ns, np.int64), (n,)),
            np.broadcast_to(np.asarray(received_ns, np.int64), (n,)),
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """Evidence that a device is connected from `at_ns` for `lasts_s`.

    A reply or a message lasts for the device's liveness timeout; a Sparkplug birth lasts FOREVER_S;
    `lasts_s` 0 withdraws what was proven before (a death, a lost session).
    """

    device: str
    at_ns: int
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something a person should know of a device or a link, in the log and on the pages. `code` is
    stable and machine-readable; a later Trouble of the same subject with code "" clears it."""

    subject: str
    code: str
    zh: str = ""
    en: str = ""
    next_zh: str = ""
    next_en: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one `read` brings. The runner calls `ack` once the samples are in a synced checkpoint or
    record, never before; collectors that need no acknowledgement leave it None."""

    samples: Sequence[tuple[str, Samples]] = ()
    """Pairs of device id and its samples."""
    proofs: Sequence[Proof] = ()
    devices: Sequence[Device] = ()
    """Devices newly found, or whose identity or tags changed, before their first samples."""
    troubles: Sequence[Trouble] = ()
    shed: dict[str, int] = field(default_factory=dict)
    """What was dropped since the last batch, by reason: every drop is counted."""
    ack: Callable[[], None] | None = None
    ack_within_s: float = FOREVER_S
    """How long whoever waits for `ack` can wait without holding further samples back."""


class CollectorError(Exception):
    """What went wrong and what to do next, in Chinese and English."""

    def __init__(self, code: str, zh: str, en: str, next_zh: str = "", next_en: str = "") -> None:
        super().__init__(f"{zh} / {en}")
        self.code, self.zh, self.en, self.next_zh, self.next_en = code, zh, en, next_zh, next_en

    def trouble(self, subject: str) -> Trouble:
        """The same, as something to show beside a device or link."""
        return Trouble(subject, self.code, self.zh, self.en, self.next_zh, self.next_en)


class LinkError(CollectorError):
    """The link is lost or cannot be made now. The runner connects again later, with back-off."""


class ConfigError(CollectorError):
    """The configuration cannot work. The runner stops this collector and tells the operator."""
