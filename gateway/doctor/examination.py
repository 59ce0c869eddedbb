"""All checks of a gateway, while it runs or before."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from collectors.model import CollectorError
from collectors.strict_yaml import FileError
from gateway.clock import TimeLine
from gateway.config import GatewayConfig, PlantConfig, load
from gateway.doctor import brokers, county, devices, machine, running, stored
from gateway.doctor.findings import Finding
from gateway.kernel_clock import kernel_clock
from gateway.links import make_links


@dataclass(slots=True)
class Examination:
    """What was found, and what the bundle takes along."""

    findings: list[Finding] = field(default_factory=list)
    plant: PlantConfig | None = None


async def examine(file: Path) -> Examination:
    """Run every check that the plant's file leaves sense. Opens nothing for writing but one small file that goes."""
    seen = Examination()
    try:
        seen.plant = plant = await asyncio.to_thread(load, file)
        await asyncio.to_thread(make_links, plant, TimeLine())
    except (FileError, CollectorError) as error:
        seen.findings = [*_unusable(error), machine.clock(kernel_clock(), time.time_ns(), None)]
        seen.plant = None
        return seen
    settings: GatewayConfig = plant.gateway
    entries = [entry for of_protocol in plant.entries.values() for entry in of_protocol]
    way, ports, at_brokers = await asyncio.gather(
        county.county(plant), devices.ports(entries), brokers.brokers(entries, settings.checkpoint_s)
    )
    process = machine.process(settings.data_dir)
    pages = await running.page(settings.page) if process.verdict == "ok" else []
    kept = await asyncio.to_thread(stored.outbox, plant, time.time_ns())
    n = len(entries)
    seen.findings = [
        Finding(
            "configuration", "ok", f"没有问题，{n} 个设备条目。", f"no problem; {n} device entries.", subject=str(file)
        ),
        machine.user(settings.data_dir),
        process,
        *pages,
        machine.clock(kernel_clock(), time.time_ns(), way.ahead_s),
        machine.disk_space(settings),
        await asyncio.to_thread(machine.disk_write, settings.data_dir),
        await asyncio.to_thread(machine.disk_wear, settings.data_dir),
        *way.findings,
        kept,
        *ports,
        *await asyncio.to_thread(devices.serial_lines, entries),
        *at_brokers,
    ]
    return seen


def _unusable(error: FileError | CollectorError) -> list[Finding]:
    """What is wrong with the plant's file; without it the other checks know nothing to look at."""
    step_zh = "请改正后再运行；plantpulse-gateway check 列出全部问题。"
    step_en = "Correct it and run this again; plantpulse-gateway check lists every problem."
    if isinstance(error, CollectorError):
        return [
            Finding("configuration", "fail", error.zh, error.en, error.next_zh or step_zh, error.next_en or step_en)
        ]
    return [
        Finding("configuration", "fail", p.zh, p.en, step_zh, step_en, f"{p.file}:{p.line} {p.key}")
        for p in error.problems
    ]
