"""`python -m simulators.demo` (`make demo`): the main job, from simulated machines to the county's page.

Starts a simulated plant, the county service and a gateway, each a process of its own, sends last month
as history, prints the portal's address, a login and a live summary, and ends everything on Ctrl-C. With
`DEMO_SECONDS=N` it ends by itself N seconds after the first sample and writes `summary.json`; its exit
code is 1, with the reason, when a protocol delivered nothing, a rate has no value, or a rate differs
from what the scenario's register implies.

| variable | meaning | default |
|---|---|---|
| DEMO_SECONDS | seconds from the first sample to the end | until Ctrl-C |
| PLANTPULSE_DEMO_DIR | folder of the demo's files; its contents are replaced at each start | var/demo |
| PLANTPULSE_DEMO_SCENARIO | a built-in scenario, or a file | ninghai-demo |
| PLANTPULSE_PORT | port wished for the portal | 8800 |

Other `PLANTPULSE_…` variables reach the county service (store, register, data folder).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from simulators.broker import BrokerError
from simulators.chain import PREFERRED_PORT, USERNAME, Chain
from simulators.county_client import CountyError, PortalClient
from simulators.history import make_history, send_history
from simulators.physics import local_date
from simulators.processes import ProgramError
from simulators.scenario import Expected, Scenario, ScenarioError, expected_cnc, expected_networking, load

PROTOCOLS: Final = ("opcua", "modbus", "mqtt")
FIGURE_KEYS: Final = ("value", "lower", "upper", "coverage", "numerator", "denominator")
_SUMMARY_EVERY_S: Final = 5.0
_FIRST_SAMPLE_TIMEOUT_S: Final = 60.0
_CATCH_UP_TIMEOUT_S: Final = 60.0

Figure = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What can be set from outside."""

    folder: Path
    scenario: str
    port: int
    seconds: float | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> DemoSettings:
        """Raises ValueError, in Chinese and English, for a value that is no number."""
        try:
            seconds = environment.get("DEMO_SECONDS", "").strip()
            port = environment.get("PLANTPULSE_PORT", "").strip()
            return cls(
                folder=Path(environment.get("PLANTPULSE_DEMO_DIR") or "var/demo"),
                scenario=environment.get("PLANTPULSE_DEMO_SCENARIO") or "ninghai-demo",
                port=int(port) if port else PREFERRED_PORT,
                seconds=float(seconds) if seconds else None,
            )
        except ValueError as error:
            raise ValueError(
                f"DEMO_SECONDS 和 PLANTPULSE_PORT 必须是数字：{error} / "
                f"DEMO_SECONDS and PLANTPULSE_PORT must be numbers: {error}"
            ) from error


def faults_of(summary: Mapping[str, Any], scenario: Scenario) -> list[str]:
    """Why a summary is not what the scenario promises; nothing when it is. Chinese and English."""
    faults = [
        f"{protocol} 没有送来任何数据 / {protocol} delivered nothing"
        for protocol in PROTOCOLS
        if protocol in scenario.protocol_of_device().values() and not summary["samples"].get(protocol)
    ]
    expectations: tuple[tuple[str, Expected], ...] = (
        ("networking_rate", expected_networking(scenario)),
        ("cnc_rate", expected_cnc(scenario)),
    )
    for name, expected in expectations:
        figure = summary[name]
        if figure is None or figure["value"] is None:
            faults.append(f"{name} 没有数值 / {name} has no value")
        elif (figure["numerator"], figure["denominator"]) != tuple(expected):
            faults.append(
                f"{name} 为 {figure['numerator']:g}/{figure['denominator']:g}，场景应为 "
                f"{expected.numerator}/{expected.denominator} / {name} differs from the scenario's expectation"
            )
    return faults


def figure_of(figures: list[dict[str, Any]], definition: str) -> Figure | None:
    """The six numbers of one figure by its definition's id; None where the county has none."""
    for figure in figures:
        if figure["definition"]["id"] == definition:
            return {key: figure[key] for key in FIGURE_KEYS}
    return None


class Demo:
    """One run of the demo over a chain of programs."""

    def __init__(self, settings: DemoSettings) -> None:
        self.settings = settings
        self.scenario = load(settings.scenario)
        prepare_folder(settings.folder)
        self.chain = Chain(self.scenario, settings.folder, port=settings.port)
        self.stop = asyncio.Event()
        self.first_sample_s: float | None = None

    async def run(self) -> int:
        """Run until stopped or until the time is over. Gives the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop.set)
        try:
            code = await self._until_stopped(self._play())
        finally:
            await self.chain.stop()
        return code if code is not None else 0

    async def _until_stopped(self, play: Any) -> int | None:
        """The play's exit code; None where a person ended it before."""
        playing = asyncio.create_task(play)
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if playing.done():
            return int(playing.result())
        say("\n正在结束所有进程 / ending every process …")
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing
        return None

    async def _play(self) -> int:
        chain = self.chain
        started_s = time.monotonic()
        say(f"厂脉 PlantPulse · {self.scenario.title_zh} / {self.scenario.title_en}")
        say(f"  日志 / logs: {chain.folder / 'logs'}")
        history = asyncio.create_task(asyncio.to_thread(make_history, self.scenario, time.time(), chain.span))
        await chain.start(close_short=True)
        if not chain.port.preferred:
            say(
                f"  端口 {self.settings.port} 已被占用，改用 {chain.port.number} / "
                f"port {self.settings.port} is taken, {chain.port.number} is used"
            )
        say(f"  页面 / portal:   {chain.url}")
        say(f"  登录 / login:    {USERNAME}   密码 / password: {chain.password}")
        credential = chain.credential_file.read_text(encoding="utf-8").strip()
        records = await send_history(chain.url, credential, await history)
        if page := chain.gateway_status().get("page_url"):
            say(f"  网关页面 / the gateway's own page: {page}")
        say(f"  历史 / history:  {records} 条记录 / records since {chain.span.first_day}")
        say(f"  {time.monotonic() - started_s:.1f} s 后就绪；Ctrl-C 结束 / ready; Ctrl-C ends every process")
        async with chain.portal() as portal:
            await self._watch(portal)
            return await self._end(portal)

    async def _watch(self, portal: PortalClient) -> None:
        """Say how it goes until the time is over. Raises ProgramError when a program ends by itself."""
        began_s = time.monotonic()
        while True:
            self.chain.processes.check()
            connected, known = await self._connected(portal)
            now_s = time.monotonic()
            if connected and self.first_sample_s is None:
                self.first_sample_s = now_s
            if self.first_sample_s is None and now_s - began_s > _FIRST_SAMPLE_TIMEOUT_S:
                raise ProgramError(
                    f"{_FIRST_SAMPLE_TIMEOUT_S:.0f} 秒内没有任何机器应答，见 gateway.log / "
                    "no machine answered, see gateway.log"
                )
            say(await self._line(portal, connected, known))
            left_s = _SUMMARY_EVERY_S if self.first_sample_s is not None else 0.5
            if self.settings.seconds is not None and self.first_sample_s is not None:
                left_s = min(left_s, self.first_sample_s + self.settings.seconds - now_s)
                if left_s <= 0:
                    return
            await asyncio.sleep(left_s)

    async def _end(self, portal: PortalClient) -> int:
        """Close the windows, let everything arrive, write the summary. Gives the exit code."""
        say("时间到，正在交付剩余数据 / time is over, delivering what is left …")
        self.chain.processes.check()
        if await self.chain.stop_gateway() != 0:
            say("  网关未能交付全部数据，见 gateway.log / the gateway could not deliver everything, see gateway.log")
        summary = await self._summary(portal)
        deadline_s = time.monotonic() + _CATCH_UP_TIMEOUT_S
        while faults_of(summary, self.scenario) and time.monotonic() < deadline_s:
            await asyncio.sleep(1.0)
            summary = await self._summary(portal)
        path = self.chain.folder / "summary.json"
        path.write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        say(f"汇总 / summary: {path}\n{json.dumps(summary, ensure_ascii=False)}")
        faults = faults_of(summary, self.scenario)
        for fault in faults:
            say(f"✗ {fault}")
        return 1 if faults else 0

    async def _summary(self, portal: PortalClient) -> dict[str, Any]:
        """The summary of design section 9. Rates of the live day alone: history cannot prove them."""
        today = local_date(time.time()).isoformat()
        live = (await portal.get("/indicators", period=today, look_back_days=1))["figures"]
        month = (await portal.get("/indicators", period=self.chain.span.month))["figures"]
        objects = (await portal.get("/assets", limit=500))["items"]
        return {
            "samples": self.chain.delivered_samples(),
            "records_stored": await self.chain.records_stored(),
            "assets": sum(o["kind"] == "asset" for o in objects),
            "networking_rate": figure_of(live, "networking-rate"),
            "cnc_rate": figure_of(live, "cnc-rate"),
            "metered_energy_kwh": figure_of(month, "metered-energy"),
            "energy_per_value_added": figure_of(month, "energy-intensity-level"),
        }

    async def _connected(self, portal: PortalClient) -> tuple[int, int]:
        """Devices that are connected now, and all that the gateway speaks of."""
        devices = (await portal.get("/live"))["devices"]
        return sum(d["live"]["connection"] == "connected" for d in devices), len(devices)

    async def _line(self, portal: PortalClient, connected: int, known: int) -> str:
        today = local_date(time.time()).isoformat()
        figures = (await portal.get("/indicators", period=today, look_back_days=1))["figures"]
        samples = self.chain.gateway_status().get("samples", {})
        counted = " ".join(f"{protocol} {samples.get(protocol, 0)}" for protocol in PROTOCOLS)
        return (
            f"[{time.strftime('%H:%M:%S')}] 在线 / connected {connected}/{known} · 样本 / samples {counted} · "
            f"记录 / records {await self.chain.records_stored()} · "
            f"联网率 / networking {_percent(figure_of(figures, 'networking-rate'))} · "
            f"数控化率 / CNC {_percent(figure_of(figures, 'cnc-rate'))}"
        )


def prepare_folder(folder: Path) -> None:
    """Empty a folder of an earlier run. Raises ProgramError for a folder with anything else in it."""
    marker = folder / ".plantpulse-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise ProgramError(
            f"{folder} 中有其他文件，请另选 PLANTPULSE_DEMO_DIR / "
            f"{folder} holds other files; choose another PLANTPULSE_DEMO_DIR"
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.touch()


def _percent(figure: Figure | None) -> str:
    """A rate as a person reads it, with its bounds; a dash where there is none."""
    if figure is None or figure["value"] is None:
        return "–"
    value, lower, upper = (figure[k] for k in ("value", "lower", "upper"))
    bounds = f" [{lower or 0:.1%}, {1 if upper is None else upper:.1%}]" if (lower, upper) != (value, value) else ""
    return f"{value:.1%}{bounds}"


def say(text: str) -> None:
    """One line for the person who started the demo; nobody has to go on reading."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def main() -> int:
    """Run the demo with the settings of the environment. Gives the exit code."""
    try:
        return asyncio.run(Demo(DemoSettings.from_environment(os.environ)).run())
    except (ProgramError, BrokerError, CountyError, ScenarioError, ValueError, OSError, aiohttp.ClientError) as error:
        say(f"✗ {error}")
        return 1
    except BaseExceptionGroup as group:
        for each in group.exceptions:
            say(f"✗ {each}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
