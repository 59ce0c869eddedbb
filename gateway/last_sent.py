"""Exactly what was last sent to the county, kept as bytes and decoded when a person asks."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from gateway import decoded
from gateway.wire import Announce, Live, decode


class Sent(NamedTuple):
    """A body that the county took. `at_ns` on the time line."""

    at_ns: int
    body: bytes


class LastSent:
    """The last body of each route that the county answered with 200."""

    def __init__(self) -> None:
        self._sent: dict[str, Sent] = {}

    def note(self, route: str, body: bytes, at_ns: int) -> None:
        """The county took a body."""
        self._sent[route] = Sent(at_ns, body)

    def decoded(self) -> dict[str, Any]:
        """By route: `at_ns`, `bytes`, and the message in words; None where nothing was sent since the start."""
        return {
            "ingest": self._of("ingest", decoded.batch),
            "live": self._of("live", lambda body: msgspec.to_builtins(decode(body, Live))),
            "announce": self._of("announce", lambda body: msgspec.to_builtins(decode(body, Announce))),
        }

    def _of(self, route: str, read: Any) -> dict[str, Any] | None:
        sent = self._sent.get(route)
        if sent is None:
            return None
        return {"at_ns": sent.at_ns, "bytes": len(sent.body), **read(sent.body)}
