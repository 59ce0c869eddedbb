"""The contract that every collector keeps with the gateway's runner."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from collectors.model import Batch


class Collector(Protocol):
    """One link: a Modbus bus or host, an OPC UA server, an MQTT broker. The runner owns every retry.

    The runner calls `connect`, then `read` in a loop, then `close`; after a LinkError it calls
    `close` and, after `reconnect_s`, `connect` again on the same object. Cancelling any call ends
    it within 2 s. A collector never writes to a machine.
    """

    link: str
    """The link's address, without user or password: shown to people, unique in a gateway."""
    reconnect_s: float
    """Pause before the next `connect` after a lost link (Modbus, MQTT 2 s; OPC UA 5 s), jittered by the runner."""

    @property
    def entries(self) -> tuple[str, ...]:
        """Ids of the configured entries that it reads."""

    async def connect(self) -> None:
        """Open the link. LinkError: later, with back-off. ConfigError: stop this one, tell the operator."""

    async def read(self) -> Batch:
        """Wait for the next batch, polled or subscribed. LinkError: the link is lost.

        Must be cancellable at every point without losing samples it has not handed over.
        """

    async def close(self) -> None:
        """Give everything back. Safe twice, safe after a failed connect, done within 2 s."""


@runtime_checkable
class AsksSilentDevices(Protocol):
    """A collector that asks silent devices less and less, and sooner when a person has been at the cabinet."""

    def retry(self, device: str = "") -> int:
        """Ask a silent device again within about a second, and start its waits from the beginning.

        `device`: id of a device or of an entry; blank: every silent one of this link. Returns how many silent
        units that concerns; 0 where the device answers or is not of this link. Call it from the collector's loop.
        """


@runtime_checkable
class TakesEntries(Protocol):
    """A collector that goes on with other entries without letting go of its link."""

    async def adopt(self, fresh: Any, changed: frozenset[str]) -> bool:
        """Read from now on what `fresh` was made to read: a collector of the same kind and link, never connected.

        The runner calls it between two reads of a connected collector. `changed`: ids of entries that are new,
        gone or different. All others keep what they have: poll times, subscriptions, births, identities. What
        is held of a changed entry is dropped and counted in `shed` (`entry_changed`); its devices come anew in
        `devices` of a later batch.

        False, with nothing done, where the link itself is to be another one (login, certificate, line
        settings): the runner closes this collector and connects `fresh`. LinkError: the link is lost.
        """
