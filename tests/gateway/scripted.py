"""A machine that keeps its counters in a file or in memory, and a collector that reads it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from collectors.model import Batch, Clock, Device, Identity, LinkError, Proof, Role, Samples, Tag
from metrics.record import Evidence, MachineState

TAGS = (
    Tag("state", role=Role.STATE),
    Tag("energy", "kWh", Role.QUANTITY),
    Tag("parts", role=Role.PARTS),
    Tag("temperature", "°C"),
)


def device(device_id: str = "m-1", entry: str = "", **changes: Any) -> Device:
    return Device(
        **{
            "id": device_id,
            "entry": entry or device_id.split("/")[0],
            "profile": "scripted",
            "address": "modbus-tcp://127.0.0.1:1",
            "device_class": "machine",
            "evidence": Evidence.NATIVE,
            "tags": TAGS,
            "liveness_s": 3.0,
            "identity": Identity("Example", "S-1", "0001"),
            "carrier": "electricity",
            "unit": "kWh",
            **changes,
        }
    )


def _unreachable() -> LinkError:
    return LinkError("unreachable", "连不上", "cannot be reached", "检查电源。", "Check the power.")


class ScriptedCollector:
    """Reads `machine(now ns) -> (state, kWh, parts)` every `period_s`; `fail` makes the next read fail."""

    reconnect_s = 0.05

    def __init__(
        self,
        machine: Callable[[int], tuple[int, float, int]],
        clock: Clock,
        *,
        device_id: str = "m-1",
        period_s: float = 0.05,
        liveness_s: float = 3.0,
    ) -> None:
        self.link = f"scripted://{device_id}"
        self.entries = (device_id.split("/")[0],)
        self.machine, self.clock, self.period_s = machine, clock, period_s
        self.device = device(device_id, liveness_s=liveness_s)
        self.fail: list[Exception] = []
        self.acked = 0
        self.read_batches = 0
        self.connects = 0
        self.plugged = True
        self._told = False

    async def connect(self) -> None:
        self.connects += 1
        self._told = False
        if not self.plugged:
            raise _unreachable()

    async def read(self) -> Batch:
        await asyncio.sleep(self.period_s)
        if self.fail:
            raise self.fail.pop(0)
        if not self.plugged:
            raise _unreachable()
        now_ns = self.clock()
        state, energy_kwh, parts = self.machine(now_ns)
        self.read_batches += 1
        devices = () if self._told else (self.device,)
        self._told = True
        return Batch(
            samples=[(self.device.id, Samples.of([0, 1, 2, 3], [state, energy_kwh, parts, 20.0], now_ns))],
            proofs=[Proof(self.device.id, now_ns, self.device.liveness_s)],
            devices=devices,
            ack=self._ack,
        )

    def _ack(self) -> None:
        self.acked += 1

    async def close(self) -> None:
        pass


def steady(start_s: float | None = None, kw: float = 3600.0, parts_per_s: float = 5.0) -> Callable[[int], Any]:
    """A machine that runs all the time; its counters are functions of time, so every process agrees."""
    origin_s = time.time() if start_s is None else start_s

    def machine(now_ns: int) -> tuple[int, float, int]:
        elapsed_s = now_ns / 1e9 - origin_s
        return MachineState.RUNNING, 100.0 + kw * elapsed_s / 3600, int(elapsed_s * parts_per_s)

    return machine
