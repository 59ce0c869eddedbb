"""The bounded hand-over between a broker's connection and whoever reads it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

DEFAULT_LIMIT: Final = 8_000
"""Messages held while nobody reads. More than the broker may have unacknowledged (see
`connection.RECEIVE_MAXIMUM`), so only messages of QoS 0 can be shed, as long as they are of a machine's size."""
LIMIT_BYTES: Final = 64 << 20
"""Payloads held at most: somebody may publish pictures on a topic of ours."""


class Message(NamedTuple):
    """One message as it arrived."""

    topic: str
    payload: bytes
    received_ns: int
    """The gateway's time, ns UTC."""
    retained: bool
    """The broker kept it for new subscribers: it says nothing of now."""
    backlog: bool
    """It was published while we were away, or is sent again: no proof that its machine is there now."""
    redelivered: bool
    """The broker has sent it before and got no acknowledgement."""
    mid: int
    """Packet identifier to acknowledge; 0 at QoS 0."""


class Inbox:
    """First in, first out; beyond `limit` messages or `limit_bytes` of payloads the oldest goes, counted: a live
    page prefers now."""

    def __init__(self, limit: int = DEFAULT_LIMIT, limit_bytes: int = LIMIT_BYTES) -> None:
        self._messages: deque[Message] = deque()
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._filled = asyncio.Event()
        self.shed = 0
        """Messages dropped since the caller last set this to 0."""
        self.shed_mids: list[int] = []
        """Packet identifiers of dropped messages: still to be acknowledged, or the broker stops sending."""

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Add one, dropping the oldest where there is no room."""
        self._held_bytes += len(message.payload)
        while self._messages and (len(self._messages) >= self._limit or self._held_bytes > self._limit_bytes):
            dropped = self._messages.popleft()
            self._held_bytes -= len(dropped.payload)
            self.shed += 1
            if dropped.mid:
                self.shed_mids.append(dropped.mid)
        self._messages.append(message)
        self._filled.set()

    def take(self, most: int) -> list[Message]:
        """Remove and give up to `most` messages, oldest first."""
        n = min(most, len(self._messages))
        taken = [self._messages.popleft() for _ in range(n)]
        self._held_bytes -= sum(len(message.payload) for message in taken)
        if not self._messages:
            self._filled.clear()
        return taken

    def wake(self) -> None:
        """Let `wait` return although nothing came: the link is lost."""
        self._filled.set()

    async def wait(self) -> None:
        """Until there is a message, or `wake`."""
        await self._filled.wait()

    def clear(self) -> None:
        """Forget everything: a new connection begins. What was held unacknowledged will be sent again."""
        self._messages.clear()
        self._held_bytes = 0
        self.shed_mids.clear()
        self._filled.clear()
