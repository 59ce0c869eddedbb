"""The entry of a Modbus device in a plant's file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from collectors.entries import DeviceEntry
from collectors.modbus.address import LinkAddress, parse_address
from collectors.modbus.profile import Thresholds

_LAST_SERIAL_UNIT = 247


class ModbusEntry(DeviceEntry):
    """One unit at one address."""

    unit: Annotated[int, Field(ge=0, le=255)] = 1
    """Unit id: 1 to 247; on Modbus TCP also 0 and 255, which some devices want for themselves."""
    timeout_ms: Annotated[int, Field(ge=20, le=10_000)] | None = None
    """How long to wait for a reply; default: the profile's."""
    every_s: Annotated[float, Field(ge=0.5, le=3600)] | None = None
    """Read no point more often than this: for lines with many devices; default: the profile's periods."""
    power_thresholds: Thresholds | None = None
    """State from power, for this machine; default: the profile's."""
    rated_max_per_h: Annotated[float, Field(gt=0)] | None = None
    """Largest plausible growth of the counter in one hour, in its unit; default: the profile's."""
    direction: Literal["import", "export", "generation"] | None = None
    """What the counter counts for the plant; default: import."""

    counts: Annotated[tuple[Literal["import", "export", "water", "gas"], ...], Field(min_length=1)] | None = None
    """What is counted, each by a device of its own where there are several; default: the profile's import."""
    pt_ratio: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Ratio of the voltage transformers, for profiles whose values are those of the secondary side."""
    ct_ratio: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Ratio of the current transformers (250/5 A is 50), for the same profiles."""

    @model_validator(mode="after")
    def _counts_make_sense(self) -> Self:
        if self.counts is not None and len(set(self.counts)) != len(self.counts):
            raise ValueError("counts 中有重复。", "counts names something twice.")
        if self.counts is not None and len(self.counts) > 1 and self.direction is not None:
            raise ValueError(
                "counts 有多项时不能写 direction：每一项自带方向。",
                "with several counts there is no direction: each has its own.",
            )
        return self

    @model_validator(mode="after")
    def _address_fits(self) -> Self:
        if self.username or self.password_file or self.ca_file:
            raise ValueError(
                "Modbus 没有登录和证书，请删除 username、password_file 和 ca_file。",
                "Modbus has no login and no certificates; remove username, password_file and ca_file.",
            )
        if self.link_address.kind != "tcp" and not 1 <= self.unit <= _LAST_SERIAL_UNIT:
            raise ValueError("串行线路上 unit 只能是 1 到 247。", "on a serial line unit must be 1 to 247.")
        return self

    @property
    def stated_ratios(self) -> dict[str, float]:
        """Transformer ratios that the entry states, by the name that profiles use."""
        given = {"pt_ratio": self.pt_ratio, "ct_ratio": self.ct_ratio}
        return {name: ratio for name, ratio in given.items() if ratio is not None}

    @property
    def link_address(self) -> LinkAddress:
        """The address taken apart."""
        return parse_address(self.address)

    @property
    def link(self) -> str:
        """The name of the link over which it is read, port and all."""
        return self.link_address.url
