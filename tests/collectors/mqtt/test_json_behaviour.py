"""What a person can count on with JSON devices, against a real broker."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from collectors.model import Batch, ConfigError, LinkError
from collectors.mqtt.json_collector import JsonCollector
from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.mqtt_machine import JsonMachine
from tests.collectors.mqtt.plants import json_collector, json_entry, machine, published_by_us, scripted_broker
from tests.contract.collector_contract import Watch
from tests.waiting import until

TOPIC = "plant/edm-1/status"


@pytest.fixture
async def edm(mosquitto: Mosquitto) -> AsyncIterator[JsonMachine]:
    """A machine that publishes only when a test says so: its period is longer than any test."""
    one = JsonMachine(
        machine("edm-1"), Ledger(), host=mosquitto.host, port=mosquitto.port, topic=TOPIC, period_s=3600.0
    )
    yield one
    await one.stop()


@pytest.fixture
async def collector(mosquitto: Mosquitto, data_dir: Path) -> AsyncIterator[JsonCollector]:
    one = json_collector([json_entry("edm-1", mosquitto.address)], data_dir)
    yield one
    await one.close()


async def _read(collector: JsonCollector, samples: int, *, ack: bool) -> tuple[list[tuple[int, int]], list[Batch]]:
    """(tag, source time) of everything handed over, until there are as many; and the batches."""
    rows: list[tuple[int, int]] = []
    batches: list[Batch] = []
    async with asyncio.timeout(5):
        while len(rows) < samples:
            batch = await collector.read()
            batches.append(batch)
            for _, columns in batch.samples:
                rows += zip(columns.tag.tolist(), columns.source_ns.tolist(), strict=True)
            if ack and batch.ack:
                batch.ack()
    return rows, batches


class Client:
    """Somebody who publishes on any topic."""

    def __init__(self, broker: Mosquitto) -> None:
        self.client = MachineClient(broker.host, broker.port, "somebody")

    async def __aenter__(self) -> MachineClient:
        await self.client.connect()
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.disconnect()


def _shed(batches: list[Batch], reason: str) -> int:
    return sum(batch.shed.get(reason, 0) for batch in batches)


async def test_what_was_not_acknowledged_comes_again_after_a_kill_and_is_no_proof(
    mosquitto: Mosquitto, edm: JsonMachine, collector: JsonCollector, data_dir: Path
) -> None:
    await collector.connect()
    await edm.start()
    first, _ = await _read(collector, 4, ack=False)
    # The process is gone without a word; the next one finds the same state folder.
    reborn = json_collector([json_entry("edm-1", mosquitto.address)], data_dir)
    try:
        await reborn.connect()
        again, batches = await _read(reborn, 4, ack=True)
        assert again == first
        assert all(source_ns > 0 for _, source_ns in again)
        assert not [p for batch in batches for p in batch.proofs]
    finally:
        await reborn.close()


async def test_the_same_process_counts_a_message_once_when_it_comes_again(
    edm: JsonMachine, collector: JsonCollector
) -> None:
    await collector.connect()
    await edm.start()
    rows, unacknowledged = await _read(collector, 4, ack=False)
    await collector.close()
    await collector.connect()
    for batch in unacknowledged:  # the checkpoint comes late: over this connection it acknowledges nothing
        if batch.ack:
            batch.ack()
    edm.publish_now()
    more, batches = await _read(collector, 4, ack=True)
    assert _shed(batches, "duplicate") >= 1
    assert len(set(rows + more)) == len(rows + more) == 8


async def test_an_acknowledged_message_never_comes_again_and_absence_loses_nothing(
    edm: JsonMachine, collector: JsonCollector, mosquitto: Mosquitto
) -> None:
    await collector.connect()
    await edm.start()
    await _read(collector, 4, ack=True)
    await until(lambda: "Received PUBACK from plantpulse-" in mosquitto.log_path.read_text())
    await collector.close()
    for _ in range(3):
        edm.publish_now()
        await asyncio.sleep(0.002)  # another millisecond: another source time
    await collector.connect()
    rows, batches = await _read(collector, 12, ack=True)
    assert len({source_ns for _, source_ns in rows}) == 3
    assert _shed(batches, "duplicate") == 0
    assert not [p for batch in batches for p in batch.proofs], "queued messages prove nothing of now"
    edm.publish_now()
    _, batches = await _read(collector, 4, ack=True)
    assert [p.lasts_s for batch in batches for p in batch.proofs] == [6.0]


async def test_a_redelivered_message_without_a_time_brings_states_and_counters_only(
    mosquitto: Mosquitto, collector: JsonCollector, data_dir: Path
) -> None:
    document = {"machine": {"state": "RUN"}, "energy": {"total_kwh": 5.0, "power_kw": 2.0}, "production": {"parts": 3}}
    await collector.connect()
    async with Client(mosquitto) as somebody:
        somebody.publish(TOPIC, json.dumps(document).encode(), qos=1)
        first, _ = await _read(collector, 4, ack=False)
        assert [tag for tag, _ in first] == [0, 1, 2, 3]
    # The process is gone before it acknowledged: the next one cannot know what the checkpoint held.
    reborn = json_collector([json_entry("edm-1", mosquitto.address)], data_dir)
    try:
        await reborn.connect()
        again, batches = await _read(reborn, 3, ack=True)
        assert [tag for tag, _ in again] == [0, 1, 3], "the power then is not the power now"
        assert _shed(batches, "old_without_time") == 1
        assert not [p for batch in batches for p in batch.proofs]
    finally:
        await reborn.close()


async def test_a_publisher_of_qos_2_is_delivered_at_qos_1(
    mosquitto: Mosquitto, edm: JsonMachine, collector: JsonCollector
) -> None:
    await collector.connect()
    await edm.start()
    await _read(collector, 4, ack=True)
    edm.publish_raw(b'{"production":{"parts":7}}', qos=2)
    await _read(collector, 1, ack=True)
    assert re.search(r"Sending PUBLISH to plantpulse-\S+ \(d0, q1, r0, m\d+, '" + TOPIC, mosquitto.log_path.read_text())
    assert "Sending PUBREC to plantpulse" not in mosquitto.log_path.read_text()
    assert not re.search(r"Sending PUBLISH to plantpulse-\S+ \(d\d, q2", mosquitto.log_path.read_text())


async def test_an_old_broker_that_may_be_holding_back_is_told_with_the_setting_to_change(
    mosquitto: Mosquitto, data_dir: Path
) -> None:
    now_ns = [time.time_ns()]
    entry = json_entry("edm-1", mosquitto.address, mqtt_version="3.1.1")
    collector = json_collector([entry], data_dir, clock=lambda: now_ns[0])
    try:
        await collector.connect()
        async with Client(mosquitto) as somebody:
            for parts in range(30):
                somebody.publish(TOPIC, b'{"production":{"parts":%d}}' % parts, qos=1)
            rows, held = await _read(collector, 20, ack=False)
            assert len(rows) == 20, "mosquitto sends no more until they are acknowledged"
            [trouble] = [t for batch in held for t in batch.troubles]
            assert (trouble.subject, trouble.code) == (collector.link, "mqtt.in-flight-limit")
            assert "max_inflight_messages" in trouble.next_zh
            assert "max_inflight_messages" in trouble.next_en
            assert all(batch.ack_within_s < 1 for batch in held if batch.ack)
            for batch in held:
                if batch.ack:
                    batch.ack()
            rows, more = await _read(collector, 10, ack=True)
            now_ns[0] += 61 * 10**9
            somebody.publish(TOPIC, b'{"production":{"parts":30}}', qos=1)
            _, last = await _read(collector, 1, ack=True)
            assert [(t.subject, t.code) for batch in more + last for t in batch.troubles] == [(collector.link, "")]
    finally:
        await collector.close()


async def test_five_asks_for_its_own_limit_and_is_never_told_of_the_brokers(
    mosquitto: Mosquitto, collector: JsonCollector
) -> None:
    await collector.connect()
    async with Client(mosquitto) as somebody:
        for parts in range(100):
            somebody.publish(TOPIC, b'{"production":{"parts":%d}}' % parts, qos=1)
        rows, batches = await _read(collector, 100, ack=False)
    assert len(rows) == 100
    assert not [t for batch in batches for t in batch.troubles]


async def test_every_name_at_a_wildcard_is_a_device(mosquitto: Mosquitto, data_dir: Path) -> None:
    entry = json_entry("presses", mosquitto.address, topic="plant/+/status")
    exact = json_entry("edm-1", mosquitto.address)
    collector = json_collector([entry, exact], data_dir)
    parts = b'{"production":{"parts":%d}}'
    try:
        async with Client(mosquitto) as somebody:
            somebody.publish("plant/scrapped/status", parts % 1, qos=1, retain=True)
            somebody.publish("plant/scrapped/status/online", b'{"online": false}', qos=1, retain=True)
            await collector.connect()
            watch = Watch(collector)
            log = await watch.until(lambda log: sum(log.shed.values()) == 2)
            assert log.shed == {"retained_of_unknown_device": 1, "status_of_unknown_device": 1}
            assert set(log.devices) == {"edm-1"}
            for name in ("press-1", "press-2", "edm-1"):
                somebody.publish(f"plant/{name}/status", parts % 5, qos=1)
            log = await watch.until(lambda log: log.has_proof_of("presses/press-1", "presses/press-2", "edm-1"))
            assert set(log.devices) == {"edm-1", "presses/press-1", "presses/press-2"}, "an exact entry goes first"
            device = log.devices["presses/press-1"]
            assert (device.entry, device.address) == ("presses", f"{mosquitto.address}/plant/press-1/status")
            somebody.publish("plant/press-2/status/online", b'{"online": false}', qos=1)
            # edm-1 is subscribed to twice: its message may come again meanwhile, and proves what it proved before
            log = await watch.until(lambda log: any(p.lasts_s == 0.0 for p in log.proofs))
            assert {p.device for p in log.proofs if p.lasts_s == 0.0} == {"presses/press-2"}
            assert {p.device for p in log.proofs if p.lasts_s} <= {"edm-1"}
            for strange in (b"not json", b'{"hello": 1}'):
                somebody.publish("plant/stranger/status", strange, qos=1)
            log = await watch.until(lambda log: log.shed.get("payload_without_values", 0) == 1)
            assert log.shed.get("payload_broken") == 1
            assert "presses/stranger" not in log.devices, "who says nothing known is no device"
            assert {t.subject for batch in log.batches for t in batch.troubles} == {"presses"}
            # A new link announces those it knows again.
            await collector.close()
            await collector.connect()
            assert {d.id for d in (await collector.read()).devices} == {"edm-1", "presses/press-1", "presses/press-2"}
    finally:
        await collector.close()
    connected = re.findall(r"New client connected from \S+ as plantpulse-", mosquitto.log_path.read_text())
    assert len(connected) == 2, "one connection at a time for all of them"


async def test_acknowledgements_go_out_only_after_ack(
    edm: JsonMachine, collector: JsonCollector, mosquitto: Mosquitto
) -> None:
    def acknowledged() -> int:
        return len(re.findall(r"Received PUBACK from plantpulse-", mosquitto.log_path.read_text()))

    await collector.connect()
    await edm.start()
    _, batches = await _read(collector, 4, ack=False)
    edm.publish_raw(b"{}")  # whatever came before it has surely been handled by then
    while not _shed(batches, "payload_without_values"):
        batches.append(await collector.read())
    assert acknowledged() == 0
    for batch in batches:
        if batch.ack:
            batch.ack()
    await until(lambda: acknowledged() == 3)  # its birth, its document, and the empty one


async def test_a_retained_document_is_the_state_now_and_no_proof(edm: JsonMachine, collector: JsonCollector) -> None:
    await edm.start()
    edm.publish_raw(json.dumps(edm.document(time.time() - 3600)).encode(), retain=True)
    await collector.connect()
    rows, batches = await _read(collector, 4, ack=True)
    assert rows == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert not [p for batch in batches for p in batch.proofs]


async def test_a_last_will_withdraws_the_proof(edm: JsonMachine, collector: JsonCollector) -> None:
    await collector.connect()
    await edm.start()
    _, batches = await _read(collector, 4, ack=True)
    assert [p.lasts_s for batch in batches for p in batch.proofs] == [6.0]
    await edm.unplug("edm-1")
    log = await Watch(collector).until(lambda log: bool(log.proofs))
    assert [p.lasts_s for p in log.proofs] == [0.0]


@pytest.mark.parametrize(
    "payload",
    [b"", b"{not json", b"\xff\xfe\x00", b'{"ts": NaN}', b"[" * 5000, b'{"machine":{"state":"RUN"}'],
    ids=["empty", "words", "binary", "nan", "deep", "cut"],
)
async def test_a_broken_payload_is_counted_and_shown_and_the_next_good_one_clears_it(
    edm: JsonMachine, collector: JsonCollector, payload: bytes
) -> None:
    await collector.connect()
    await edm.start()
    await _read(collector, 4, ack=True)
    edm.publish_raw(payload)
    edm.publish_raw(payload + b" ")
    watch = Watch(collector)
    log = await watch.until(lambda log: log.shed.get("payload_broken", 0) == 2)
    troubles = [t for batch in log.batches for t in batch.troubles]
    assert [(t.subject, t.code) for t in troubles] == [("edm-1", "mqtt.payload-broken")], "told once"
    assert TOPIC in troubles[0].zh
    assert len(troubles[0].en) < 300
    await asyncio.sleep(0.002)
    edm.publish_now()
    log = await watch.until(lambda log: log.good >= 4)
    assert [(t.subject, t.code) for batch in log.batches for t in batch.troubles] == [("edm-1", "")]


async def test_documents_without_known_values_are_shown_and_prove_nothing(
    edm: JsonMachine, collector: JsonCollector
) -> None:
    await collector.connect()
    await edm.start()
    await _read(collector, 4, ack=True)
    for payload in (b'{"hello": 1}', b"[]", b'"text"', b"7"):
        edm.publish_raw(payload)
    log = await Watch(collector).until(lambda log: log.shed.get("payload_without_values", 0) == 4)
    assert not log.proofs
    assert [t.code for batch in log.batches for t in batch.troubles] == ["mqtt.payload-without-values"]


async def test_bad_values_of_a_machine_are_no_proof_of_it(edm: JsonMachine, collector: JsonCollector) -> None:
    await collector.connect()
    await edm.start()
    await _read(collector, 4, ack=True)
    edm.publish_raw(b'{"ts": 1795460000000, "energy": {"total_kwh": null, "power_kw": "much"}}')
    log = await Watch(collector).until(lambda log: any(batch.samples for batch in log.batches))
    [(_, samples)] = log.batches[-1].samples
    assert samples.quality.tolist() == [2, 2]
    assert not log.proofs


async def test_a_broker_that_restarts_is_a_lost_link_and_then_all_goes_on(
    mosquitto: Mosquitto, edm: JsonMachine, collector: JsonCollector
) -> None:
    await collector.connect()
    await edm.start()
    await _read(collector, 4, ack=True)
    await mosquitto.stop()
    with pytest.raises(LinkError) as lost:
        await Watch(collector).until(lambda log: False)
    assert lost.value.code == "mqtt.link-lost"
    assert lost.value.zh.partition("（")[2].startswith(("连接中断", "代理正在关闭"))
    with pytest.raises(LinkError) as refused:
        await collector.connect()
    assert refused.value.code == "mqtt.broker-unreachable"
    assert ("（连接被拒绝）" in refused.value.zh, "(connection refused)" in refused.value.en) == (True, True)
    await mosquitto.start()
    await collector.connect()
    await edm.plug("edm-1")
    edm.publish_now()
    rows, _ = await _read(collector, 4, ack=True)
    assert rows


async def test_devices_of_one_broker_share_one_connection_and_what_we_publish_is_nothing(
    mosquitto: Mosquitto, data_dir: Path
) -> None:
    names = ["edm-1", "edm-2", "edm-3"]
    collector = json_collector([json_entry(name, mosquitto.address) for name in names], data_dir)
    client = MachineClient(mosquitto.host, mosquitto.port, "all-three")
    try:
        await collector.connect()
        await client.connect()
        for name in names:
            client.publish(f"plant/{name}/status", b'{"production":{"parts":5}}')
        log = await Watch(collector).until(lambda log: log.has_samples_of(*names))
        assert set(log.devices) == set(names)
    finally:
        await collector.close()
        await client.disconnect()
    await until(lambda: "Received DISCONNECT from plantpulse-" in mosquitto.log_path.read_text())
    connected = re.findall(r"New client connected from \S+ as plantpulse-", mosquitto.log_path.read_text())
    assert len(connected) == 1
    assert published_by_us(mosquitto) == []


async def test_a_topic_that_is_no_longer_configured_leaves_the_kept_session(
    mosquitto: Mosquitto, data_dir: Path
) -> None:
    before = json_collector([json_entry(n, mosquitto.address) for n in ("edm-1", "edm-2")], data_dir)
    await before.connect()
    await before.close()
    after = json_collector([json_entry("edm-1", mosquitto.address)], data_dir)
    await after.connect()
    await after.close()
    await until(lambda: "Received DISCONNECT" in mosquitto.log_path.read_text().split("UNSUBSCRIBE")[-1])
    _, unsubscribed = mosquitto.log_path.read_text().split("Received UNSUBSCRIBE from plantpulse-")
    assert "\tplant/edm-2/status\n" in unsubscribed
    assert "\tplant/edm-2/status/online\n" in unsubscribed
    subscribed = unsubscribed.split("SUBSCRIBE")
    assert "edm-2" not in subscribed[1]


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        # CONNACK, then in answer to SUBSCRIBE a DISCONNECT with reason 0x8E: a copied card
        ([b"\x20\x03\x00\x00\x00", b"\xe0\x01\x8e"], "mqtt.session-taken-over"),
        ([b"\x20\x03\x00\x84\x00"], "mqtt.version-refused"),
        ([b"\x20\x03\x00\x86\x00"], "mqtt.login-refused"),
        ([b"\x20\x03\x00\x97\x00"], "mqtt.broker-refused"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(60)], "mqtt.not-a-broker"),
        ([b"\x15\x03\x03\x00\x02\x02\x46"], "mqtt.not-a-broker"),
        ([b""], "mqtt.not-a-broker"),
        ([b"\x20\x03\x00\x00\x00", b"\x90\x01\x00"], "mqtt.link-lost"),
    ],
)
async def test_every_way_of_being_turned_away_says_what_to_do(data_dir: Path, answers: list[bytes], code: str) -> None:
    async with scripted_broker(answers) as port:
        collector = json_collector([json_entry("edm-1", f"mqtt://127.0.0.1:{port}")], data_dir)
        try:
            with pytest.raises(LinkError) as error:
                await collector.connect()
            assert error.value.code == code
            assert error.value.zh
            assert error.value.en
        finally:
            await collector.close()


async def test_a_login_needs_the_right_password(tmp_path: Path) -> None:
    passwords, secret, wrong = tmp_path / "passwords", tmp_path / "secret", tmp_path / "wrong"
    await (
        await asyncio.create_subprocess_exec("mosquitto_passwd", "-c", "-b", str(passwords), "reader", "s3cret")
    ).wait()
    secret.write_text("s3cret\n")
    wrong.write_text("guess\n")
    lines = ("allow_anonymous false", f"password_file {passwords}")
    async with Mosquitto(tmp_path / "broker", config_lines=lines) as broker:
        for keys in ({}, {"username": "reader", "password_file": wrong}):
            refused = json_collector([json_entry("edm-1", broker.address, **keys)], tmp_path)
            with pytest.raises(LinkError) as error:
                await refused.connect()
            assert error.value.code == "mqtt.login-refused"
            await refused.close()
        entry = json_entry("edm-1", broker.address, username="reader", password_file=secret)
        for version in ("5", "3.1.1"):
            accepted = json_collector([entry.model_copy(update={"mqtt_version": version})], tmp_path)
            await accepted.connect()
            await accepted.close()


async def test_a_topic_that_the_broker_refuses_is_shown_and_the_link_stands(data_dir: Path) -> None:
    # CONNACK; SUBACK of packet 1: the first topic granted at QoS 1, the second not authorised
    answers = [b"\x20\x03\x00\x00\x00", b"\x90\x05\x00\x01\x00\x01\x87"]
    async with scripted_broker(answers) as port:
        collector = json_collector([json_entry("edm-1", f"mqtt://127.0.0.1:{port}")], data_dir)
        try:
            await collector.connect()
            batch = await collector.read()
            assert [device.id for device in batch.devices] == ["edm-1"]
            assert [(t.subject, t.code) for t in batch.troubles] == [("edm-1", "mqtt.topic-refused")]
            assert f"{TOPIC}/online" in batch.troubles[0].en
        finally:
            await collector.close()


async def test_an_encrypted_link_verifies_the_broker(tmp_path: Path, free_port: int) -> None:
    authority, certificate, key = _certificates(tmp_path)
    lines = (f"listener {free_port} 127.0.0.1", f"certfile {certificate}", f"keyfile {key}")
    async with Mosquitto(tmp_path / "broker", config_lines=lines) as broker:
        address = f"mqtts://localhost:{free_port}"
        stranger = json_collector([json_entry("edm-1", address)], tmp_path)
        with pytest.raises(LinkError) as error:
            await stranger.connect()
        assert error.value.code == "mqtt.tls-failed"
        assert "ca_file" in error.value.next_en
        await stranger.close()
        plain = json_collector([json_entry("edm-1", f"mqtts://localhost:{broker.port}", ca_file=authority)], tmp_path)
        with pytest.raises(LinkError):
            await plain.connect()
        await plain.close()
        trusted = json_collector([json_entry("edm-1", address, ca_file=authority)], tmp_path)
        client = MachineClient(broker.host, broker.port, "edm")
        try:
            await trusted.connect()
            await client.connect()
            padding = "x" * 40_000  # more than one TLS record
            for parts in range(20):
                client.publish(TOPIC, json.dumps({"production": {"parts": parts}, "note": padding}).encode(), qos=1)
            log = await Watch(trusted).until(lambda log: log.good >= 20)
            values = [v for batch in log.batches for _, s in batch.samples for v in s.value.tolist()]
            assert values == list(range(20))
        finally:
            await client.disconnect()
            await trusted.close()


async def test_a_broker_that_asks_for_our_certificate_gets_it(tmp_path: Path, free_port: int) -> None:
    authority, certificate, key = _certificates(tmp_path)
    lines = (
        f"listener {free_port} 127.0.0.1",
        *(f"cafile {authority}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true"),
    )
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    (tmp_path / "other").mkdir()
    _, _, foreign_key = _certificates(tmp_path / "other")
    address = f"mqtts://localhost:{free_port}"
    async with Mosquitto(tmp_path / "broker", config_lines=lines):
        for keys in ({"cert_file": certificate, "key_file": key}, {"cert_file": both}):
            known = json_collector([json_entry("edm-1", address, ca_file=authority, **keys)], tmp_path)
            await known.connect()
            await known.close()
        nobody = json_collector([json_entry("edm-1", address, ca_file=authority)], tmp_path)
        with pytest.raises(LinkError) as refused:
            await nobody.connect()
        assert "cert_file" in refused.value.next_en + refused.value.next_zh
        await nobody.close()
        for keys in ({"cert_file": certificate, "key_file": foreign_key}, {"cert_file": certificate}):
            wrong = json_collector([json_entry("edm-1", address, ca_file=authority, **keys)], tmp_path)
            with pytest.raises(ConfigError) as error:
                await wrong.connect()
            assert error.value.code == "mqtt.client-certificate"
            await wrong.close()


async def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    authority, certificate, key = _certificates(tmp_path)
    locked = tmp_path / "locked.key"
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    keys = {"ca_file": authority, "cert_file": certificate, "key_file": locked}
    collector = json_collector([json_entry("edm-1", "mqtts://localhost:1", **keys)], tmp_path)
    with pytest.raises(ConfigError) as error:
        await collector.connect()
    assert error.value.code == "mqtt.client-certificate"
    await collector.close()


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A CA of our own and a certificate for localhost signed by it: (CA, certificate, key)."""
    now = datetime.now(UTC)

    def build(name: str, issuer: str, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.CertificateBuilder:
        def titled(title: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])

        return (
            x509.CertificateBuilder()
            .subject_name(titled(name))
            .issuer_name(titled(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = build("test CA", "test CA", ca_key.public_key(), ca=True).sign(ca_key, hashes.SHA256())
    own = (
        build("localhost", "test CA", key.public_key(), ca=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    files = folder / "ca.pem", folder / "broker.pem", folder / "broker.key"
    files[0].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(own.public_bytes(serialization.Encoding.PEM))
    files[2].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
