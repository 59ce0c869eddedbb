"""All JSON devices of one broker over one connection, acknowledged when their samples are safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from collectors.model import FOREVER_S, Batch, Clock, Proof, Trouble
from collectors.mqtt.broker_drops import DROPPED_TOPIC, BrokerDrops
from collectors.mqtt.connection import RECEIVE_MAXIMUM, BrokerConnection, Settings
from collectors.mqtt.inbox import Inbox, Message
from collectors.mqtt.json_device import JsonDevice, Reading
from collectors.mqtt.json_family import MOST_DEVICES, JsonFamily
from collectors.mqtt.notices import Notices
from collectors.mqtt.rows import Rows
from collectors.mqtt.session import SessionMemory

_BATCH_MESSAGES: Final = 1_000
"""Messages decoded at once: a few ms of the event loop."""
_EXCERPT_BYTES: Final = 80
_REMEMBERED: Final = 2 * RECEIVE_MAXIMUM
_USUAL_IN_FLIGHT: Final = 20
"""Messages that mosquitto has under way at most by MQTT 3.1.1, unless `max_inflight_messages` says more."""
_ACK_WITHIN_S: Final = 0.7
"""By MQTT 3.1.1, where that limit holds: with the runner's own ticks the acknowledgement comes within a second."""
_THROTTLE_FORGOTTEN_NS: Final = 60_000_000_000

Source = JsonDevice | JsonFamily
"""What reads one entry."""


class JsonCollector:
    """A collector (see `collectors.base.Collector`) of one broker's JSON devices.

    The broker keeps a session for us (MQTT 5: with expiry and Receive Maximum). A message is
    acknowledged by the batch's `ack`, so what was not yet in a checkpoint is sent again after a
    restart; what this process has already handed over is recognised then and counted as duplicate.
    A source with a wildcard in its topic becomes a device for each name that publishes.
    """

    reconnect_s = 2.0

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[Source],
        clock: Clock,
        memory: SessionMemory | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.link = str(settings.address)
        self._clock = clock
        self._memory = memory
        self._broker = BrokerConnection(settings, clock, inbox)
        self._serve(sources)
        self._handed_over: dict[int, None] = {}
        self._unacknowledged = 0
        self._throttled_ns = 0
        self._drops = BrokerDrops(memory)
        self._found: list[JsonDevice] = []
        self._notices = Notices()
        self._news: list[Trouble] = []
        self._announced = False
        self._connected_before = memory is not None and bool(memory.topics)  # by the process before this one, perhaps
        self._shed: dict[str, int] = {}

    def _serve(self, sources: Sequence[Source]) -> None:
        """Read these devices, and those of families that are known already."""
        self._sources = tuple(sources)
        self._devices = [source for source in sources if isinstance(source, JsonDevice)]
        self._families = [source for source in sources if isinstance(source, JsonFamily)]
        self._by_topic: dict[str, list[JsonDevice]] = {}
        for device in [*self._devices, *(d for family in self._families for d in family.members.values())]:
            self._listen_to(device)
        self._filters = list(dict.fromkeys(topic for source in sources for topic in source.topics))

    @property
    def entries(self) -> tuple[str, ...]:
        """Ids of the entries that name this broker."""
        return tuple(_entry_of(source) for source in self._sources)

    async def adopt(self, fresh: JsonCollector, changed: frozenset[str]) -> bool:
        """Read the entries of `fresh` from now on (see `collectors.base.TakesEntries`): only the filters of
        changed entries are subscribed to or given up."""
        if self._broker.settings != replace(fresh._broker.settings, client_id=self._broker.settings.client_id):
            return False
        before = {_entry_of(source): source for source in self._sources}
        sources: list[Source] = []
        for source in fresh._sources:
            entry = _entry_of(source)
            sources.append(source if entry in changed else before.get(entry, source))
        kept = {topic for source in sources if _entry_of(source) not in changed for topic in source.topics}
        given_up = [topic for topic in self._filters if topic not in kept]
        self._serve(sources)
        self._found = [device for device in self._found if device.device.entry not in changed]
        self._broker.unsubscribe(given_up)  # a filter asked for anew brings its retained messages anew
        if self._memory is not None:
            self._memory.store(self._filters)
        await self._subscribe([topic for topic in self._filters if topic not in kept])
        self._announced = False
        return True

    async def _subscribe(self, filters: Sequence[str], aside: Sequence[str] = ()) -> None:
        """Subscribe, and tell of every entry whose topics the broker refuses. Raises LinkError."""
        refused = set(await self._broker.subscribe(filters, aside=aside))
        for source in self._sources:
            asked = [topic for topic in source.topics if topic in filters]
            if asked:
                lacking = ", ".join(topic for topic in asked if topic in refused)
                self._note(_entry_of(source), "mqtt.topic-refused", lacking)

    async def connect(self) -> None:
        """Open the link and subscribe. Raises LinkError, ConfigError."""
        await self._broker.open()
        if self._memory is not None:
            if self._broker.session_present:
                self._broker.unsubscribe([t for t in self._memory.topics if t not in self._filters])
            self._memory.store(self._filters)
        if self._connected_before and not self._broker.session_present:
            self._count("session_lost", 1)
        self._unacknowledged = 0
        await self._subscribe(self._filters, [DROPPED_TOPIC])
        self._announced = False
        self._connected_before = True

    async def read(self) -> Batch:
        """The devices first, then whatever has arrived. Raises LinkError once the link is lost and all is read."""
        if not self._announced:
            self._announced = True
            known = [*self._devices, *(d for family in self._families for d in family.members.values())]
            return Batch(devices=[d.device for d in known], troubles=self._take_news(), shed=self._take_shed())
        return self._decode(await self._broker.receive(_BATCH_MESSAGES))

    async def close(self) -> None:
        """Disconnect; the broker keeps the session."""
        self._drops.keep()
        await self._broker.close()

    def _decode(self, messages: Sequence[Message]) -> Batch:
        rows: dict[str, Rows] = {}
        proofs: dict[str, Proof] = {}
        inbox = self._broker.inbox
        mids, inbox.shed_mids = inbox.shed_mids, []
        for message in messages:
            if message.mid:
                mids.append(message.mid)
                if self._is_repeated(message):
                    continue
            devices = self._by_topic.get(message.topic) or self._meet(message)
            document = self._parse(message, devices)
            if document is _BROKEN:
                continue
            for device in devices:
                self._take(device, message, document, rows, proofs)
        if mids:
            self._count_in_flight(len(mids))
        if self._drops.over(messages[-1].received_ns):
            self._note(self.link, "mqtt.broker-dropped", "")
        found, self._found = self._found, []
        return Batch(
            devices=[device.device for device in found],
            samples=[(device, gathered.samples()) for device, gathered in rows.items() if len(gathered)],
            proofs=list(proofs.values()),
            troubles=self._take_news(),
            shed=self._take_shed(),
            ack=self._acknowledgement(mids) if mids else None,
            ack_within_s=FOREVER_S if self._broker.settings.version == "5" else _ACK_WITHIN_S,
        )

    def _listen_to(self, device: JsonDevice) -> None:
        for topic in device.topics:
            self._by_topic.setdefault(topic, []).append(device)

    def _acknowledgement(self, mids: list[int]) -> Callable[[], None]:
        generation = self._broker.generation

        def acknowledge() -> None:
            if generation == self._broker.generation:
                self._unacknowledged -= len(mids)
                self._broker.acknowledge(mids, generation)

        return acknowledge

    def _count_in_flight(self, more: int) -> None:
        """Tell where a broker without Receive Maximum may be holding messages back until we acknowledge."""
        self._unacknowledged += more
        if self._broker.settings.version == "5":
            return
        now_ns = self._clock()
        if self._unacknowledged >= _USUAL_IN_FLIGHT:
            self._throttled_ns = now_ns
            self._note(self.link, "mqtt.in-flight-limit", str(_USUAL_IN_FLIGHT))
        elif now_ns - self._throttled_ns > _THROTTLE_FORGOTTEN_NS:
            self._note(self.link, "mqtt.in-flight-limit", "")

    def _meet(self, message: Message) -> Sequence[JsonDevice]:
        """The devices of wildcard entries that a topic nobody has spoken on belongs to.

        A device is found by its first live message with a value: what is retained may be of a machine
        that was scrapped long ago.
        """
        if message.topic == DROPPED_TOPIC:
            self._take_dropped(message)
            return _IGNORED
        met: list[JsonDevice] = []
        for family in self._families:
            candidate = family.candidate(message.topic)
            if candidate is None:
                if family.is_status(message.topic):
                    self._count("status_of_unknown_device", 1)
                    return _IGNORED
                continue
            if message.retained:
                self._count("retained_of_unknown_device", 1)
                return _IGNORED
            name, device = candidate
            document = _document(message)
            if document is _BROKEN or not device.read(message.topic, document, 0, True, Rows()).found:
                what = "payload_broken" if document is _BROKEN else "payload_without_values"
                self._count(what, 1)
                self._note(family.entry, f"mqtt.{what.replace('_', '-')}", _excerpt(message))
                return _IGNORED
            if family.full:
                self._count("too_many_devices", 1)
                self._note(family.entry, "mqtt.too-many-devices", str(MOST_DEVICES))
                return _IGNORED
            if not family.admit(name, device):
                self._count("name_twice", 1)
                self._note(family.entry, "mqtt.name-twice", name)
                return _IGNORED
            for cleared in ("mqtt.payload-broken", "mqtt.payload-without-values"):
                self._note(family.entry, cleared, "")
            self._listen_to(device)
            self._found.append(device)
            met.append(device)
        return met

    def _take_dropped(self, message: Message) -> None:
        """The broker's own count of what it had no room for."""
        dropped = self._drops.take(message.payload, message.received_ns)
        if dropped:
            self._count("broker_dropped", dropped)
            self._note(self.link, "mqtt.broker-dropped", str(dropped))

    def _take(
        self, device: JsonDevice, message: Message, document: Any, rows: dict[str, Rows], proofs: dict[str, Proof]
    ) -> None:
        name = device.device.id
        gathered = rows.setdefault(name, Rows())
        reading = device.read(
            message.topic, document, message.received_ns, message.retained, gathered, old=message.backlog
        )
        if reading.untimed:
            self._count("old_without_time", reading.untimed)
        if reading.duplicates:
            self._count("duplicate", reading.duplicates)
        if reading.gone:
            proofs[name] = Proof(name, message.received_ns, 0.0)
        elif reading.alive and not message.retained and not message.backlog:
            proofs[name] = Proof(name, message.received_ns, device.device.liveness_s)
        self._note_reading(name, message, reading)

    def _is_repeated(self, message: Message) -> bool:
        """Whether the broker sends again what this process has already handed over; remembers the rest."""
        mark = hash((message.topic, message.payload))
        if mark in self._handed_over:
            if message.redelivered:
                self._count("duplicate", 1)
                return True
            del self._handed_over[mark]  # to the end: it is young again
        self._handed_over[mark] = None
        if len(self._handed_over) > _REMEMBERED:
            del self._handed_over[next(iter(self._handed_over))]
        return False

    def _parse(self, message: Message, devices: Sequence[JsonDevice]) -> Any:
        if not devices:
            if devices is not _IGNORED:
                self._count("topic_unknown", 1)
            return _BROKEN
        document = _document(message)
        if document is _BROKEN:
            self._count("payload_broken", 1)
            for device in devices:
                self._note(device.device.id, "mqtt.payload-broken", _excerpt(message))
            return _BROKEN
        for device in devices:
            self._note(device.device.id, "mqtt.payload-broken", "")
        return document

    def _note_reading(self, device: str, message: Message, reading: Reading) -> None:
        if not reading.found and not reading.gone:
            self._count("payload_without_values", 1)
        self._note(device, "mqtt.payload-without-values", "" if reading.found or reading.gone else _excerpt(message))
        self._note(device, "mqtt.state-unknown", reading.strange)
        self._note(device, "mqtt.time-unreadable", reading.bad_time)

    def _note(self, device: str, code: str, what: str) -> None:
        self._news.extend(self._notices.note(device, code, what))

    def _count(self, reason: str, n: int) -> None:
        self._shed[reason] = self._shed.get(reason, 0) + n

    def _take_shed(self) -> dict[str, int]:
        inbox = self._broker.inbox
        if inbox.shed:
            self._count("inbox_full", inbox.shed)
            inbox.shed = 0
        shed, self._shed = self._shed, {}
        return shed

    def _take_news(self) -> list[Trouble]:
        news, self._news = self._news, []
        return news


def _entry_of(source: Source) -> str:
    return source.device.entry if isinstance(source, JsonDevice) else source.entry


_BROKEN: Final = object()
_IGNORED: Final[tuple[JsonDevice, ...]] = ()
"""Nobody's message, already counted."""


def _document(message: Message) -> Any:
    """What a message says, or _BROKEN."""
    try:
        return msgspec.json.decode(message.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _BROKEN


def _excerpt(message: Message) -> str:
    text = message.payload[:_EXCERPT_BYTES].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else "·" for c in text)
    return f"{message.topic}: {shown}{'…' if len(message.payload) > _EXCERPT_BYTES else ''}"
