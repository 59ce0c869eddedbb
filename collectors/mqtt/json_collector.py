"""All JSON devices of one broker over one connection, acknowledged when their samples are safe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from collectors.model import Batch, Clock, Proof, Trouble
from collectors.mqtt.connection import RECEIVE_MAXIMUM, BrokerConnection, Settings
from collectors.mqtt.inbox import Inbox, Message
from collectors.mqtt.json_device import JsonDevice, Reading
from collectors.mqtt.notices import Notices
from collectors.mqtt.rows import Rows
from collectors.mqtt.session import SessionMemory

_BATCH_MESSAGES: Final = 1_000
"""Messages decoded at once: a few ms of the event loop."""
_EXCERPT_BYTES: Final = 80
_REMEMBERED: Final = 2 * RECEIVE_MAXIMUM


class JsonCollector:
    """A collector (see `collectors.base.Collector`) of one broker's JSON devices.

    The broker keeps a session for us (MQTT 5: with expiry and Receive Maximum). A message is
    acknowledged by the batch's `ack`, so what was not yet in a checkpoint is sent again after a
    restart; what this process has already handed over is recognised then and counted as duplicate.
    """

    reconnect_s = 2.0

    def __init__(
        self,
        settings: Settings,
        devices: Sequence[JsonDevice],
        clock: Clock,
        memory: SessionMemory | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.link = str(settings.address)
        self._devices = tuple(devices)
        self._memory = memory
        self._broker = BrokerConnection(settings, clock, inbox)
        self._by_topic: dict[str, list[JsonDevice]] = {}
        for device in self._devices:
            for topic in device.topics:
                self._by_topic.setdefault(topic, []).append(device)
        self._handed_over: dict[int, None] = {}
        self._notices = Notices()
        self._news: list[Trouble] = []
        self._announced = False
        self._connected_before = False
        self._shed: dict[str, int] = {}

    async def connect(self) -> None:
        """Open the link and subscribe. Raises LinkError, ConfigError."""
        await self._broker.open()
        topics = list(self._by_topic)
        if self._memory is not None:
            if self._broker.session_present:
                self._broker.unsubscribe([t for t in self._memory.topics if t not in self._by_topic])
            self._memory.store(topics)
        if self._connected_before and not self._broker.session_present:
            self._count("session_lost", 1)
        refused = set(await self._broker.subscribe(topics))
        for device in self._devices:
            lacking = [topic for topic in device.topics if topic in refused]
            self._note(device.device.id, "mqtt.topic-refused", ", ".join(lacking))
        self._announced = False
        self._connected_before = True

    async def read(self) -> Batch:
        """The devices first, then whatever has arrived. Raises LinkError once the link is lost and all is read."""
        if not self._announced:
            self._announced = True
            return Batch(devices=[d.device for d in self._devices], troubles=self._take_news(), shed=self._take_shed())
        return self._decode(await self._broker.receive(_BATCH_MESSAGES))

    async def close(self) -> None:
        """Disconnect; the broker keeps the session."""
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
            document = self._parse(message)
            if document is _BROKEN:
                continue
            for device in self._by_topic.get(message.topic, ()):
                self._take(device, message, document, rows, proofs)
        generation = self._broker.generation
        return Batch(
            samples=[(device, gathered.samples()) for device, gathered in rows.items() if len(gathered)],
            proofs=list(proofs.values()),
            troubles=self._take_news(),
            shed=self._take_shed(),
            ack=(lambda: self._broker.acknowledge(mids, generation)) if mids else None,
        )

    def _take(
        self, device: JsonDevice, message: Message, document: Any, rows: dict[str, Rows], proofs: dict[str, Proof]
    ) -> None:
        name = device.device.id
        gathered = rows.setdefault(name, Rows())
        reading = device.read(message.topic, document, message.received_ns, message.retained, gathered)
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

    def _parse(self, message: Message) -> Any:
        devices = self._by_topic.get(message.topic)
        if devices is None:
            self._count("topic_unknown", 1)
            return _BROKEN
        try:
            document = msgspec.json.decode(message.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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


_BROKEN: Final = object()


def _excerpt(message: Message) -> str:
    text = message.payload[:_EXCERPT_BYTES].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else "·" for c in text)
    return f"{message.topic}: {shown}{'…' if len(message.payload) > _EXCERPT_BYTES else ''}"
