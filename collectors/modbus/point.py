"""One readable point of a Modbus profile: where it lies, how its registers are encoded, what it means.

Tags come from `collectors.profiles.vocabulary`; a tag of a site's own needs a unit and is a gauge.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from collectors.model import Role
from collectors.profiles.vocabulary import VOCABULARY, Quantity
from collectors.strict_yaml import StrictModel
from metrics.record import MachineState

RegisterType = Literal[
    "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32", "bcd48", "bcd64", "bit"
]
IdentityType = Literal["string", "u16", "u32", "u64", "bcd16", "bcd32", "bcd48", "bcd64"]
Table = Literal["holding", "input", "coil", "discrete"]
StateWord = Literal["running", "idle", "fault", "off", "unknown"]

REGISTERS_OF: Final[dict[str, int]] = {
    "u16": 1,
    "i16": 1,
    "u32": 2,
    "i32": 2,
    "u64": 4,
    "i64": 4,
    "f32": 2,
    "f64": 4,
    "bcd16": 1,
    "bcd32": 2,
    "bcd48": 3,
    "bcd64": 4,
    "bit": 1,
}
FUNCTION_OF: Final[dict[str, int]] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
ORDERS: Final[dict[int, tuple[str, ...]]] = {
    1: ("AB", "BA"),
    2: ("ABCD", "CDAB", "BADC", "DCBA"),
    3: ("ABCDEF", "EFCDAB", "BADCFE", "FEDCBA"),
    4: ("ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA", "EFGHABCD", "CDABGHEF"),
}
"""Byte orders on the wire by width in registers; A is the most significant byte of the value."""
STATED_RATIOS: Final = ("pt_ratio", "ct_ratio")
"""Ratios of voltage and current transformers that an entry may state."""


class BitState(StrictModel):
    """A bit that, when set, says a state."""

    bit: Annotated[int, Field(ge=0, le=15)]
    state: StateWord


class Point(StrictModel):
    """One readable point. The value is `(raw × scale + offset) × times × 10^exponent` in the vocabulary's unit."""

    tag: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    at: int
    """In the sheet's own numbering."""
    type: RegisterType
    table: Table | None = None
    order: str | None = None
    scale: Annotated[float, Field(gt=0)] = 1.0
    offset: float = 0.0
    times: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ...] = ()
    """Ratios by which a secondary-side value is multiplied: tags of this profile that are read with it,
    or `pt_ratio` and `ct_ratio` that an entry states."""
    exponent: str | None = None
    """Tag of the scale register: the power of ten by which the value is multiplied."""
    unit: str | None = None
    """Only for a tag outside the vocabulary."""
    bit: Annotated[int, Field(ge=0, le=15)] | None = None
    states: dict[int, StateWord] | None = None
    bit_states: tuple[BitState, ...] = ()
    """First bit that is set wins."""
    otherwise: StateWord | None = None
    """The state when no bit is set."""
    absent: tuple[float, ...] | None = None
    """Raw values that mean "not there"; default: the profile's for this type."""
    modulus: Annotated[float, Field(gt=0)] | None = None
    """Where the counter wraps, in the tag's unit; default: the type's width."""
    block: str | None = None
    """Points of one block are read by one request and never torn."""
    every_s: Annotated[float, Field(ge=0.1, le=3600)] | None = None

    @field_validator("states", mode="before")
    @classmethod
    def _off_is_a_word(cls, states: Any) -> Any:
        # YAML reads a bare off as false
        if isinstance(states, dict):
            return {code: "off" if word is False else word for code, word in states.items()}
        return states

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        width = REGISTERS_OF[self.type]
        if self.order is not None and self.order not in ORDERS[width]:
            raise ValueError(
                f"{self.tag}：{self.type} 的 order 只能是 {', '.join(ORDERS[width])}。",
                f"{self.tag}: order of {self.type} must be one of {', '.join(ORDERS[width])}.",
            )
        known = VOCABULARY.get(self.tag)
        if known is None and self.unit is None:
            raise ValueError(
                f"{self.tag} 不在词汇表中：请改用词汇表里的名称，或写明 unit。",
                f"{self.tag} is not in the vocabulary: use a name from it, or give a unit.",
            )
        if known is not None and self.unit is not None:
            raise ValueError(
                f"{self.tag} 的单位由词汇表规定（{known.unit or '无'}），请删除 unit。",
                f"the unit of {self.tag} comes from the vocabulary ({known.unit or 'none'}); remove unit.",
            )
        if (self.type == "bit") != (self.bit is not None or self.table in ("coil", "discrete")):
            raise ValueError(
                f"{self.tag}：bit 类型需要 bit 序号（线圈除外），其他类型不能有。",
                f"{self.tag}: type bit needs a bit number (coils excepted), no other type has one.",
            )
        says_state = self.states is not None or bool(self.bit_states)
        if says_state != (self.quantity.role is Role.STATE) or (says_state and self.type != "u16"):
            raise ValueError(
                f"{self.tag}：状态点需要 u16 类型和 states 或 bit_states，其他点不能有。",
                f"{self.tag}: a state point is u16 with states or bit_states; no other point has them.",
            )
        if bool(self.bit_states) != (self.otherwise is not None):
            raise ValueError(
                f"{self.tag}：bit_states 和 otherwise 要一起写。", f"{self.tag}: bit_states and otherwise go together."
            )
        return self

    @property
    def quantity(self) -> Quantity:
        """What the tag is, from the vocabulary."""
        return VOCABULARY.get(self.tag) or Quantity(self.unit or "")

    @property
    def wraps_at(self) -> float | None:
        """The counter's modulus in the tag's unit, None where the type does not say."""
        if self.modulus is not None or not (self.quantity.carrier or self.quantity.role is Role.PARTS):
            return self.modulus
        if self.times or self.exponent:
            return None  # where it wraps depends on what the device says its ratio is
        if self.type.startswith("u"):
            return float(2 ** (16 * REGISTERS_OF[self.type])) * self.scale
        if self.type.startswith("bcd"):
            return float(10 ** (4 * REGISTERS_OF[self.type])) * self.scale
        return None


class Hole(StrictModel):
    """Registers that must not be read along, both ends included, in the sheet's own numbering."""

    first: int
    last: int
    table: Table | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError("last 不能小于 first。", "last must not be below first.")
        return self


class IdentityPoint(StrictModel):
    """Registers in which the device says who it is, read once: text, or a number shown as digits."""

    field: Literal["manufacturer", "model", "serial"]
    at: int
    type: IdentityType
    registers: Annotated[int, Field(ge=1, le=60)] | None = None
    """Length of a text, in registers."""
    order: Literal["AB", "BA"] = "AB"
    """Which character of a register comes first in a text."""
    table: Table | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.type == "string") != (self.registers is not None):
            raise ValueError(
                f"{self.field}：string 需要 registers（寄存器个数），其他类型不能有。",
                f"{self.field}: type string needs registers (its length), no other type has them.",
            )
        if self.table in ("coil", "discrete"):
            raise ValueError(
                f"{self.field}：只能在 holding 或 input 表中。", f"{self.field}: must be in table holding or input."
            )
        return self

    @property
    def width(self) -> int:
        """Registers it takes."""
        return self.registers or REGISTERS_OF[self.type]


def state_code(word: StateWord) -> MachineState:
    """The record's code of a state's word."""
    return MachineState[word.upper()]
