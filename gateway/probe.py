"""`probe`: connect every configured device once and see its first values."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from collectors.model import CollectorError, Device, Quality, Role, Samples, Trouble
from gateway.clock import TimeLine
from gateway.config import PlantConfig
from gateway.link_loop import CLOSE_TIMEOUT_S
from gateway.links import Link, make_links
from gateway.windows import STATE_NAMES

IDENTITY_GRACE_S: Final = 2.0
"""How long to listen on for who the devices are, once all of them have given values."""
_SHOWN_TAGS: Final = 6


@dataclass(slots=True)
class Result:
    """What one entry answered, and how long each step took in s; None for a step that was not reached."""

    entry: str
    address: str
    link: str
    profile: str
    connected_s: float | None = None
    """Until its link was made."""
    answered_s: float | None = None
    """From there until one of its devices had answered with a good value."""
    complete_s: float | None = None
    """From there until each of its devices had."""
    devices: dict[str, Device] = field(default_factory=dict)
    values: dict[str, dict[str, float | str]] = field(default_factory=dict)
    """Device id to its first good values by tag."""
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether at least one device was found and each found device gave a good value."""
        return bool(self.values) and all(self.values.values())

    def found(self, device: Device) -> None:
        """A device was found, or said more of itself."""
        self.devices[device.id] = device
        self.values.setdefault(device.id, {})

    def read(self, device: Device, samples: Samples, since_connected_s: float) -> None:
        """Take in what a device sent; the first good value of each tag stays."""
        self.values[device.id] = _values(device, samples) | self.values[device.id]
        if self.answered_s is None and self.values[device.id]:
            self.answered_s = since_connected_s
        if self.complete_s is None and self.ok:
            self.complete_s = since_connected_s - (self.answered_s or 0.0)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "id": self.entry,
            "address": self.address,
            "profile": self.profile,
            "ok": self.ok,
            "steps": [{"step": step, "seconds": _rounded(seconds)} for step, _, _, seconds in self._steps()],
            "devices": [
                {
                    "id": device.id,
                    "class": device.device_class,
                    "identity": {
                        "manufacturer": device.identity.manufacturer,
                        "model": device.identity.model,
                        "serial": device.identity.serial,
                    },
                    "evidence": device.evidence.value,
                    "values": self.values[device.id],
                }
                for device in self._sorted()
            ],
            "troubles": [
                {"code": t.code, "zh": t.zh, "en": t.en, "next_zh": t.next_zh, "next_en": t.next_en}
                for t in self.troubles
            ],
        }

    def as_text(self) -> str:
        """For people."""
        lines = [f"{'✓' if self.ok else '✗'} {self.entry}  {self.address}  {self.profile}"]
        steps = [
            f"{zh} / {en} {'-' if seconds is None else f'{seconds:.2f} s'}" for _, zh, en, seconds in self._steps()
        ]
        lines.append(f"    {', '.join(steps)}")
        for device in self._sorted():
            lines.append(f"    {device.id}: {_who(device)}")
            lines.append(f"        {_shown(device, self.values[device.id]) or '没有读数 / no value'}")
        lines += [f"    {t.zh} {t.next_zh}\n    {t.en} {t.next_en}" for t in self.troubles]
        if not self.ok and not self.troubles:
            lines.append("    没有应答。请检查电源、接线和地址。/ no answer. Check power, wiring and address.")
        return "\n".join(lines)

    def _steps(self) -> list[tuple[str, str, str, float | None]]:
        return [
            ("connect", "连接", "connected", self.connected_s),
            ("answer", "应答", "answered", self.answered_s),
            ("values", "各设备都有读数", "all devices read", self.complete_s),
        ]

    def _sorted(self) -> list[Device]:
        return [self.devices[device] for device in sorted(self.devices)]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _shown(device: Device, values: Mapping[str, float | str]) -> str:
    """The first values with their units, what the gateway counts first."""
    tags = [tag for tag in device.tags if tag.name in values]
    tags.sort(key=lambda tag: tag.role is Role.GAUGE)
    shown = [f"{tag.name} {values[tag.name]} {tag.unit if tag.unit != '1' else ''}".rstrip() for tag in tags]
    return ", ".join(shown[:_SHOWN_TAGS]) + (" …" if len(shown) > _SHOWN_TAGS else "")


def _who(device: Device) -> str:
    """Who a device says it is, and how that is known."""
    identity = device.identity
    serial = f"№ {identity.serial}" if identity.serial else ""
    said = " ".join(part for part in (identity.manufacturer, identity.model, serial) if part)
    return f"{said or '身份未知 / identity unknown'} ({device.evidence.value})"


async def probe(config: PlantConfig, seconds: float) -> list[Result]:
    """Read every entry until it has answered, at most `seconds`. Raises FileError, ConfigError."""
    results = {
        entry.id: Result(entry.id, entry.address, entry.link, entry.profile)
        for entries in config.entries.values()
        for entry in entries
    }
    links = make_links(config, TimeLine(), looking=True)
    found: dict[str, Device] = {}

    loop = asyncio.get_running_loop()
    complete_at_s = loop.time()

    def is_over() -> bool:
        awaited = [result for result in results.values() if any(_is_of(result, link) for link in running)]
        devices = [device for result in awaited for device in result.devices.values()]
        if not all(result.ok for result in awaited):
            return False
        return all(device.identity.serial for device in devices) or loop.time() > complete_at_s + IDENTITY_GRACE_S

    async def watch(link: Link) -> None:
        nonlocal complete_at_s
        collector = link.collector
        started_s = loop.time()
        try:
            await collector.connect()
            connected_s = loop.time()
            for result in results.values():
                if _is_of(result, collector.link):
                    result.connected_s = connected_s - started_s
            while True:
                batch = await collector.read()
                now_s = loop.time()
                for device in batch.devices:
                    found[device.id] = device
                    if device.entry in results:
                        results[device.entry].found(device)
                for device_id, samples in batch.samples:
                    known = found.get(device_id)
                    if known is not None and known.entry in results:
                        results[known.entry].read(known, samples, now_s - connected_s)
                for trouble in batch.troubles:
                    _note(results, trouble)
                if not all(result.ok for result in results.values() if _is_of(result, collector.link)):
                    complete_at_s = now_s
                if is_over():
                    done.set()
        except CollectorError as error:
            _note(results, error.trouble(collector.link))
        finally:
            running.discard(link.collector.link)
            if is_over():
                done.set()  # a link that has failed gives nothing more
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


def _is_of(result: Result, link: str) -> bool:
    """Whether an entry is read over that link, or over one that begins with it."""
    rest = result.link.removeprefix(link)
    return result.link.startswith(link) and (not rest or rest[0] in "/?")


def _note(results: dict[str, Result], trouble: Trouble) -> None:
    """Show a trouble at the entries it speaks of: by entry, by device, by a link's address or a part of it."""
    if not trouble.code:
        return
    for result in results.values():
        of_entry = trouble.subject == result.entry or trouble.subject.startswith(f"{result.entry}/")
        of_link = _is_of(result, trouble.subject) or trouble.subject.startswith(f"{result.link}/")
        if of_entry or of_link:
            result.troubles.append(trouble)
