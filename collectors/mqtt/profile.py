"""Profiles of MQTT devices: which field of which JSON document, or which Sparkplug metric, is which tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from collectors.model import PowerThresholds, Role, Tag
from collectors.profiles.loader import ProfileHeader
from collectors.profiles.vocabulary import VOCABULARY, Quantity
from collectors.strict_yaml import StrictModel
from metrics.record import MachineState

StateWord = Literal["unknown", "running", "idle", "fault", "off"]
STATE_CODES: Final[Mapping[str, MachineState]] = {state.name.lower(): state for state in MachineState}

Path = tuple[str | int, ...]
"""Keys and list indices from the document's top to a value; empty: the document itself."""


def _path(given: Any) -> Any:
    """`a.b[0].c` or a list of keys and indices."""
    if not isinstance(given, str):
        return tuple(given) if isinstance(given, list) else given
    steps: list[str | int] = []
    for part in given.split(".") if given else []:
        key, *indices = part.replace("]", "").split("[")
        if key:
            steps.append(key)
        try:
            steps.extend(int(index) for index in indices)
        except ValueError:
            raise ValueError(
                "路径写作 a.b[0].c；键里有点号时写成列表。",
                "write a path as a.b[0].c, or as a list where a key has dots.",
            ) from None
    return tuple(steps)


def _words(given: Any) -> Any:
    """Keys of a mapping as the words that the device sends; a bare ON or OFF in YAML is not a word."""
    if not isinstance(given, dict):
        return given
    for key in given:
        if isinstance(key, bool):
            raise ValueError(
                "YAML 把 on、off、yes、no、true、false 读成布尔值，请加引号。",
                "YAML reads on, off, yes, no, true, false as a boolean; quote it.",
            )
    return {str(key): value for key, value in given.items()}


JsonPath = Annotated[Path, BeforeValidator(_path)]
StateMap = Annotated[dict[str, StateWord], BeforeValidator(_words)]
QualityMap = Annotated[dict[str, Literal["good", "uncertain", "bad"]], BeforeValidator(_words)]
TimeFormat = Literal["s", "ms", "us", "ns", "iso"]


class TagSpec(StrictModel):
    """What every tag of a profile states. Unit, role, carrier and direction are the vocabulary's."""

    tag: str
    """A quantity of the vocabulary."""
    modulus: Annotated[float, Field(gt=0)] | None = None
    """Where the counter wraps to 0, in the quantity's unit."""
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """What the device sends is multiplied by this to be in the quantity's unit."""
    states: StateMap = Field(default_factory=dict)
    """For role state: the device's words (numbers as text, booleans as "true" and "false")."""

    @field_validator("tag")
    @classmethod
    def _known(cls, tag: str) -> str:
        if tag not in VOCABULARY:
            known = ", ".join(VOCABULARY)
            raise ValueError(f"词汇表中没有这个量。可用：{known}。", f"not in the vocabulary. Known: {known}.")
        return tag

    @model_validator(mode="after")
    def _state_has_words(self) -> TagSpec:
        if (self.quantity.role is Role.STATE) != bool(self.states):
            raise ValueError(
                "状态标签必须有 states，其余标签不能有。", "a state needs `states`, and no other tag has them."
            )
        return self

    @property
    def quantity(self) -> Quantity:
        """What the vocabulary says of it."""
        return VOCABULARY[self.tag]

    def as_tag(self) -> Tag:
        """The tag as the gateway knows it."""
        return Tag(self.tag, self.quantity.unit, self.quantity.role, self.modulus)


class Thresholds(StrictModel):
    """How the state of an old machine follows from its meter's power."""

    off_below_kw: float
    running_above_kw: float
    hysteresis_kw: Annotated[float, Field(ge=0)]
    dwell_s: Annotated[float, Field(ge=0)]


class _CountingProfile(ProfileHeader):
    """A profile whose devices may count one carrier."""

    rated_max_per_h: Annotated[float, Field(gt=0)] | None = None
    power_thresholds: Thresholds | None = None

    def thresholds(self) -> PowerThresholds | None:
        """As the gateway knows them."""
        return None if self.power_thresholds is None else PowerThresholds(**self.power_thresholds.model_dump())


class JsonTag(TagSpec):
    """One tag in a JSON document."""

    topic: str = "{topic}"
    """Where it is published; `{topic}` is the entry's topic."""
    value: JsonPath = ()
    quality: JsonPath | None = None
    time: JsonPath | None = None
    """Its own time; without it the document's."""

    @field_validator("topic")
    @classmethod
    def _one_topic(cls, topic: str) -> str:
        if any(c in topic for c in "+#"):
            raise ValueError(
                "通配符只能写在条目的 topic 中，这里用 {topic}。",
                "wildcards belong into an entry's topic; use {topic} here.",
            )
        return topic


class StatusTopic(StrictModel):
    """Where the device, or the broker by its last will, says that the device is gone."""

    topic: str = "{topic}/status"
    value: JsonPath = ()
    gone: Annotated[tuple[str, ...], Field(min_length=1)]
    """Words (booleans as "true" and "false") that mean: not connected."""


class JsonProfile(_CountingProfile):
    """One device that publishes JSON."""

    protocol: Literal["mqtt"]
    topic: str
    """Default topic; `{id}` is the entry's id."""
    time: JsonPath | None = None
    """The document's time; without it there is only the time of reception."""
    time_format: TimeFormat = "ms"
    qualities: QualityMap = Field(default_factory=dict)
    """The device's words for quality; without it good, uncertain and bad, or a boolean."""
    status: StatusTopic | None = None
    tags: Annotated[tuple[JsonTag, ...], Field(min_length=1)]

    @field_validator("tags")
    @classmethod
    def _once(cls, tags: tuple[JsonTag, ...]) -> tuple[JsonTag, ...]:
        _refuse_repeats(tags)
        return tags


class MetricTag(TagSpec):
    """One tag that is a Sparkplug metric."""

    metric: str


class IdentityMetrics(StrictModel):
    """Names of the birth's metrics that say who the device is."""

    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    product_uri: str = ""


class SparkplugProfile(_CountingProfile):
    """Devices behind a Sparkplug B edge node, each known from its birth."""

    protocol: Literal["sparkplug"]
    identity: IdentityMetrics = IdentityMetrics()
    tags: Annotated[tuple[MetricTag, ...], Field(min_length=1)]

    @field_validator("tags")
    @classmethod
    def _once(cls, tags: tuple[MetricTag, ...]) -> tuple[MetricTag, ...]:
        _refuse_repeats(tags)
        if len({tag.metric for tag in tags}) < len(tags):
            raise ValueError("同一个 metric 出现了两次。", "a metric stands twice.")
        return tags


def _refuse_repeats(tags: tuple[TagSpec, ...]) -> None:
    names = [tag.tag for tag in tags]
    if len(set(names)) < len(names):
        raise ValueError("标签名出现了两次。", "a tag's name stands twice.")
    roles = [tag.quantity.role for tag in tags if tag.quantity.role is not Role.GAUGE]
    if len(set(roles)) < len(roles):
        raise ValueError(
            "状态、用量、件数、功率每种最多一个标签。", "at most one tag of each role state, quantity, parts and power."
        )
