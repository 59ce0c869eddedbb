"""`probe`: connect every configured device once and see its first values."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from collectors.model import CollectorError, Device, Quality, Role, Samples, Trouble
from gateway.clock import TimeLine
from gateway.config import PlantConfig
from gateway.link_loop import CLOSE_TIMEOUT_S
from gateway.links import Link, make_links
from gateway.windows import STATE_NAMES


@dataclass(slots=True)
class Result:
    """What one entry answered. `values`: device id to its first good values by tag."""

    entry: str
    address: str
    values: dict[str, dict[str, float | str]] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether at least one device was found and each found device gave a good value."""
        return bool(self.values) and all(self.values.values())

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "id": self.entry,
            "address": self.address,
            "ok": self.ok,
            "devices": [{"id": device, "values": values} for device, values in sorted(self.values.items())],
            "troubles": [{"code": t.code, "zh": t.zh, "en": t.en} for t in self.troubles],
        }

    def as_text(self) -> str:
        """For people."""
        lines = [f"{'✓' if self.ok else '✗'} {self.entry}  {self.address}"]
        for device, values in sorted(self.values.items()):
            shown = ", ".join(f"{tag} {value}" for tag, value in list(values.items())[:6])
            lines.append(f"    {device}: {shown or '没有读数 / no value'}")
        lines += [f"    {t.zh} {t.next_zh}\n    {t.en} {t.next_en}" for t in self.troubles]
        if not self.ok and not self.troubles:
            lines.append("    没有应答。请检查电源、接线和地址。/ no answer. Check power, wiring and address.")
        return "\n".join(lines)


async def probe(config: PlantConfig, seconds: float) -> list[Result]:
    """Read every entry until it has answered, at most `seconds`. Raises FileError, ConfigError."""
    results = {entry.id: Result(entry.id, entry.address) for entries in config.entries.values() for entry in entries}
    links = make_links(config, TimeLine(), looking=True)
    found: dict[str, Device] = {}

    def complete() -> bool:
        return all(result.ok for result in results.values())

    async def watch(link: Link) -> None:
        collector = link.collector
        try:
            await collector.connect()
            while True:
                batch = await collector.read()
                for device in batch.devices:
                    found[device.id] = device
                    if device.entry in results:
                        results[device.entry].values.setdefault(device.id, {})
                for device_id, samples in batch.samples:
                    known = found.get(device_id)
                    if known is not None and known.entry in results:
                        results[known.entry].values[device_id] |= _values(known, samples)
                for trouble in batch.troubles:
                    _note(results, trouble)
                if complete():
                    done.set()
        except CollectorError as error:
            _note(results, error.trouble(collector.link))
        finally:
            running.discard(link.collector.link)
            if not running:
                done.set()  # every link has failed: nothing more will come
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await collector.close()

    done = asyncio.Event()
    running = {link.collector.link for link in links}
    tasks = [asyncio.create_task(watch(link), name=link.collector.link) for link in links]
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await done.wait()
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for link, outcome in zip(links, outcomes, strict=True):
        if isinstance(outcome, Exception):
            text = f"{type(outcome).__name__}: {outcome}"
            _note(results, Trouble(link.collector.link, "collector_failed", f"采集程序出错：{text}", f"failed: {text}"))
    return list(results.values())


def _values(device: Device, samples: Samples) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for row in np.flatnonzero(samples.quality == Quality.GOOD).tolist():
        tag, value = device.tags[int(samples.tag[row])], float(samples.value[row])
        found[tag.name] = STATE_NAMES.get(int(value), "unknown") if tag.role is Role.STATE else value
    return found


def _note(results: dict[str, Result], trouble: Trouble) -> None:
    """Show a trouble at the entries it speaks of: by entry, by device, by a link's address or a part of it."""
    if not trouble.code:
        return
    for result in results.values():
        of_entry = trouble.subject == result.entry or trouble.subject.startswith(f"{result.entry}/")
        of_link = result.address.startswith(trouble.subject) or trouble.subject.startswith(f"{result.address}/")
        if of_entry or of_link:
            result.troubles.append(trouble)
