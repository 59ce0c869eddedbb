"""A real gateway process over a scripted machine: `python -m tests.gateway.scripted_gateway URL FOLDER ORIGIN_S
[CHECKPOINT_S WINDOW_S]`.

The machine's counters are functions of time, so every process that reads it sees the same machine.
By default windows are 1 s long, so that kills often meet the moment of closing one. SIGTERM closes windows short.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from collectors.entries import DeviceEntry
from collectors.model import Clock
from gateway.config import GatewayConfig, PlantConfig, UplinkConfig
from gateway.links import Link
from gateway.logs import set_up
from gateway.page.config import OFF, PageConfig
from gateway.runner import Options, run
from tests.gateway.scripted import ScriptedCollector, steady

DEVICES = ("m-1", "m-2")


def main() -> int:
    url, folder, origin_s = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    checkpoint_s, window_s = (float(sys.argv[4]), int(sys.argv[5])) if len(sys.argv) > 4 else (0.3, 1)
    settings = GatewayConfig(checkpoint_s=checkpoint_s, data_dir=folder, page=PageConfig(listen=OFF))
    settings = settings.model_copy(update={"window_s": window_s})
    config = PlantConfig(
        file=folder / "plant.yaml",
        site="g-1",
        uplink=UplinkConfig(url=url, credential_file=folder / "credential"),
        gateway=settings,
        entries={"modbus": tuple(DeviceEntry(id=d, profile="p", address="modbus-tcp://h:1") for d in DEVICES)},
    )

    def links(_: PlantConfig, clock: Clock) -> list[Link]:
        machine = steady(origin_s)
        return [Link("modbus", ScriptedCollector(machine, clock, device_id=d, period_s=0.02)) for d in DEVICES]

    set_up()
    print("started", flush=True)
    return asyncio.run(run(config, Options(close_short=True), links))


if __name__ == "__main__":
    sys.exit(main())
