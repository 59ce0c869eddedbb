"""The plant's own broker, well and unwell, under a running gateway: a real mosquitto."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collectors.model import LinkError, Quality
from gateway.config import PlantConfig
from gateway.outputs import mqtt
from gateway.outputs.mqtt import MqttSink
from gateway.outputs.sender import Sender
from gateway.runner import Gateway
from simulators.broker import Mosquitto
from simulators.mqtt_client import MachineClient
from tests.gateway.county_stub import CountyStub
from tests.gateway.outputs.plants import (
    codes,
    has_next_step,
    is_accounted_for,
    mqtt_output,
    one_machine,
    rows_of,
    sending,
    told,
)
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector
from tests.waiting import until

Make = Callable[..., PlantConfig]
PASSWORD = "an-example"


def sender_of(gateway: Gateway) -> Sender:
    assert gateway.outputs is not None
    (sender,) = gateway.outputs.senders
    return sender


@pytest.fixture(autouse=True)
def used_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_S", 1.0)


@asynccontextmanager
async def subscriber(broker: Mosquitto, topic: str = "factory/#") -> AsyncIterator[list[tuple[str, Any]]]:
    """What arrives below a topic until the block ends."""
    heard: list[tuple[str, Any]] = []
    client = MachineClient(broker.host, broker.port, "dashboard", lambda t, p: heard.append((t, json.loads(p))))
    await client.connect(topics=[topic])
    try:
        yield heard
    finally:
        await client.disconnect()


async def test_every_sample_is_a_message_with_quality_unit_and_time(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto
) -> None:
    config = sending(plant(county.url), mqtt_output(mosquitto.address))
    async with subscriber(mosquitto) as heard:
        async with gateway_of(config, monkeypatch, one_machine()) as (gateway, _):
            await until(lambda: len(heard) >= 80)
            assert codes(gateway) == set()
        sender = sender_of(gateway)
        await until(lambda: len(heard) >= sender.sent_rows)
    assert len(heard) == sender.sent_rows == sender.taken_rows == gateway.intake.samples["modbus"]
    topics = {topic for topic, _ in heard}
    assert topics == {f"factory/raw/m-1/{tag}" for tag in ("state", "energy", "parts", "temperature")}
    first = next(message for topic, message in heard if topic.endswith("/temperature"))
    assert (first["value"], first["unit"], first["quality"]) == (20.0, "°C", "good")
    assert first["time"] == first["received"]


async def test_a_bad_sample_has_no_value_and_the_machines_time_is_kept(mosquitto: Mosquitto) -> None:
    sink = MqttSink(mqtt_output(mosquitto.address, mqtt_version="3.1.1"))
    async with subscriber(mosquitto) as heard:
        await asyncio.to_thread(sink.write, rows_of(5.0, source_ns=2_000_000_000))
        await asyncio.to_thread(sink.write, rows_of(5.0, tag=1, quality=Quality.BAD))
        await until(lambda: len(heard) == 2)
    await asyncio.to_thread(sink.close)
    (_, good), (_, bad) = heard
    assert good["time"] < good["received"]
    assert bad == {"quality": "bad", "time": bad["received"], "received": bad["received"], "unit": "kWh"}


async def test_the_latest_value_is_kept_by_the_broker_where_that_is_asked_for(mosquitto: Mosquitto) -> None:
    for retain, expected in ((False, 0), (True, 1)):
        sink = MqttSink(mqtt_output(mosquitto.address, topic=f"factory/{retain}", retain=retain))
        await asyncio.to_thread(sink.write, rows_of(5.0))
        await asyncio.to_thread(sink.close)
        async with subscriber(mosquitto, f"factory/{retain}/#") as heard, subscriber_end(mosquitto):
            await until(lambda heard=heard, expected=expected: len(heard) >= expected)
            assert len(heard) == expected


@asynccontextmanager
async def subscriber_end(broker: Mosquitto) -> AsyncIterator[None]:
    """Whatever was retained for the other subscriber has been sent when this block begins."""
    probe = MachineClient(broker.host, broker.port, "probe")
    await probe.connect()
    await probe.disconnect()
    yield


async def test_a_broker_that_restarts_gets_what_waited(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto
) -> None:
    config = sending(plant(county.url), mqtt_output(mosquitto.address))
    async with gateway_of(config, monkeypatch, one_machine()) as (gateway, _):
        sender = sender_of(gateway)
        await until(lambda: sender.sent_rows >= 20)
        await mosquitto.kill()
        await until(lambda: told(gateway, "output_unreachable"))
        assert has_next_step(told(gateway, "output_unreachable"))
        assert "（连接被拒绝）" in told(gateway, "output_unreachable").zh
        before = sender.taken_rows
        await mosquitto.start()
        await until(lambda: sender.sent_rows > before and not gateway.troubles.listed())
    assert sender.dropped.total() == 0
    assert is_accounted_for(gateway)


async def test_a_broker_that_takes_connections_and_answers_nothing_is_told_and_costs_no_record(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    kept: list[ScriptedCollector] = []
    hanging = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    config = sending(plant(county.url), mqtt_output(f"mqtt://127.0.0.1:{port}", queue_rows=1000))
    made = one_machine(kept, period_s=0.005)
    async with gateway_of(config, monkeypatch, made, close_short=True) as (gateway, _):
        await until(lambda: told(gateway, "output_silent"))
        assert has_next_step(told(gateway, "output_silent"))
        await until(lambda: sender_of(gateway).dropped["queue_full"] > 0)
        assert not gateway.health.reasons()
    hanging.close()
    await hanging.wait_closed()
    assert county.doubled == []
    assert county.total("m-1", "good") == gateway.intake.samples["modbus"] == 4 * kept[0].read_batches
    assert is_accounted_for(gateway)


async def test_a_broker_that_stops_in_the_middle_of_a_batch_is_given_up(mosquitto: Mosquitto) -> None:
    sink = MqttSink(mqtt_output(mosquitto.address))
    await asyncio.to_thread(sink.write, rows_of(1.0))
    os.kill(mosquitto.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LinkError) as told_of:
            await asyncio.to_thread(sink.write, rows_of(*range(1000)))
        assert told_of.value.code == "output_silent"
    finally:
        os.kill(mosquitto.pid, signal.SIGCONT)
    await asyncio.to_thread(sink.write, rows_of(2.0))
    await asyncio.to_thread(sink.close)


async def test_a_wrong_password_is_told_and_the_right_one_works_without_a_restart(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    made = await asyncio.create_subprocess_exec("mosquitto_passwd", "-c", "-b", str(passwords), "out", PASSWORD)
    assert await made.wait() == 0
    passwords.chmod(0o644)
    secret.write_text("wrong")
    lines = ("allow_anonymous false", f"password_file {passwords}")
    async with Mosquitto(tmp_path / "broker", config_lines=lines) as broker:
        output = mqtt_output(broker.address, username="out", password_file=secret)
        async with gateway_of(sending(plant(county.url), output), monkeypatch, one_machine()) as (gateway, _):
            await until(lambda: told(gateway, "output_login_refused"))
            assert has_next_step(told(gateway, "output_login_refused"))
            secret.write_text(PASSWORD + "\n")
            await until(lambda: sender_of(gateway).sent_rows and not gateway.troubles.listed())


async def test_a_broker_that_forbids_the_topic_is_told_and_nothing_counts_as_sent(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    acl.chmod(0o644)
    async with Mosquitto(tmp_path / "broker", config_lines=(f"acl_file {acl}",)) as broker:
        config = sending(plant(county.url), mqtt_output(broker.address))
        async with gateway_of(config, monkeypatch, one_machine()) as (gateway, _):
            await until(lambda: told(gateway, "output_publish_refused"))
            assert has_next_step(told(gateway, "output_publish_refused"))
            assert sender_of(gateway).sent_rows == 0
            assert is_accounted_for(gateway)


async def test_a_connection_that_is_given_up_leaves_no_descriptor_behind(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, though the error that is shown still holds on to it."""
    monkeypatch.setattr(mqtt, "ANSWER_S", 0.3)
    sink = MqttSink(mqtt_output(mosquitto.address))
    before = len(os.listdir("/proc/self/fd"))
    await asyncio.to_thread(sink.write, rows_of(1.0))
    os.kill(mosquitto.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LinkError) as told_of:
            await asyncio.to_thread(sink.write, rows_of(*range(1000)))
    finally:
        os.kill(mosquitto.pid, signal.SIGCONT)
    assert told_of.value.__traceback__ is not None
    assert len(os.listdir("/proc/self/fd")) == before
