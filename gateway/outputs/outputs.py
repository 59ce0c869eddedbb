"""All outputs of a gateway: where the intake hands over what it has counted."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import structlog

from collectors.model import Clock, Device, Samples
from gateway.config import PlantConfig
from gateway.outputs.config import InfluxOutput, Output
from gateway.outputs.sender import Sender, Sink
from gateway.troubles import Troubles

FINISH_S: Final = 2.0
"""An ordered stop waits at most this long for samples on their way, and as long again for a connection's end."""
_log = structlog.get_logger("gateway")


class Outputs:
    """Made of a configuration that names outputs; opens nothing. `works` are the tasks that others own."""

    def __init__(self, config: PlantConfig, troubles: Troubles, clock: Clock, *, time_is_known: bool) -> None:
        self.senders = [
            Sender(output, _sink(output, config.site), troubles, clock, time_is_known=time_is_known)
            for output in config.outputs
        ]

    @property
    def works(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What delivers, by name."""
        return {f"output {sender.config.id}": sender.run for sender in self.senders}

    def take(self, device: Device, samples: Samples, ahead_ns: int) -> None:
        """Samples of a device, `ahead_ns` to be added to the gateway's time. Never waits, never raises."""
        for sender in self.senders:
            if sender.config.devices and device.entry not in sender.config.devices:
                continue
            try:
                sender.take(device, samples, ahead_ns)
            except Exception as error:  # noqa: BLE001 (a mistake of ours here must not cost the county a record)
                sender.fail(len(samples), error)

    def correct(self, by_ns: int) -> None:
        """The time line was set on by `by_ns`, or is known from now on. Until it is known nothing is sent."""
        for sender in self.senders:
            sender.correct(by_ns)

    def summary(self) -> list[dict[str, Any]]:
        """For the status, in the order of the file."""
        return [sender.summary() for sender in self.senders]

    async def finish(self) -> None:
        """Deliver what goes at once, and end."""
        await asyncio.gather(*(sender.finish(FINISH_S) for sender in self.senders))
        for sender in self.senders:
            if lost := sender.dropped["stopped"]:
                _log.warning("output stopped with samples left", output=sender.config.id, samples=lost)


def _sink(output: Output, gateway: str) -> Sink:
    """Imports only the library that this kind needs."""
    made: Sink
    if isinstance(output, InfluxOutput):
        made = importlib.import_module("gateway.outputs.influx").InfluxSink(output, gateway)
    else:
        made = importlib.import_module("gateway.outputs.mqtt").MqttSink(output)
    return made
