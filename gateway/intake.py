"""What links bring: devices are announced, samples and proofs counted, acknowledgements kept until all is safe."""

from __future__ import annotations

import sqlite3
from collections import Counter as Counts
from collections.abc import Callable
from typing import Final

from collectors.model import FOREVER_S, Batch, Clock, Device, Samples, Trouble
from gateway import outbox_troubles
from gateway.clock import NS_PER_S
from gateway.config import ENTRY_MODELS, PlantConfig
from gateway.last_values import LastValues
from gateway.outbox import OutboxThread
from gateway.troubles import Troubles
from gateway.windows import Windows
from gateway.wire import MAX_ID, Announcement, is_device_id

NEVER_NS: Final = 1 << 63
Tap = Callable[[Device, Samples, int], None]
"""Gets what was counted: samples of a device, and what is to be added to their receive times, ns. Must not wait."""


class Intake:
    """Takes batches into the windows. Whoever writes the windows down fetches `take_acks` and calls
    `introduce_again` when the disk takes data again."""

    def __init__(
        self,
        config: PlantConfig,
        clock: Clock,
        thread: OutboxThread,
        windows: Windows,
        troubles: Troubles,
        *,
        found: Callable[[], None],
        tap: Tap | None = None,
    ) -> None:
        self.config = config
        """The configuration that runs: what an entry proposes goes into announcements."""
        self._clock, self._thread, self._windows, self._troubles = clock, thread, windows, troubles
        self._found, self._tap = found, tap
        self._unannounced: dict[str, Device] = {}
        self._acks: list[Callable[[], None]] = []
        self.samples: Counts[str] = Counts(dict.fromkeys(ENTRY_MODELS, 0))
        """Accepted samples by protocol."""
        self.first_sample_ns = 0
        self.last_values = LastValues()
        self.acks_due_ns = NEVER_NS
        """When the first of those who wait for an acknowledgement can wait no longer."""

    def shift(self, by_ns: int) -> None:
        """The time line was set on by `by_ns`."""
        if self.first_sample_ns:
            self.first_sample_ns += by_ns

    async def take(self, protocol: str, batch: Batch) -> None:
        """Count what one read of a link brought."""
        for device in batch.devices:
            await self._introduce(device)
        accepted = self._windows.take(batch.proofs, batch.samples)
        if accepted:
            self.samples[protocol] += accepted
            if not self.first_sample_ns:
                self.first_sample_ns = self._clock()
        for device_id, samples in batch.samples:
            account = self._windows.accounts.get(device_id)
            if account is not None and account.device is not None:
                self.last_values.take(account.device, samples)
                if self._tap is not None:
                    self._tap(account.device, samples, self._windows.links_behind_ns)
        for trouble in batch.troubles:
            self._troubles.report(trouble)
        if batch.shed:
            self._windows.shed.update(batch.shed)
        if batch.ack is not None:
            self._acks.append(batch.ack)
            if batch.ack_within_s != FOREVER_S:
                self.acks_due_ns = min(self.acks_due_ns, self._clock() + round(batch.ack_within_s * NS_PER_S))

    def take_acks(self) -> list[Callable[[], None]]:
        """The acknowledgements of everything taken so far, for whoever makes it safe."""
        acks, self._acks = self._acks, []
        self.acks_due_ns = NEVER_NS
        return acks

    def give_back(self, acks: list[Callable[[], None]]) -> None:
        """What they acknowledge could not be made safe."""
        self._acks = acks + self._acks

    async def introduce_again(self) -> None:
        """Announce the devices that the disk did not take when they were found."""
        for device in list(self._unannounced.values()):
            await self._introduce(device)

    async def _introduce(self, device: Device) -> None:
        if not is_device_id(device.id):
            # one such id would have the county refuse every message that names it, and all that waits behind them
            self._windows.shed["device_refused"] += 1
            self._troubles.report(_unusable_id(device))
            return
        now_ns = self._clock()
        number = await self._announce(device, now_ns)
        if self._windows.introduce(device, number, now_ns):
            self._found()

    async def _announce(self, device: Device, now_ns: int) -> int:
        """The number of what the device says of itself; 0 while the disk does not take it."""
        outbox = self._thread.outbox
        try:
            number = await self._thread.call(outbox.announced.add, announcement(device, self.config, now_ns))
        except sqlite3.Error as error:
            self._troubles.report(outbox_troubles.not_writable(error))
            self._unannounced[device.id] = device
            return 0
        self._unannounced.pop(device.id, None)
        return number


def _unusable_id(device: Device) -> Trouble:
    shown = ascii(device.id[:40])
    return Trouble(
        f"{device.entry}/name",
        "device_id_unusable",
        f"设备编号 {shown}… 过长（{len(device.id)} 个字符）或含不可见字符，县级不收；此设备未被采集，其余照常。",
        f"the device id {shown}… is too long ({len(device.id)} signs) or holds signs that cannot be printed: the "
        "county takes none such. This device is not read, the others are.",
        f"编号由条目和设备自报的名称组成，至多 {MAX_ID} 个可见字符：请在设备上改短名称，或改短条目编号。",
        f"An id is the entry's and the device's own name, at most {MAX_ID} printable signs: shorten either.",
    )


def announcement(device: Device, config: PlantConfig, now_ns: int) -> Announcement:
    """What a device said of itself, and the asset that its entry proposes, not yet numbered."""
    entry = next((e for entries in config.entries.values() for e in entries if e.id == device.entry), None)
    alone = device.id == device.entry
    return Announcement(
        0,
        now_ns,
        device.id,
        device.address,
        device.profile,
        device.device_class,
        device.evidence.value,
        manufacturer=device.identity.manufacturer,
        model=device.identity.model,
        serial=device.identity.serial,
        product_uri=device.identity.product_uri,
        carrier=device.carrier,
        unit=device.unit,
        direction=device.direction,
        liveness_s=device.liveness_s if device.liveness_s != FOREVER_S else 0.0,
        asset=entry.asset if entry is not None and alone else "",
    )
