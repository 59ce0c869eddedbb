"""One device that publishes JSON: which topics, and what a document says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from collectors.model import Device, Quality, Role
from collectors.mqtt.addresses import parse
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.profile import STATE_CODES, JsonProfile, JsonTag, Path, TimeFormat
from collectors.mqtt.rows import Rows
from metrics.record import Evidence, MachineState

_ABSENT: Final = object()
_GOOD, _UNCERTAIN, _BAD = int(Quality.GOOD), int(Quality.UNCERTAIN), int(Quality.BAD)
_QUALITY_WORDS: Final[Mapping[str, int]] = {
    "good": _GOOD, "uncertain": _UNCERTAIN, "bad": _BAD, "true": _GOOD, "false": _BAD,
}  # fmt: skip
_NS_PER_UNIT: Final[Mapping[TimeFormat, int]] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_KEPT_WITHOUT_TIME: Final = frozenset({Role.STATE, Role.QUANTITY, Role.PARTS})
"""What may be believed of an old message without a time of its own: the last state, and what only grows."""
_EARLIEST_NS: Final = 946_684_800 * 10**9
_LATEST_NS: Final = 4_102_444_800 * 10**9
"""Times before 2000 or after 2100 are a clock that was never set: as good as none."""


class Reading:
    """What one document brought for one device."""

    __slots__ = ("alive", "bad_time", "duplicates", "found", "gone", "strange", "untimed")

    def __init__(self) -> None:
        self.found = 0
        """Values of known tags, good or not."""
        self.alive = False
        """Whether at least one of them has a value."""
        self.gone = False
        """Whether the device, or its last will, says that it is not connected."""
        self.duplicates = 0
        """Samples of a tag, time and value that were already handed over."""
        self.untimed = 0
        """Values of an old message that are of no use without a time."""
        self.strange = ""
        """A state word that the profile does not know."""
        self.bad_time = ""
        """A time stamp that cannot be read."""


@dataclass(slots=True)
class _Plan:
    """How to find one tag in a document."""

    index: int
    value: Path
    quality: Path | None
    time: Path | None
    states: Mapping[str, int] | None
    scale: float
    keeps_without_time: bool
    last: tuple[int, float, int] = (0, 0.0, 0)
    """Source time, value and quality handed over last."""


class JsonDevice:
    """Reads documents by a profile. Pure: bytes have been parsed, nothing is sent or awaited.

    `topic` and `name` are given for one of several devices of an entry (see `json_family`).
    """

    def __init__(self, entry: MqttEntry, profile: JsonProfile, topic: str = "", name: str = "") -> None:
        topic = topic or entry.topic or profile.topic.replace("{id}", entry.id)
        self._time_format = profile.time_format
        self._time_path = profile.time
        self._qualities = {word: int(Quality[name.upper()]) for word, name in profile.qualities.items()}
        self._qualities = self._qualities or dict(_QUALITY_WORDS)
        self._plans: dict[str, list[_Plan]] = {}
        for index, tag in enumerate(profile.tags):
            where = tag.topic.replace("{topic}", topic)
            self._plans.setdefault(where, []).append(_plan(index, tag, profile))
        self._status_topic = profile.status.topic.replace("{topic}", topic) if profile.status else ""
        self._status_path = profile.status.value if profile.status else ()
        self._gone_words = frozenset(profile.status.gone) if profile.status else frozenset()
        quantity = next((t.quantity for t in profile.tags if t.quantity.role is Role.QUANTITY), None)
        self.device = Device(
            id=f"{entry.id}/{name}" if name else entry.id,
            entry=entry.id,
            profile=profile.profile,
            address=f"{parse(entry.address)}/{topic}",
            device_class=profile.device_class,
            evidence=Evidence(profile.evidence),
            tags=tuple(tag.as_tag() for tag in profile.tags),
            liveness_s=profile.liveness_s,
            carrier=quantity.carrier if quantity else "",
            unit=quantity.unit if quantity else "",
            direction=quantity.direction if quantity else "",
            rated_max_per_h=profile.rated_max_per_h,
            power_thresholds=profile.thresholds(),
        )

    @property
    def topics(self) -> list[str]:
        """Every topic to subscribe to."""
        return [*self._plans, *([self._status_topic] if self._status_topic else [])]

    def read(
        self, topic: str, document: Any, received_ns: int, retained: bool, rows: Rows, *, old: bool = False
    ) -> Reading:
        """Add the document's samples to `rows`. A retained document's values have no time of their own.

        Of an `old` one (queued by the broker, or sent again) values without a time are taken where they
        are a state or a cumulative counter: those change nothing when they come twice.
        """
        reading = Reading()
        if topic == self._status_topic:
            said = _at(document, self._status_path)
            reading.gone = said is not _ABSENT and _word(said) in self._gone_words
            if topic not in self._plans:
                reading.found = 1
                return reading
        common_ns = 0 if retained else self._time(document, self._time_path, reading)
        for plan in self._plans.get(topic, ()):
            given = _at(document, plan.value)
            if given is _ABSENT:
                continue
            reading.found += 1
            source_ns = common_ns if plan.time is None or retained else self._time(document, plan.time, reading)
            quality = _GOOD if plan.quality is None else self._quality(_at(document, plan.quality))
            if old and not source_ns and not plan.keeps_without_time:
                reading.untimed += 1
                continue
            value = 0.0
            if plan.states is not None:
                word = _word(given)
                state = plan.states.get(word)
                if state is None:
                    reading.strange = word
                    state, quality = int(MachineState.UNKNOWN), max(quality, _UNCERTAIN)
                value = float(state)
            else:
                number = _number(given)
                if number is None:
                    quality = _BAD
                else:
                    value = number * plan.scale
            if quality == _BAD:
                value = 0.0
            else:
                reading.alive = True
            if source_ns:
                sample = (source_ns, value, quality)
                if sample == plan.last:
                    reading.duplicates += 1
                    continue
                plan.last = sample
            rows.add(plan.index, value, quality, source_ns, received_ns)
        return reading

    def _quality(self, given: Any) -> int:
        if given is _ABSENT:
            return _GOOD
        word = _word(given)
        found = self._qualities.get(word)
        return self._qualities.get(word.lower(), _UNCERTAIN) if found is None else found

    def _time(self, document: Any, path: Path | None, reading: Reading) -> int:
        if path is None:
            return 0
        given = _at(document, path)
        if given is _ABSENT or given is None:
            return 0
        source_ns = _nanoseconds(given, self._time_format)
        if not _EARLIEST_NS <= source_ns <= _LATEST_NS:
            reading.bad_time = _word(given)
            return 0
        return source_ns


def _plan(index: int, tag: JsonTag, profile: JsonProfile) -> _Plan:
    states = {word: int(STATE_CODES[name]) for word, name in tag.states.items()} or None
    keeps = tag.quantity.role in _KEPT_WITHOUT_TIME
    return _Plan(index, tag.value, tag.quality, tag.time, states, tag.scale, keeps)


def _at(document: Any, path: Path) -> Any:
    for step in path:
        if type(document) is str:  # an index would find a letter
            return _ABSENT
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return document


def _word(given: Any) -> str:
    """A value as profiles write it: text as it is, true and false, whole numbers without a point."""
    if isinstance(given, str):
        return given
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, float) and given.is_integer():
        return str(int(given))
    return str(given)


def _number(given: Any) -> float | None:
    """A number, also one sent as text or as a boolean; None where it is none, or not finite."""
    if given is None or isinstance(given, (dict, list)):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) != float("inf") and number == number else None


def _nanoseconds(given: Any, time_format: TimeFormat) -> int:
    """UTC ns, or 0 where it cannot be read. Text times without a zone are ambiguous and so unreadable."""
    try:
        if time_format == "iso":
            moment = datetime.fromisoformat(str(given))
            return 0 if moment.tzinfo is None else round(moment.timestamp() * 1e6) * 1000
        factor = _NS_PER_UNIT[time_format]
        return given * factor if type(given) is int else round(float(given) * factor)
    except (ValueError, OverflowError, TypeError):
        return 0
