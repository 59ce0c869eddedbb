"""What one link has for the runner: gathered between two reads, handed over at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from collectors.model import Batch, Device, Proof, Samples, Trouble
from collectors.opcua.inbox import Chunk, Inbox

Names = Callable[[int], str]
"""The id of a device by the number that chunks give it."""


class Handover:
    """`limit`: rows held while nobody reads; beyond it the oldest are dropped, and counted."""

    def __init__(self, limit: int) -> None:
        self._inbox = Inbox(limit)
        self._named: list[tuple[str, Samples]] = []
        self._proofs: dict[str, Proof] = {}
        self._devices: list[Device] = []
        self.shed: dict[str, int] = {}
        """What was dropped since the last batch, by reason."""

    def __bool__(self) -> bool:
        return bool(len(self._inbox) or self._named or self._proofs or self._devices or self.shed)

    def put(self, chunk: Chunk) -> None:
        """Add rows."""
        self._inbox.put(chunk)
        if self._inbox.shed_rows:
            self.count("inbox_full", self._inbox.shed_rows)
            self._inbox.shed_rows = 0

    def prove(self, proofs: Iterable[Proof]) -> None:
        """Add proofs; of one device the last counts."""
        self._proofs.update((proof.device, proof) for proof in proofs)

    def introduce(self, device: Device) -> None:
        """Add a device that is new or has changed."""
        self._devices.append(device)

    def count(self, reason: str, rows: int) -> None:
        """Something was dropped."""
        self.shed[reason] = self.shed.get(reason, 0) + rows

    def name(self, names: Names) -> None:
        """Name the devices of the rows so far, before their numbers mean others."""
        self._named.extend((names(number), samples) for number, samples in self._inbox.take())

    def forget(self, reason: str, is_meant: Callable[[str], bool]) -> None:
        """Drop, and count, the named rows and the proofs of these devices."""
        kept = [(device, samples) for device, samples in self._named if not is_meant(device)]
        dropped = sum(len(samples) for _, samples in self._named) - sum(len(samples) for _, samples in kept)
        if dropped:
            self.count(reason, dropped)
        self._named = kept
        self._proofs = {device: proof for device, proof in self._proofs.items() if not is_meant(device)}

    def take(self, names: Names, troubles: Sequence[Trouble]) -> Batch:
        """Everything, as a batch."""
        self.name(names)
        batch = Batch(
            samples=self._named,
            proofs=list(self._proofs.values()),
            devices=self._devices,
            troubles=troubles,
            shed=self.shed,
        )
        self._named, self._proofs, self._devices, self.shed = [], {}, [], {}
        return batch
