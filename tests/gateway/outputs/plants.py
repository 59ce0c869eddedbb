"""A plant whose raw samples go somewhere: what it reads, what it must count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from collectors.model import Clock, Quality, Samples
from gateway.config import PlantConfig
from gateway.links import Link
from gateway.outputs.config import InfluxOutput, MqttOutput, Output
from gateway.outputs.rows import RowQueue, Rows
from gateway.runner import Gateway
from tests.gateway.scripted import ScriptedCollector, device, steady

START_NS = 1_790_000_000_000_000_000


def influx_output(url: str, **keys: Any) -> InfluxOutput:
    return InfluxOutput(**({"id": "historian", "kind": "influxdb", "url": url, "bucket": "plant"} | keys))


def mqtt_output(address: str, **keys: Any) -> MqttOutput:
    return MqttOutput(**({"id": "broker", "kind": "mqtt", "address": address, "topic": "factory/raw"} | keys))


def sending(config: PlantConfig, *outputs: Output) -> PlantConfig:
    """The configuration with these outputs."""
    return config.model_copy(update={"outputs": outputs})


def one_machine(kept: list[ScriptedCollector] | None = None, **keys: Any) -> Callable[[PlantConfig, Clock], list[Link]]:
    """A scripted machine that is read 20 times a second."""

    def links(_: PlantConfig, clock: Clock) -> list[Link]:
        collector = ScriptedCollector(steady(), clock, **keys)
        if kept is not None:
            kept.append(collector)
        return [Link("modbus", collector)]

    return links


def samples(
    values: list[float], *, tag: int = 0, source_ns: int = 0, at_ns: int = START_NS, quality: int = Quality.GOOD
) -> Samples:
    """Samples of one tag, a second apart."""
    n = len(values)
    at = at_ns + np.arange(n, dtype=np.int64) * 1_000_000_000
    sources = at - source_ns if source_ns else 0
    return Samples.of([tag] * n, values, at, quality=quality, source_ns=sources)


def rows_of(*values: float, device_id: str = "m-1", **keys: Any) -> Rows:
    """Rows of one tag of one device."""
    queue = RowQueue(1000)
    queue.put(device(device_id), samples(list(values), **keys))
    return queue.take(1000)


def is_accounted_for(gateway: Gateway) -> bool:
    """Whether every sample taken by every output is delivered, dropped with a reason, or waits."""
    assert gateway.outputs is not None
    return all(
        s.taken_rows == s.sent_rows + s.dropped.total() + s.waiting_rows and s.taken_rows > 0
        for s in gateway.outputs.senders
    )


def codes(gateway: Gateway) -> set[str]:
    return {trouble.code for trouble in gateway.troubles.listed()}


def told(gateway: Gateway, code: str) -> Any:
    """The open trouble of a code; None where there is none."""
    return next((t for t in gateway.troubles.listed() if t.code == code), None)


def has_next_step(trouble: Any) -> bool:
    return all((trouble.zh, trouble.en, trouble.next_zh, trouble.next_en))
