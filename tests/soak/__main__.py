"""`python -m tests.soak --hours 72` (`make soak HOURS=72`): a whole plant, its gateway and a county for that long.

Prints one JSON object a line: `started`, one `hour` for each hour (for less than three hours: three equal parts), and
`ended`. In every part a machine of each protocol is unplugged and plugged in again, and the county is restarted. Ends
by itself, or at Ctrl-C with what is known by then. Exit code 0 where no record was lost or doubled and every quantity
is the plant's own, 1 otherwise. What slope is too much is for the reader: memory settles during the first hours.

| key | meaning |
|---|---|
| slope_mb_per_h | least squares line through the gateway's resident memory in this part, MB/h |
| rss_mb, descriptors, threads | the gateway's at the end of this part; resident memory in 10^6 bytes |
| most_descriptors | the most that it held in this part |
| records_lost | written by the gateway, neither waiting nor in the county's store; so far |
| records_doubled | in the county's store without having been written, or twice under one key; so far |
| records_dropped, shed | what the gateway itself counts as dropped; so far |
| troubles | codes of the gateway's open troubles at the end of this part |
| quantities_differ | devices whose records do not add up to what the plant served (`ended`) |
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulators.chain import Chain
from simulators.scenario import load
from tests.e2e.held_plant import hold, served_again
from tests.e2e.truth import grown, keys_are_unique, stored_records
from tests.soak.slope import Held, held, slope_mb_per_h

UNPLUGGED: Final = ("cnc-1", "moulding-1", "edm-1", "asm-1")
"""A machine of OPC UA, Modbus, JSON over MQTT, and Sparkplug."""
LOOK_S: Final = 10.0
LOOKS_AT_LEAST: Final = 20
"""In a part that is shorter than so many looks they are nearer to each other."""
PARTS_AT_LEAST: Final = 3
SETTLE_S: Final = 60.0
_S_PER_H: Final = 3600.0


def say(**line: Any) -> None:
    """One JSON object for a program, or a person, to read."""
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class Soak:
    """One run over a chain of programs."""

    def __init__(self, folder: Path, hours: float) -> None:
        self.seconds = hours * _S_PER_H
        self.part_s = min(_S_PER_H, self.seconds / PARTS_AT_LEAST)
        settings = {"checkpoint_s": 1.0, "window_s": 10 if self.part_s < 600 else 60}
        self.chain = Chain(load(), folder, port=0, gateway_settings=settings)
        self.stop = asyncio.Event()
        self.all: list[Held] = []
        self.lost = self.doubled = 0
        self._first_pages: dict[str, Any] = {}
        self._counted_from_s = 0.0

    async def run(self) -> bool:
        """Run until the time is over or `stop`. Whether nothing was lost or doubled. Raises ProgramError."""
        chain = self.chain
        try:
            await asyncio.gather(chain.start_plant(), chain.prepare_county())
            chain.write_gateway_config()
            self._counted_from_s = await hold(chain)
            await asyncio.gather(chain.start_county(), chain.start_gateway(close_short=True))
            await self._until(self._all_connected, SETTLE_S)
            await served_again(chain, 2)  # every counter has been seen while it stood still
            self._first_pages = await chain.ledger()  # its rows do not all last for days
            await chain.order("release")
            say(event="started", hours=self.seconds / _S_PER_H, part_h=round(self.part_s / _S_PER_H, 4))
            began_s = time.monotonic()
            part = 0
            while not self.stop.is_set() and (part + 0.5) * self.part_s < self.seconds:
                await self._part(part, began_s + part * self.part_s)
                part += 1
            return await self._end(time.monotonic() - began_s)
        finally:
            await chain.stop()

    async def _part(self, number: int, began_s: float) -> None:
        """One hour: faults in its middle, a line at its end."""
        taken: list[Held] = []
        look_s = min(LOOK_S, self.part_s / LOOKS_AT_LEAST)
        faults = [(0.25, self._cut_machines), (0.5, self._restart_county)]
        while not self.stop.is_set() and time.monotonic() < began_s + self.part_s:
            self.chain.processes.check()
            assert self.chain.gateway is not None
            taken.append(held(self.chain.gateway.pid, time.monotonic()))
            if faults and time.monotonic() >= began_s + faults[0][0] * self.part_s:
                await faults.pop(0)[1]()
            await self._pause(look_s)
        self.all += taken
        await self._settle()
        status = self.chain.gateway_status()
        say(
            event="hour",
            hour=number + 1,
            slope_mb_per_h=_rounded(slope_mb_per_h(taken)),
            rss_mb=_rounded(taken[-1].rss_mb if taken else None),
            descriptors=taken[-1].descriptors if taken else None,
            most_descriptors=max((one.descriptors for one in taken), default=None),
            threads=taken[-1].threads if taken else None,
            samples=sum(status["samples"].values()),
            records_written=status["records_written"],
            records_lost=self.lost,
            records_doubled=self.doubled,
            records_dropped=status["records_dropped"],
            shed=status["shed"],
            troubles=[trouble["code"] for trouble in status["troubles"]],
        )

    async def _cut_machines(self) -> None:
        for machine in UNPLUGGED:
            await self.chain.order(f"unplug {machine}")
        await self._pause(min(30.0, self.part_s / 10))
        for machine in UNPLUGGED:
            await self.chain.order(f"plug {machine}")

    async def _restart_county(self) -> None:
        await self.chain.stop_county()
        await self._pause(min(30.0, self.part_s / 10))
        await self.chain.start_county()

    async def _settle(self) -> None:
        """Wait until every record that the gateway wrote is in the county's store; else count those that are not."""
        with suppress(TimeoutError):
            await self._until(self._agrees, SETTLE_S)

    async def _agrees(self) -> bool:
        stored = await self.chain.records_stored()
        status = self.chain.gateway_status()
        missing = status["records_written"] - status["records_unsent"] - stored
        self.lost, self.doubled = max(0, missing), max(0, -missing)
        return missing == 0

    async def _end(self, seconds: float) -> bool:
        """Stop gateway and county, set the store beside the plant's ledger."""
        chain = self.chain
        await self._until(self._all_connected, SETTLE_S)
        await hold(chain)
        pages = await chain.ledger()
        is_delivered = await chain.stop_gateway() == 0
        written = chain.gateway_status()["records_written"]

        async def all_stored() -> bool:
            return await chain.records_stored() >= written

        with suppress(TimeoutError):
            await self._until(all_stored, SETTLE_S)
        await chain.stop_county()
        records = stored_records(chain.folder / "county", chain.scenario.gateway)
        stored = sum(len(of_device) for of_device in records.values())
        self.lost = max(0, written - stored)
        self.doubled = max(0, stored - written) + sum(not keys_are_unique(of_device) for of_device in records.values())
        differ = [spec.device for spec in chain.scenario.machines if not self._adds_up(spec, pages, records)]
        is_well = is_delivered and not (self.lost or self.doubled or differ)
        later = self.all[len(self.all) // 2 :]
        say(
            event="ended",
            ok=is_well,
            hours=round(seconds / _S_PER_H, 4),
            slope_mb_per_h_of_second_half=_rounded(slope_mb_per_h(later)),
            most_rss_mb=_rounded(max((one.rss_mb for one in self.all), default=None)),
            most_descriptors=max((one.descriptors for one in self.all), default=None),
            records_written=written,
            records_lost=self.lost,
            records_doubled=self.doubled,
            quantities_differ=differ,
        )
        return is_well

    def _adds_up(self, spec: Any, pages: dict[str, Any], records: dict[str, Any]) -> bool:
        """Whether a device's records hold what its machine counted, to the last thousandth and piece."""
        totals = grown(spec, self._first_pages[spec.id], pages[spec.id], self._counted_from_s)
        return all(int(np.sum(getattr(records[spec.device], column))) == total for column, total in totals.items())

    # The chain's state ------------------------------------------------------------------------------

    async def _all_connected(self) -> bool:
        status = self.chain.gateway_status()
        devices = {device["id"] for device in status.get("devices", ()) if device["connected"]}
        return set(self.chain.scenario.protocol_of_device()) <= devices

    async def _until(self, condition: Any, timeout_s: float) -> None:
        """Wait for what only another process knows. Raises TimeoutError, ProgramError."""
        async with asyncio.timeout(timeout_s):
            while not await condition():
                self.chain.processes.check()
                await asyncio.sleep(0.2)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


async def soak(folder: Path, hours: float) -> bool:
    """A run that Ctrl-C ends in order."""
    run = Soak(folder, hours)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop.set)
    return await run.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="A plant, a gateway, a county, for hours."
    )
    parser.add_argument("--hours", type=float, default=72.0, help="how long, h")
    parser.add_argument("--folder", type=Path, default=Path("var/soak"), help="files of the run; replaced each time")
    given = parser.parse_args(arguments)
    if given.hours <= 0:
        parser.error("--hours: more than 0")
    if (marker := given.folder / ".plantpulse-soak").exists():
        shutil.rmtree(given.folder)
    elif given.folder.exists() and any(given.folder.iterdir()):
        parser.error(f"--folder: {given.folder} holds other files")
    given.folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return 0 if asyncio.run(soak(given.folder, given.hours)) else 1


if __name__ == "__main__":
    sys.exit(main())
