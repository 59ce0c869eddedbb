"""What a Sparkplug B host application knows of one edge node: births, aliases, sequence, deaths. Pure.

Rules are those of the Eclipse Sparkplug Specification 3.0.0, chapters 4 to 6. A message that comes too
early is held for the reorder timeout. Once that is over a rebirth is asked for, and until it comes data
is counted, not guessed: a birth that was missed may have dealt the aliases anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from collectors.model import FOREVER_S, Device, Identity, Proof, Quality, Role, Trouble
from collectors.mqtt.addresses import parse
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.notices import Notices
from collectors.mqtt.profile import STATE_CODES, IdentityMetrics, MetricTag, SparkplugProfile
from collectors.mqtt.rows import Rows
from collectors.mqtt.sparkplug_layout import MOST_LAYOUTS, Bound, Layout, source_ns, value_of
from collectors.mqtt.sparkplug_wire import BYTES, EXTENSION, WireError, WireMetric, WirePayload, decode
from metrics.record import Evidence

NAMESPACE: Final = "spBv1.0"
KINDS: Final = ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH")
MOST_DEVICES: Final = 1_000
"""Devices per entry."""
REBORN_WITHIN_S: Final = 5.0
"""After a node's birth, how long the births of its known devices may take."""
FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 300.0
"""Pause between rebirth requests; doubles from the first to the longest while the node does not obey."""
_OBEYED_AFTER_S: Final = 60.0
"""A node that stayed in step this long gets the short pause again."""
_SILENT_AFTER_REQUESTS: Final = 3
_SEQ_END: Final = 256
_MOST_HELD_BYTES: Final = 4 << 20
_NS: Final = 1_000_000_000
_BAD, _UNCERTAIN = int(Quality.BAD), int(Quality.UNCERTAIN)
_EXCERPT_BYTES: Final = 24
_LONGEST_NAME: Final = 200


@dataclass(slots=True)
class Outcome:
    """What a number of messages brought, gathered until it becomes a batch."""

    rows: dict[str, Rows] = field(default_factory=dict)
    lasts: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By device: when it was last proven connected or gone, and for how long that lasts (0: gone)."""
    devices: list[Device] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    shed: dict[str, int] = field(default_factory=dict)

    def count(self, reason: str, n: int = 1) -> None:
        """Count something that was not handed over."""
        self.shed[reason] = self.shed.get(reason, 0) + n

    @property
    def proofs(self) -> dict[str, Proof]:
        """The proofs, by device."""
        return {device: Proof(device, at_ns, lasts_s) for device, (at_ns, lasts_s) in self.lasts.items()}

    def rows_of(self, device: str) -> Rows:
        """Where the device's samples go."""
        rows = self.rows.get(device)
        if rows is None:
            rows = self.rows[device] = Rows()
        return rows

    def __bool__(self) -> bool:
        return bool(self.lasts or self.devices or self.troubles or self.shed or any(map(len, self.rows.values())))


@dataclass(slots=True)
class _Born:
    """A node or device between its birth and its death."""

    device: Device | None
    """None where the birth holds no metric that is a tag (a node that only carries devices)."""
    by_alias: dict[int, Bound | None]
    by_name: dict[str, Bound | None]
    layouts: dict[int, Layout | None] = field(default_factory=dict)
    """By length of the message."""
    confirmed: bool = True
    """False after the node's rebirth until its own, and while the node is in doubt."""


class _Held(NamedTuple):
    """A message that came before one that the node had sent earlier."""

    kind: str
    name: str
    data: bytes
    received_ns: int


class EdgeNode:
    """One configured edge node. `take` reads a message, `tick` lets time pass, `lose` ends the link.

    `pause_s`: shortest pause between two rebirth requests.
    """

    def __init__(self, entry: MqttEntry, profile: SparkplugProfile, *, pause_s: float = FIRST_PAUSE_S) -> None:
        self.entry = entry.id
        self.group, self.node = entry.group or "", entry.node or ""
        self._profile = profile
        self._address = f"{parse(entry.address)}/{NAMESPACE}/{self.group}/{self.node}"
        self._tags: Mapping[str, tuple[MetricTag, Mapping[bytes, int] | None]] = {
            spec.metric: (spec, _states(spec)) for spec in profile.tags
        }
        self._first_pause_s = pause_s
        self._reorder_ns = int(entry.reorder_s * _NS)
        self._announced: dict[str, Device] = {}
        self.notices = Notices()
        self.start(0)

    def start(self, now_ns: int) -> None:
        """A new link: nothing is known until a birth, which is asked for at once."""
        self._born: dict[str, _Born] = {}
        self._announced.clear()
        self._bd_seq: int | None = None
        self._next_seq: int | None = None
        self._wants_birth = True
        self._pause_s = self._first_pause_s
        self._request_due_ns = self._not_before_ns = now_ns
        self._requests = 0
        self._in_step_since_ns = now_ns
        self._reborn_by_ns: int | None = None
        self._held: dict[int, _Held] = {}
        self._reordered_by_ns: int | None = None

    @property
    def topics(self) -> list[str]:
        """Topics to subscribe to: everything the node says, nothing that is said to it."""
        return [f"{NAMESPACE}/{self.group}/{kind}/{self.node}{'/+' if kind.startswith('D') else ''}" for kind in KINDS]

    @property
    def command_topic(self) -> str:
        """Where rebirth requests go."""
        return f"{NAMESPACE}/{self.group}/NCMD/{self.node}"

    def due_ns(self) -> int | None:
        """When `tick` has something to do next; None: only after a message."""
        times = [self._reborn_by_ns, self._reordered_by_ns, self._request_due_ns if self._wants_birth else None]
        return min((t for t in times if t is not None), default=None)

    def tick(self, now_ns: int, out: Outcome) -> bool:
        """Let time pass; True where a rebirth request is to be sent now."""
        if self._reborn_by_ns is not None and now_ns >= self._reborn_by_ns:
            self._reborn_by_ns = None
            for name in [n for n, born in self._born.items() if not born.confirmed]:
                self._die(name, now_ns, out)
        if self._reordered_by_ns is not None and now_ns >= self._reordered_by_ns:
            self._give_up(now_ns, out)
        if not self._wants_birth or now_ns < self._request_due_ns:
            return False
        self._request_due_ns = self._not_before_ns = now_ns + int(self._pause_s * _NS)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._requests += 1
        if self._requests > _SILENT_AFTER_REQUESTS:
            self._note("mqtt.rebirth-unanswered", f"{self.group}/{self.node}", out)
        return True

    def lose(self, now_ns: int, out: Outcome) -> None:
        """Our link to the broker is gone: nothing is proven any more."""
        self._drop_held(out)
        for name in list(self._born):
            self._die(name, now_ns, out)
        self._next_seq = None
        self._wants_birth = True

    def take(self, kind: str, name: str, data: bytes, received_ns: int, out: Outcome) -> None:
        """Read one message of the node (`name` blank) or one of its devices, and what was held for it."""
        if kind not in ("DDATA", "NDATA") or not self._take_known_shape(name, data, received_ns, out):
            self._take_any(kind, name, data, received_ns, out)
        while self._held and self._next_seq in self._held:
            self._take_any(*self._held.pop(self._next_seq), out)
            if not self._held:
                self._reordered_by_ns = None

    def _take_any(self, kind: str, name: str, data: bytes, received_ns: int, out: Outcome) -> None:
        try:
            payload = decode(data)
        except WireError as error:
            out.count("payload_broken")
            self._note("mqtt.payload-broken", f"{kind} {name}: {data[:_EXCERPT_BYTES].hex(' ')} ({error})", out)
            return
        self._note("mqtt.payload-broken", "", out)
        if kind == "NBIRTH":
            self._node_birth(payload, received_ns, out)
        elif kind == "NDEATH":
            self._node_death(payload, received_ns, out)
        elif self._wants_birth:
            self._refuse(kind, name, received_ns, payload.time_ms, out)
            self._want_birth(received_ns)
        elif payload.seq is None or payload.seq == self._next_seq:
            if payload.seq is not None:  # without it is against the specification, but no sign of a loss
                self._next_seq = (payload.seq + 1) % _SEQ_END
            if kind == "DBIRTH":
                self._birth(name, payload, received_ns, out)
            elif kind == "DDEATH":
                self._die(name, received_ns, out, payload.time_ms)
            else:
                self._data(name, data, payload, received_ns, out)
        else:
            self._hold(payload.seq, _Held(kind, name, data, received_ns), payload.time_ms, out)

    def _hold(self, seq: int, message: _Held, time_ms: int, out: Outcome) -> None:
        """Keep a message that is not the next one until those before it have come, or time is up."""
        if seq in self._held:
            self._refuse(message.kind, message.name, message.received_ns, time_ms, out)
            return
        self._held[seq] = message
        if self._reordered_by_ns is None:
            self._reordered_by_ns = message.received_ns + self._reorder_ns
        if not self._reorder_ns or sum(len(held.data) for held in self._held.values()) > _MOST_HELD_BYTES:
            self._give_up(message.received_ns, out)

    def _give_up(self, now_ns: int, out: Outcome) -> None:
        """What is missing will not come: nothing is believed until a rebirth, but deaths are."""
        held = self._drop_held(out, counted=False)
        for _, message in sorted(held.items(), key=lambda item: (item[0] - (self._next_seq or 0)) % _SEQ_END):
            time_ms = decode(message.data).time_ms if message.kind == "DDEATH" else 0
            self._refuse(message.kind, message.name, now_ns, time_ms, out)
        self._want_birth(now_ns)

    def _drop_held(self, out: Outcome, *, counted: bool = True) -> dict[int, _Held]:
        held, self._held = self._held, {}
        self._reordered_by_ns = None
        if counted and held:
            out.count("awaiting_rebirth", len(held))
        return held

    def _refuse(self, kind: str, name: str, now_ns: int, time_ms: int, out: Outcome) -> None:
        """A message that cannot be placed: only a death is believed."""
        if kind == "DDEATH":
            self._die(name, now_ns, out, time_ms)
        else:
            out.count("awaiting_rebirth")

    def _take_known_shape(self, name: str, data: bytes, received_ns: int, out: Outcome) -> bool:
        born = self._born.get(name)
        if born is None or born.device is None or self._wants_birth or not born.confirmed:
            return False
        layout = born.layouts.get(len(data))
        if layout is None:
            return False
        expected = self._next_seq
        if expected is None or not layout.read(data, received_ns, expected, out.rows_of(born.device.id)):
            return False
        self._next_seq = (expected + 1) % _SEQ_END
        if self.notices:
            out.troubles.extend(self.notices.note(born.device.id, "mqtt.state-unknown", ""))
            self._note("mqtt.payload-broken", "", out)
        out.lasts[born.device.id] = (received_ns, FOREVER_S)
        return True

    def _want_birth(self, now_ns: int) -> None:
        """Ask for a birth as soon as the pause since the last request permits."""
        earliest_ns = max(now_ns, self._not_before_ns)
        if self._wants_birth:
            self._request_due_ns = min(self._request_due_ns, earliest_ns)
            return
        self._wants_birth = True
        if now_ns - self._in_step_since_ns > _OBEYED_AFTER_S * _NS:
            self._pause_s = self._first_pause_s
        self._request_due_ns = earliest_ns

    def _node_birth(self, payload: WirePayload, received_ns: int, out: Outcome) -> None:
        self._drop_held(out)
        self._bd_seq = _bd_seq(payload)
        self._next_seq = ((payload.seq or 0) + 1) % _SEQ_END
        self._wants_birth = False
        self._requests = 0
        self._in_step_since_ns = received_ns
        self._note("mqtt.rebirth-unanswered", "", out)
        for name, born in self._born.items():
            if name:
                born.confirmed = False
                self._reborn_by_ns = received_ns + int(REBORN_WITHIN_S * _NS)
        self._birth("", payload, received_ns, out)

    def _node_death(self, payload: WirePayload, received_ns: int, out: Outcome) -> None:
        number = _bd_seq(payload)
        if number is not None and self._bd_seq is not None and number != self._bd_seq:
            if (number - self._bd_seq) % _SEQ_END < _SEQ_END // 2:
                out.count("death_of_later_session")
                self._doubt(received_ns)
            else:
                out.count("death_of_earlier_session")
            return
        self._drop_held(out)
        for name in list(self._born):
            self._die(name, received_ns, out)
        self._next_seq = None
        self._wants_birth = True
        # The node is gone: its birth comes by itself, asking is for the case that we miss it.
        self._request_due_ns = received_ns + int(LONGEST_PAUSE_S * _NS)

    def _doubt(self, now_ns: int) -> None:
        """A later session has ended, whose birth we missed or whose number the node got wrong: is it still there?
        Without an answer it is not."""
        for born in self._born.values():
            born.confirmed = False
        if self._reborn_by_ns is None:
            self._reborn_by_ns = now_ns + int(REBORN_WITHIN_S * _NS)
        self._want_birth(now_ns)

    def _birth(self, name: str, payload: WirePayload, received_ns: int, out: Outcome) -> None:
        if name not in self._born and len(self._born) >= MOST_DEVICES:
            out.count("too_many_devices")
            self._note("mqtt.too-many-devices", str(MOST_DEVICES), out)
            return
        device, bounds = self._describe(name, payload)
        by_alias: dict[int, Bound | None] = {}
        by_name: dict[str, Bound | None] = {}
        for metric in payload.metrics:
            bound = bounds.get(metric.name or "")
            if metric.alias is not None:
                by_alias[metric.alias] = bound
            if metric.name:
                by_name[metric.name] = bound
        self._born[name] = _Born(device, by_alias, by_name)
        if device is None:
            return
        if self._announced.get(name) != device:
            self._announced[name] = device
            out.devices.append(device)
        for metric in payload.metrics:
            bound = bounds.get(metric.name or "")
            if bound is not None and not metric.historical:
                self._add(device.id, metric, bound, 0, received_ns, out)
        out.lasts[device.id] = (received_ns, FOREVER_S)

    def _describe(self, name: str, payload: WirePayload) -> tuple[Device | None, dict[str, Bound]]:
        """The device that a birth describes, and its metrics that are tags. A node without such is no machine."""
        given = {metric.name: metric for metric in payload.metrics if metric.name}
        specs = [(spec, states) for metric, (spec, states) in self._tags.items() if metric in given]
        if not name and not specs:
            return None, {}
        bounds = {
            spec.metric: Bound(index, given[spec.metric].datatype, spec.scale, states)
            for index, (spec, states) in enumerate(specs)
        }
        profile = self._profile
        quantity = next((spec.quantity for spec, _ in specs if spec.quantity.role is Role.QUANTITY), None)
        return Device(
            id=f"{self.entry}/{_clean(name)}" if name else self.entry,
            entry=self.entry,
            profile=profile.profile,
            address=f"{self._address}/{name}" if name else self._address,
            device_class=profile.device_class,
            evidence=Evidence(profile.evidence),
            tags=tuple(spec.as_tag() for spec, _ in specs),
            liveness_s=profile.liveness_s,
            identity=identity_in(payload.metrics, profile.identity),
            carrier=quantity.carrier if quantity else "",
            unit=quantity.unit if quantity else "",
            direction=quantity.direction if quantity else "",
            rated_max_per_h=profile.rated_max_per_h,
            power_thresholds=profile.thresholds(),
        ), bounds

    def _data(self, name: str, data: bytes, payload: WirePayload, received_ns: int, out: Outcome) -> None:
        born = self._born.get(name)
        if born is None or not born.confirmed:
            out.count("data_before_birth")
            self._want_birth(received_ns)
            return
        bound_of: list[Bound | None] = []
        live = not payload.metrics
        for metric in payload.metrics:
            try:
                bound = born.by_alias[metric.alias] if metric.alias is not None else born.by_name[metric.name or ""]
            except KeyError:
                if metric.alias is not None and metric.name in born.by_name:
                    bound = born.by_name[metric.name]
                else:
                    out.count("metric_unknown")
                    self._want_birth(received_ns)
                    continue
            bound_of.append(bound)
            live = live or not metric.historical
            if bound is not None and born.device is not None:
                at_ns = source_ns(metric.time_ms, payload.time_ms)
                self._add(born.device.id, metric, bound, at_ns, received_ns, out)
        if born.device is not None and live:
            out.lasts[born.device.id] = (received_ns, FOREVER_S)
        if len(bound_of) == len(payload.metrics) and (len(data) in born.layouts or len(born.layouts) < MOST_LAYOUTS):
            born.layouts[len(data)] = Layout.learn(data, payload, bound_of)

    def _add(self, device: str, metric: WireMetric, bound: Bound, at_ns: int, received_ns: int, out: Outcome) -> None:
        value, quality = value_of(metric, bound)
        if BYTES <= metric.kind <= EXTENSION:
            out.count("metric_unsupported")
        if bound.states is not None:
            unknown = _said(metric) if quality == _UNCERTAIN else ""
            out.troubles.extend(self.notices.note(device, "mqtt.state-unknown", unknown))
        out.rows_of(device).add(bound.index, value, quality, at_ns, received_ns)

    def _die(self, name: str, now_ns: int, out: Outcome, time_ms: int = 0) -> None:
        """Its proof is withdrawn and its values are stale: bad, without a value. `time_ms`: what a DDEATH says."""
        born = self._born.pop(name, None)
        if born is None or born.device is None:
            return
        rows = out.rows_of(born.device.id)
        at_ns = source_ns(0, time_ms)
        for index in range(len(born.device.tags)):
            rows.add(index, 0.0, _BAD, at_ns, now_ns)
        out.lasts[born.device.id] = (now_ns, 0.0)

    def _note(self, code: str, what: str, out: Outcome) -> None:
        out.troubles.extend(self.notices.note(self.entry, code, what))


def _states(spec: MetricTag) -> Mapping[bytes, int] | None:
    return {word.encode(): int(STATE_CODES[name]) for word, name in spec.states.items()} or None


def _bd_seq(payload: WirePayload) -> int | None:
    for metric in payload.metrics:
        if metric.name == "bdSeq" and isinstance(metric.value, int):
            return metric.value
    return None


def identity_in(metrics: Sequence[WireMetric], names: IdentityMetrics) -> Identity:
    """Who a birth says its device is."""
    given = {metric.name: metric for metric in metrics if metric.name}
    return Identity(
        _text(given, names.manufacturer),
        _text(given, names.model),
        _text(given, names.serial),
        _text(given, names.product_uri),
    )


def _text(given: Mapping[str, WireMetric], name: str) -> str:
    metric = given.get(name)
    if metric is None or not isinstance(metric.value, bytes):
        return ""
    return _clean(metric.value.decode("utf-8", "replace"), slash="/")


def _said(metric: WireMetric) -> str:
    value = metric.value
    return _clean(value.decode("utf-8", "replace")) if isinstance(value, bytes) else str(value)


def _clean(text: str, slash: str = "_") -> str:
    """Text from the network as it may stand in an id or on a page."""
    shown = "".join(c if c.isprintable() else "_" for c in text[:_LONGEST_NAME])
    return shown.replace("/", slash)
