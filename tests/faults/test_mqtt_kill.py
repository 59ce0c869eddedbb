"""kill -9 of the whole gateway between receipt and acknowledgement: what the broker holds is counted once."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import sys
from pathlib import Path

import pytest

from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_machine import JsonMachine
from simulators.physics import Machine
from tests.gateway.county_stub import CREDENTIAL, CountyStub

ROOT = Path(__file__).parents[2]
TAGS = 4
"""Values in every document of the simulated machine."""
PERIOD_S = 0.05


class GatewayProcess:
    """The gateway's own command, which can be killed and started again over the same folder."""

    def __init__(
        self, folder: Path, broker: Mosquitto, county: CountyStub, checkpoint_s: float, version: str = "5"
    ) -> None:
        (folder / "credential").write_text(CREDENTIAL)
        self.config = folder / "plant.yaml"
        self.config.write_text(
            f"site: g-1\n"
            f"uplink: {{url: '{county.url}', credential_file: credential}}\n"
            f"gateway: {{window_s: 10, checkpoint_s: {checkpoint_s}, data_dir: data}}\n"
            f"devices:\n"
            f"  - {{id: edm-1, profile: json-machine, address: '{broker.address}', topic: plant/edm-1/status, "
            f"mqtt_version: '{version}'}}\n"
        )
        self.log = folder / "gateway.log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.cli", "run", "--config", str(self.config), "--close-short-on-stop"),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text()
        self.process.send_signal(number)
        return await self.process.wait()


class ClocklessMachine(JsonMachine):
    """Its documents have no time: nobody can tell one that comes again from a new one."""

    def publish_now(self) -> None:
        at_s = self._now_s()
        self.machine.advance(at_s)
        said = self.document(at_s)
        del said["ts"]
        if self.publish_raw(json.dumps(said).encode()):
            energy_kwh, parts = said["energy"]["total_kwh"], said["production"]["parts"]
            self._ledger.served("edm-1", at_s, state=self.machine.state, quantity=energy_kwh, parts=parts)


class Wire:
    """What the broker's log says of the gateway's session."""

    def __init__(self, broker: Mosquitto) -> None:
        self._path = broker.log_path

    def _found(self, pattern: str) -> list[str]:
        return re.findall(pattern, self._path.read_text(encoding="utf-8", errors="replace"))

    def _count(self, pattern: str) -> int:
        return len(self._found(pattern))

    def _messages(self, pattern: str) -> int:
        """Messages by their identifiers, which the broker deals without repeating one: it may send one twice as if
        for the first time, when the first connection broke under it."""
        return len(set(self._found(pattern)))

    def subscriptions(self) -> int:
        return self._count(r"Sending SUBACK to plantpulse-")

    def first_sent(self) -> int:
        """Messages of QoS 1 that were sent, however often."""
        return self._messages(r"Sending PUBLISH to plantpulse-\S+ \(d\d, q1, r\d, m(\d+)")

    def sent_again(self) -> int:
        return self._count(r"Sending PUBLISH to plantpulse-\S+ \(d1, q1")

    def acknowledged(self) -> int:
        return self._messages(r"Received PUBACK from plantpulse-\S+ \(Mid: (\d+)")

    def unacknowledged(self) -> int:
        return self.first_sent() - self.acknowledged()

    async def until(self, what: str, least: int, timeout_s: float = 30.0) -> None:
        async with asyncio.timeout(timeout_s):
            while getattr(self, what)() < least:  # noqa: ASYNC110 - another process's log cannot set an event
                await asyncio.sleep(0.02)


async def kill_many(
    folder: Path, kills: int, seed: int, checkpoint_s: float, kind: type[JsonMachine] = JsonMachine
) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}")
    ledger = Ledger()
    physics = Machine("edm-1", "edm", seed=5, start_energy_kwh=6020.5, start_parts=9320)
    # Killed again and again before it acknowledges, a gateway leaves more with the broker than the usual 1,000.
    lines = ("max_queued_messages 20000",)
    async with CountyStub() as county, Mosquitto(folder / "mosquitto", config_lines=lines) as broker:
        wire = Wire(broker)
        machine = kind(
            physics, ledger, host=broker.host, port=broker.port, topic="plant/edm-1/status", period_s=PERIOD_S
        )
        gateway = GatewayProcess(folder, broker, county, checkpoint_s)
        await gateway.start()
        try:
            await wire.until("subscriptions", 1)
            await machine.start()
            await wire.until("acknowledged", 2)  # from the first checkpoint on the gateway knows the machine
            for kill in range(kills):
                await wire.until("unacknowledged", rng.randint(2, 4))
                assert await gateway.end(signal.SIGKILL) == -signal.SIGKILL
                assert wire.unacknowledged() > 0
                await asyncio.sleep(rng.uniform(0.0, 0.5))
                await gateway.start()
                await wire.until("subscriptions", kill + 2)
            await machine.stop()
            sent = ledger.count("edm-1")
            await wire.until("first_sent", sent)
            async with asyncio.timeout(30):
                while wire.unacknowledged() > 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert wire.sent_again() >= kills, "the broker held something at every kill"
            assert await gateway.end(signal.SIGTERM) == 0, gateway.log.read_text()
        finally:
            await machine.stop()
            if gateway.process is not None and gateway.process.returncode is None:
                await gateway.end(signal.SIGKILL)
    served = ledger.as_dict()["edm-1"]
    assert county.doubled == []
    assert county.refused == []
    first, last = round(served["quantity"][0] * 1000), round(served["quantity"][-1] * 1000)
    assert county.total("edm-1", "quantity") == last - first
    assert county.total("edm-1", "parts") == served["parts"][-1] - served["parts"][0]
    assert county.total("edm-1", "bad") == 0
    if kind is JsonMachine:
        assert county.total("edm-1", "good") == TAGS * sent
    for row in county.rows.values():
        states = row["running"] + row["idle"] + row["fault"] + row["off"]
        assert states <= (row["connected"] if row["part"] == 0 else row["length"])


async def test_a_gateway_killed_before_it_acknowledged_counts_every_message_once(tmp_path: Path) -> None:
    await kill_many(tmp_path, kills=2, seed=7, checkpoint_s=1.0)


@pytest.mark.long
async def test_a_machine_without_a_clock_has_its_counters_counted_once(tmp_path: Path) -> None:
    await kill_many(tmp_path, kills=2, seed=8, checkpoint_s=1.0, kind=ClocklessMachine)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
async def test_thirty_kills_lose_and_double_no_message(tmp_path: Path, seed: int) -> None:
    await kill_many(tmp_path, kills=30, seed=seed, checkpoint_s=1.0)
