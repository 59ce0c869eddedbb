"""All Sparkplug B edge nodes of one broker: a host application on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from collectors.model import Batch, Clock, LinkError
from collectors.mqtt.connection import BrokerConnection, Settings, Will
from collectors.mqtt.inbox import Inbox, Message
from collectors.mqtt.sparkplug_host import NAMESPACE, EdgeNode, Outcome
from collectors.mqtt.sparkplug_wire import rebirth_request

_BATCH_MESSAGES: Final = 1_000
"""Messages decoded at once: a few ms of the event loop."""
_NS_PER_MS: Final = 1_000_000
_NS: Final = 1_000_000_000


class SparkplugHost:
    """A collector (see `collectors.base.Collector`) of one broker's edge nodes.

    Clean start and no session expiry, as the specification wants of a host: after every connection
    births are asked for. A birth proves its device until a death or the loss of our own link. With
    `host_id` it announces itself by a retained STATE and a will (3.0 form). It publishes STATE and
    rebirth requests, nothing else.
    """

    reconnect_s = 2.0

    def __init__(
        self,
        settings: Settings,
        nodes: Sequence[EdgeNode],
        clock: Clock,
        host_id: str | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.link = f"{settings.address}/{NAMESPACE}"
        self._clock = clock
        self._nodes = {(node.group, node.node): node for node in nodes}
        self._broker = BrokerConnection(settings, clock, inbox)
        self._state_topic = f"{NAMESPACE}/STATE/{host_id}" if host_id else ""
        self._state_ms = 0
        self._linked = False
        self._out = Outcome()

    @property
    def entries(self) -> tuple[str, ...]:
        """Ids of the entries of this broker's edge nodes."""
        return tuple(node.entry for node in self._nodes.values())

    async def adopt(self, fresh: SparkplugHost, changed: frozenset[str]) -> bool:
        """Read the edge nodes of `fresh` from now on (see `collectors.base.TakesEntries`): nodes that did not
        change keep their births; new ones are asked for theirs."""
        settings = replace(fresh._broker.settings, client_id=self._broker.settings.client_id)
        if (self._broker.settings, self._state_topic) != (settings, fresh._state_topic):
            return False
        before, self._nodes = (
            self._nodes,
            {key: node if node.entry in changed else self._nodes.get(key, node) for key, node in fresh._nodes.items()},
        )
        self._broker.unsubscribe(
            [topic for key, node in before.items() if self._nodes.get(key) is not node for topic in node.topics]
        )
        fresh_nodes = [node for key, node in self._nodes.items() if before.get(key) is not node]
        await self._subscribe(fresh_nodes)
        self._start(fresh_nodes)
        return True

    async def _subscribe(self, nodes: Sequence[EdgeNode], *more: str) -> None:
        """Subscribe to what nodes say, and to more topics; tell of what the broker refuses. Raises LinkError."""
        refused = await self._broker.subscribe([*(topic for node in nodes for topic in node.topics), *more])
        for node in nodes:
            lacking = ", ".join(topic for topic in refused if topic in node.topics)
            self._out.troubles.extend(node.notices.note(node.entry, "mqtt.topic-refused", lacking))

    def _start(self, nodes: Sequence[EdgeNode]) -> None:
        """Ask nodes for their births."""
        now_ns = self._clock()
        for node in nodes:
            node.start(now_ns)
            self._tick(node, now_ns)

    async def connect(self) -> None:
        """Open the link, announce the host, subscribe, ask for births. Raises LinkError, ConfigError."""
        self._state_ms = self._clock() // _NS_PER_MS
        will = Will(self._state_topic, self._state(online=False)) if self._state_topic else None
        await self._broker.open(will)
        self._out = Outcome()
        nodes = list(self._nodes.values())
        await self._subscribe(nodes, *([self._state_topic] if self._state_topic else []))
        self._announce()
        self._linked = True
        self._start(nodes)

    async def read(self) -> Batch:
        """Whatever has arrived or fallen due. Raises LinkError once the link is lost and its proofs withdrawn."""
        while True:
            try:
                messages = await self._next_messages()
            except LinkError:
                if not self._linked:
                    raise
                self._linked = False
                now_ns = self._clock()
                for node in self._nodes.values():
                    node.lose(now_ns, self._out)
                if self._out:
                    return self._take_batch()
                raise
            for message in messages:
                self._take(message)
            now_ns = self._clock()
            for node in self._nodes.values():
                self._tick(node, now_ns)
            inbox = self._broker.inbox
            if inbox.shed:
                self._out.count("inbox_full", inbox.shed)
                inbox.shed = 0
            if self._out:
                return self._take_batch()

    async def close(self) -> None:
        """Announce that the host goes, where it announced itself, and disconnect."""
        if self._linked and self._state_topic and self._broker.failure is None:
            self._state_ms = self._clock() // _NS_PER_MS
            self._broker.publish(self._state_topic, self._state(online=False), qos=1, retain=True)
        self._linked = False
        await self._broker.close()

    async def _next_messages(self) -> list[Message]:
        if self._out:
            return []
        due_ns = min((t for node in self._nodes.values() if (t := node.due_ns()) is not None), default=None)
        timeout_s = None if due_ns is None else max(0.0, (due_ns - self._clock()) / _NS)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._broker.receive(_BATCH_MESSAGES)
        except TimeoutError:
            return []

    def _take(self, message: Message) -> None:
        if self._state_topic and message.topic == self._state_topic:
            self._take_state(message.payload)
            return
        match message.topic.split("/"):
            case [_, group, "NBIRTH" | "NDATA" | "NDEATH" as kind, node]:
                device = ""
            case [_, group, "DBIRTH" | "DDATA" | "DDEATH" as kind, node, device] if device:
                pass
            case _:  # a topic that is no text, or a device without a name
                self._out.count("topic_unknown")
                return
        known = self._nodes.get((group, node))
        if known is None or message.retained:  # births and data are never retained; if they are, they are old
            self._out.count("retained" if known else "topic_unknown")
            return
        known.take(kind, device, message.payload, message.received_ns, self._out)

    def _take_state(self, payload: bytes) -> None:
        """Somebody, such as the will of our own last connection, says that we are offline: we are not."""
        try:
            said: Any = msgspec.json.decode(payload)
        except msgspec.DecodeError:
            said = None
        if not isinstance(said, dict) or said.get("online") is not True:
            self._announce()

    def _announce(self) -> None:
        if self._state_topic and self._broker.failure is None:
            self._broker.publish(self._state_topic, self._state(online=True), qos=1, retain=True)

    def _state(self, *, online: bool) -> bytes:
        return msgspec.json.encode({"online": online, "timestamp": self._state_ms})

    def _tick(self, node: EdgeNode, now_ns: int) -> None:
        if node.tick(now_ns, self._out) and self._broker.failure is None:
            self._broker.publish(node.command_topic, rebirth_request(now_ns // _NS_PER_MS))

    def _take_batch(self) -> Batch:
        out, self._out = self._out, Outcome()
        return Batch(
            samples=[(device, rows.samples()) for device, rows in out.rows.items() if len(rows)],
            proofs=list(out.proofs.values()),
            devices=out.devices,
            troubles=out.troubles,
            shed=out.shed,
        )
