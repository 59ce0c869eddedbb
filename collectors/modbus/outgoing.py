"""What a Modbus worker has read and not handed over yet: one batch in the making."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from collectors.model import Batch, Device, Proof, Samples, Trouble

_HAND_OVER_AFTER_NS: Final = 200_000_000


class Outgoing:
    """Grows with every poll, and is bounded by being handed over after each cycle or 0.2 s."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._samples: list[tuple[str, Samples]] = []
        self._proofs: list[Proof] = []
        self._devices: list[Device] = []
        self._troubles: list[Trouble] = []
        self._shed: dict[str, int] = {}
        self._first_ns = 0

    @property
    def has_samples(self) -> bool:
        """Whether any samples wait."""
        return bool(self._samples)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to hand over."""
        return not (self._samples or self._proofs or self._devices or self._troubles)

    def has_waited(self, now_ns: int) -> bool:
        """Whether the oldest part has waited for long enough."""
        return now_ns - self._first_ns > _HAND_OVER_AFTER_NS

    def samples(self, device: str, samples: Samples, now_ns: int) -> None:
        """Samples of a device."""
        self._samples.append((device, samples))
        self._first_ns = self._first_ns or now_ns

    def proof(self, proof: Proof) -> None:
        """Evidence that a device is connected."""
        self._proofs.append(proof)

    def devices(self, devices: list[Device], now_ns: int) -> None:
        """Devices found, or changed."""
        self._devices += devices
        self._first_ns = self._first_ns or now_ns

    def trouble(self, trouble: Trouble) -> None:
        """Something that people should know."""
        self._troubles.append(trouble)

    def count(self, reason: str, number: int = 1) -> None:
        """Something that was dropped."""
        self._shed[reason] = self._shed.get(reason, 0) + number

    def forget(self, devices: Collection[str]) -> None:
        """Drop what is held of devices that are read in another way from now on; their samples are counted."""
        if dropped := sum(len(samples) for device, samples in self._samples if device in devices):
            self.count("entry_changed", dropped)
        self._samples = [(device, samples) for device, samples in self._samples if device not in devices]
        self._proofs = [proof for proof in self._proofs if proof.device not in devices]
        self._devices = [device for device in self._devices if device.id not in devices]
        self._troubles = [trouble for trouble in self._troubles if trouble.subject not in devices]

    def hand_over(self) -> Batch:
        """All of it, and begin anew."""
        batch = Batch(
            samples=self._samples,
            proofs=self._proofs,
            devices=self._devices,
            troubles=self._troubles,
            shed=self._shed,
        )
        self._begin()
        return batch
