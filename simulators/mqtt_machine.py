"""A simulated machine that publishes one JSON document a second, with its own time and a last will."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from typing import Any, Final

from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.physics import Machine

STATE_WORDS: Final = {"running": "RUN", "idle": "STANDBY", "fault": "ALARM", "off": "OFF"}
BREAKS: Final = (
    *("cut", "not-text", "nan", "nothing"),
    *("another-document", "null", "words-for-numbers", "no-time", "unset-clock"),
)
"""Ways in which a program sends what it should not."""
_RETRY_S: Final = 0.5


class JsonMachine:
    """One machine on one topic. Its will on `<topic>/online` is retained, as is its birth there.

    `unplug` is a pulled cable: no goodbye, the broker publishes the will. A broker that is gone is
    tried again every half second. `now_s` gives s UTC.
    """

    def __init__(
        self,
        machine: Machine,
        ledger: Ledger,
        *,
        host: str,
        port: int,
        topic: str,
        period_s: float = 1.0,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.machine = machine
        self.topic = topic
        self.address = f"mqtt://{host}:{port}"
        self._ledger = ledger
        self._period_s = period_s
        self._now_s = now_s
        self._client = MachineClient(host, port, f"{machine.kind}-{machine.id}")
        self._task: asyncio.Task[None] | None = None
        self._plugged = True

    async def start(self) -> None:
        """Connect and publish from now on. Raises OSError where the broker is not there."""
        if self._task is not None:
            return
        await self._connect()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Say goodbye and end. Safe twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._client.publish(f"{self.topic}/online", b'{"online":false}', qos=1, retain=True)
        await self._client.disconnect()

    async def unplug(self, machine_id: str) -> None:
        """Pull the cable. Raises KeyError for another machine's id."""
        self._known(machine_id)
        self._plugged = False
        await self._client.vanish()

    async def plug(self, machine_id: str) -> None:
        """Put the cable back."""
        self._known(machine_id)
        self._plugged = True
        await self._connect()

    def publish_raw(self, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Publish any bytes on the machine's topic: what a fault in its program would send."""
        return self._client.publish(self.topic, payload, qos=qos, retain=retain)

    def document(self, at_s: float) -> dict[str, Any]:
        """What the machine says of itself at `at_s`."""
        m = self.machine
        return {
            "ts": int(at_s * 1000),
            "machine": {
                "id": m.id,
                "model": m.model,
                "serial": m.serial,
                "state": STATE_WORDS[m.state],
                "quality": "good",
            },
            "energy": {"total_kwh": round(m.energy_kwh, 3), "power_kw": round(m.power_kw, 3)},
            "production": {"parts": m.parts},
        }

    def publish_now(self) -> None:
        """Bring the machine to now and publish, noting in the ledger what was said."""
        at_s = self._now_s()
        self.machine.advance(at_s)
        document = self.document(at_s)
        if self._client.publish(self.topic, json.dumps(document, separators=(",", ":")).encode(), qos=1):
            self._ledger.served(
                self.machine.id,
                document["ts"] / 1000,
                state=self.machine.state,
                quantity=document["energy"]["total_kwh"],
                parts=self.machine.parts,
            )

    async def _connect(self) -> None:
        status = f"{self.topic}/online"
        await self._client.connect(will=(status, b'{"online":false}', True))
        self._client.publish(status, b'{"online":true}', qos=1, retain=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            if self._plugged and not self._client.connected:
                try:
                    await self._connect()
                except (OSError, TimeoutError):
                    await asyncio.sleep(_RETRY_S)
                    continue
            if self._plugged:
                self.publish_now()
            due_s += self._period_s
            if (now_s := loop.time()) >= due_s:
                due_s = now_s + self._period_s  # never twice at one time: the same time is the same document
            await asyncio.sleep(due_s - now_s)

    def _known(self, machine_id: str) -> None:
        if machine_id != self.machine.id:
            raise KeyError(machine_id)


class BrokenJsonMachine(JsonMachine):
    """A machine whose program sends nonsense between its documents: before each one a seeded choice of `BREAKS`.

    `sent` counts what it sent, by kind. The ledger holds the good documents only.
    """

    def __init__(self, machine: Machine, ledger: Ledger, *, seed: int = 1, **where: Any) -> None:
        super().__init__(machine, ledger, **where)
        self.sent = dict.fromkeys(BREAKS, 0)
        self._random = random.Random(seed)  # noqa: S311 - seeded, to come out the same each time

    def publish_now(self) -> None:
        """One broken message, then the document."""
        self.publish_broken(self._random.choice(BREAKS))
        super().publish_now()

    def publish_broken(self, kind: str) -> None:
        """One message that is broken in this way. Raises KeyError for an unknown one."""
        self.sent[kind] += self.publish_raw(self.broken(kind))

    def broken(self, kind: str) -> bytes:
        """What the machine sends when it fails in this way."""
        document = self.document(self._now_s())
        if kind == "null":
            document["energy"] = {"total_kwh": None, "power_kw": None}
            document["production"] = document["machine"]["state"] = None
        elif kind == "words-for-numbers":
            document["energy"] = {"total_kwh": "much", "power_kw": "----"}
            document["production"] = {"parts": []}
            document["machine"]["state"] = "DANCING"
        elif kind == "no-time":
            del document["ts"]
        elif kind == "unset-clock":
            document["ts"] = 0
        text = json.dumps(document, separators=(",", ":")).encode()
        return {
            "cut": text[: len(text) // 2],
            "not-text": b"\xff\xfe" + text,
            "nan": text.replace(b'"total_kwh":', b'"total_kwh":NaN,"was":'),
            "nothing": b"",
            "another-document": b'{"hello":["world",1]}',
        }.get(kind, text)
