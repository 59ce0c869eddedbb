"""`doctor`: every check against the real thing: county over TLS, proxy, broker, ports, outbox, kernel."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from api.credentials import issue
from api.enrolment import revoke
from collectors.modbus.config import ModbusEntry
from collectors.mqtt.config import MqttEntry
from gateway.cli import app
from gateway.clock import EARLIEST_NS
from gateway.config import GatewayConfig, load
from gateway.doctor import brokers, county, devices, machine, running, stored
from gateway.doctor.examination import examine
from gateway.doctor.findings import Finding
from gateway.kernel_clock import KernelClock, kernel_clock
from gateway.outbox import Outbox
from gateway.page.config import PageConfig
from gateway.wire import DeviceRef
from simulators.broker import Mosquitto
from tests.api.county_fixtures import CountyUnderTest, HandClock, minutes, served_county
from tests.connect_proxy import ConnectProxy
from tests.private_ca import PrivateCa, ServerTls, TlsPort
from tests.waiting import until

NS = 1_000_000_000


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def ca(tmp_path: Path) -> PrivateCa:
    return PrivateCa(tmp_path / "ca")


@asynccontextmanager
async def running_county(folder: Path, tls: ServerTls) -> AsyncIterator[CountyUnderTest]:
    async with served_county(folder / "county", HandClock(time.time()), tls) as served:
        yield served


@pytest.fixture
async def served(tmp_path: Path, ca: PrivateCa) -> AsyncIterator[CountyUnderTest]:
    async with running_county(tmp_path, ca.server()) as county_:
        yield county_


def plant_file(
    folder: Path, served: CountyUnderTest | None, *, devices_yaml: str = "", url: str = "", **uplink: Any
) -> Path:
    """A plant's file whose credential the county knows."""
    folder.mkdir(exist_ok=True)
    if served is not None:
        url = str(served.client.base_url).rstrip("/")
        credential = issue(served.county.engine, "gw-1", served.clock.now_ns())
        served.clock.line_s += 2
    else:
        credential = "nobody"
    file = folder / "credential"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(credential + "\n")
    keys = {"url": url, "credential_file": "credential", "ca_file": str(folder.parent / "ca" / "ca.pem")} | uplink
    rows = devices_yaml or "[{id: m, profile: eastron-sdm630, address: 'modbus-tcp://127.0.0.1:9', unit: 1}]"
    runtime = "{outbox_limit_mb: 1, reserve_mb: 0, page: {listen: '127.0.0.1:0'}}"
    text = f"site: gw-1\nuplink: {json.dumps(keys)}\ngateway: {runtime}\ndevices: {rows}\n"
    config = folder / "plant.yaml"
    config.write_text(text)
    return config


def found(findings: list[Finding], check: str) -> Finding:
    (one,) = [f for f in findings if f.check == check]
    assert one.zh
    assert one.en
    if one.verdict != "ok":
        assert one.next_zh, "a next step"
        assert one.next_en
    return one


async def county_findings(config: Path) -> list[Finding]:
    return (await county.county(await asyncio.to_thread(load, config))).findings


# The whole -----------------------------------------------------------------------------------------------


async def test_a_plant_that_is_well_passes_every_check_while_its_gateway_runs(
    tmp_path: Path, served: CountyUnderTest, mosquitto: Mosquitto
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as device:
        port = device.getsockname()[1]
        rows = (
            f"[{{id: m, profile: eastron-sdm630, address: 'modbus-tcp://127.0.0.1:{port}', unit: 1}},"
            f" {{id: e, profile: json-machine, address: '{mosquitto.address}', topic: plant/e/status}}]"
        )
        config = plant_file(tmp_path / "plant", served, devices_yaml=rows)
        data = config.parent / "plantpulse-data"
        outbox = Outbox(data / "outbox.sqlite3", "gw-1")
        outbox.commit([([DeviceRef("m")], minutes(0, 60 * (int(time.time()) // 60), 1))], b"c", time.time_ns())
        with (data / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--config", str(config), "--json"])
            text = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--config", str(config)])
        outbox.close()
    said = json.loads(done.stdout)
    verdicts = {(c["check"], c["result"]) for c in said["checks"]}
    names = {check for check, _ in verdicts}
    assert names == {
        "configuration", "user", "process", "clock", "disk.space", "disk.write", "disk.life", "outbox",
        "county.name", "county.ca", "county.tls", "county.credential", "device.port", "broker",
    }  # fmt: skip
    unwell = {v for v in verdicts if v[1] != "ok"} - {("clock", "warn")}  # whether NTP runs is the machine's affair
    assert unwell == set(), said
    assert (said["ok"], done.exit_code) == (True, 0)
    assert "✓ county.credential" in text.output
    assert "failed" in text.output.splitlines()[-1]


async def test_a_plants_file_with_mistakes_is_explained_and_the_rest_is_left(tmp_path: Path) -> None:
    config = plant_file(tmp_path / "plant", None, url="https://county.example", ca_file="no.pem")
    config.write_text(config.read_text().replace("eastron-sdm630", "eastron-sdm631"))
    seen = await examine(config)
    faults = [f for f in seen.findings if f.check == "configuration"]
    assert {f.verdict for f in faults} == {"fail"}
    assert any("eastron-sdm630" in f.en for f in faults)
    assert {f.check for f in seen.findings} == {"configuration", "clock"}
    done = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--config", str(config)])
    assert done.exit_code == 1


# Clock, disk, user, process ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "ahead_s", "verdict"),
    [
        (KernelClock(True, 0.01), 0.1, "ok"),
        (KernelClock(True, 0.01), None, "ok"),
        (KernelClock(True, 0.01), -5.0, "warn"),
        (KernelClock(True, 0.01), 60.0, "fail"),
        (KernelClock(False, 16.0), 0.1, "warn"),
        (KernelClock(False, 16.0), 60.0, "fail"),
        (None, 0.1, "ok"),
        (None, -60.0, "fail"),
    ],
)
def test_the_clock_is_judged_by_kernel_and_county(
    kernel: KernelClock | None, ahead_s: float | None, verdict: str
) -> None:
    one = machine.clock(kernel, EARLIEST_NS * 2, ahead_s)
    assert one.verdict == verdict
    assert ahead_s is None or f"{ahead_s:+.1f}" in one.en
    assert machine.clock(kernel, EARLIEST_NS - 1, ahead_s).verdict == "fail", "a clock that was never set"


def test_the_kernel_says_whether_its_clock_is_kept() -> None:
    kernel = kernel_clock()
    assert kernel is not None
    assert kernel.max_error_s >= 0


def test_a_disk_too_small_full_or_closed_is_said(tmp_path: Path) -> None:
    roomy = machine.disk_space(GatewayConfig(data_dir=tmp_path / "later", outbox_limit_mb=1, reserve_mb=0))
    assert roomy.verdict == "ok"
    small = machine.disk_space(GatewayConfig(data_dir=tmp_path, outbox_limit_mb=1_000_000, reserve_mb=0))
    assert (small.verdict, "outbox_limit_mb" in small.next_en) == ("warn", True)
    full = machine.disk_space(GatewayConfig(data_dir=tmp_path, reserve_mb=1_000_000))
    assert (full.verdict, "dropped and counted" in full.en) == ("fail", True)
    volatile = machine.disk_space(GatewayConfig(data_dir=Path("/dev/shm"), outbox_limit_mb=1, reserve_mb=0))
    assert (volatile.verdict, "power cut" in volatile.en) == ("warn", True)
    assert machine.disk_write(tmp_path / "later").verdict == "ok"
    assert not (tmp_path / "later").exists(), "nothing is made"
    assert machine.disk_write(Path("/sys/plantpulse")).verdict == "fail"
    assert list(tmp_path.iterdir()) == []


def test_another_user_than_the_gateways_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.user(tmp_path).verdict == "ok"
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert "sudo -u" in machine.user(tmp_path).next_en


def test_who_holds_the_data_folder_is_seen_without_trying(tmp_path: Path) -> None:
    assert machine.process(tmp_path).verdict == "warn"
    with (tmp_path / "lock").open("w") as lock:
        assert machine.holder(tmp_path / "lock") is None
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.holder(tmp_path / "lock") == os.getpid()
        assert machine.process(tmp_path).verdict == "ok"


# The county --------------------------------------------------------------------------------------------------


async def test_what_is_wrong_with_the_countys_certificate_is_said(tmp_path: Path, ca: PrivateCa) -> None:
    async with running_county(tmp_path, ca.server(days_to=10)) as soon:
        config = plant_file(tmp_path / "soon", soon)
        tls = found(await county_findings(config), "county.tls")
        assert (tls.verdict, tls.values["expires_in_days"]) == ("warn", 9)
        other = PrivateCa(tmp_path / "other").ca_file
        config = plant_file(tmp_path / "other-plant", soon, ca_file=str(other))
        findings = await county_findings(config)
        assert "uplink.ca_file" in found(findings, "county.tls").next_zh
        assert found(findings, "county.credential").verdict == "fail"


@pytest.mark.parametrize(
    ("hosts", "days", "words"),
    [((), (-9, -1), "expired"), ((), (1, 9), "not valid yet"), (("county.example",), (-1, 9), "host name")],
)
async def test_expired_early_and_foreign_certificates_are_told_apart(
    tmp_path: Path, ca: PrivateCa, hosts: tuple[str, ...], days: tuple[int, int], words: str
) -> None:
    with TlsPort(ca.server(*hosts, days_from=days[0], days_to=days[1])) as port:
        one = found(await county_findings(plant_file(tmp_path / "plant", None, url=port.url)), "county.tls")
    assert one.verdict == "fail"
    assert words in one.en


async def test_a_file_that_is_no_ca_is_said(tmp_path: Path, served: CountyUnderTest) -> None:
    (tmp_path / "no-ca.pem").write_text("nothing")
    config = plant_file(tmp_path / "plant", served, ca_file=str(tmp_path / "no-ca.pem"))
    assert found(await county_findings(config), "county.ca").verdict == "fail"


async def test_a_name_that_nobody_knows_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def nobody_knows(host: Any, *arguments: Any, **more: Any) -> Any:
        if "county.example" in str(host):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)
    PrivateCa(tmp_path / "ca")
    config = plant_file(tmp_path / "plant", None, url="https://county.example")
    findings = await county_findings(config)
    assert "resolv.conf" in found(findings, "county.name").next_en
    assert "county.tls" not in {f.check for f in findings}, "without an address there is no TLS to look at"


async def test_what_the_proxy_does_is_said(tmp_path: Path, served: CountyUnderTest) -> None:
    (tmp_path / "login").write_text("plant:s3cret")
    async with ConnectProxy("plant:s3cret") as proxy:
        way = {"proxy": proxy.url}
        asks = found(await county_findings(plant_file(tmp_path / "one", served, **way)), "county.proxy")
        assert (asks.verdict, "proxy_credential_file" in asks.next_en) == ("fail", True)
        way["proxy_credential_file"] = str(tmp_path / "login")
        findings = await county_findings(plant_file(tmp_path / "two", served, **way))
        for check in ("county.proxy", "county.tls", "county.credential"):
            assert found(findings, check).verdict == "ok"
        assert "county.name" not in {f.check for f in findings}, "the proxy asks the name server"
        assert "s3cret" not in json.dumps([f.as_json() for f in findings])
        proxy.status = 403
        refused = found(await county_findings(plant_file(tmp_path / "three", served, **way)), "county.proxy")
        assert "403" in refused.en
    away = found(await county_findings(plant_file(tmp_path / "four", served, **way)), "county.proxy")
    assert "proxy: none" in away.next_en


async def test_the_credential_is_tried_without_changing_anything(tmp_path: Path, served: CountyUnderTest) -> None:
    config = plant_file(tmp_path / "plant", served)
    assert found(await county_findings(config), "county.credential").values["gateway"] == "gw-1"
    assert served.county.journal.position == 0
    assert served.county.live.gateway("gw-1") is None
    credential = config.with_name("credential")
    credential.chmod(0o644)
    assert "chmod 600" in found(await county_findings(config), "county.credential").next_en
    credential.chmod(0o600)
    config.write_text(config.read_text().replace("site: gw-1", "site: gw-9"))
    assert "gw-9" in found(await county_findings(config), "county.credential").en
    revoke(served.county.engine, "gw-1", served.clock.now_ns())
    served.clock.advance(11)
    revoked = found(await county_findings(config), "county.credential")
    assert "plantpulse-county gateway code" in revoked.next_en


async def test_the_countys_clock_is_compared_with_ours(tmp_path: Path, served: CountyUnderTest) -> None:
    config = plant_file(tmp_path / "plant", served)
    served.clock.advance(3600)
    seen = await county.county(load(config))
    assert seen.ahead_s is not None
    assert 3500 < seen.ahead_s < 3700


# Devices ---------------------------------------------------------------------------------------------------


def modbus(address: str, entry_id: str = "m") -> ModbusEntry:
    return ModbusEntry(id=entry_id, profile="p", address=address, unit=1)


async def test_a_port_that_a_running_gateway_uses_is_not_connected_to_again() -> None:
    accepted: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        address = f"modbus-tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        (free,) = await devices.ports([modbus(address), modbus(address, "n")])
        assert (free.verdict, "(m, n)" in free.subject) == ("ok", True), "one look at one place"
        await until(lambda: accepted)
        before = len(accepted)
        _, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        await until(lambda: len(accepted) > before)
        (used,) = await devices.ports([modbus(address)])
        assert (used.verdict, "not connected to again" in used.en) == ("ok", True)
        assert len(accepted) == before + 1
        for end in (writer, *accepted):
            end.close()


async def test_closed_silent_and_unknown_devices_are_told_apart(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "CONNECT_S", 0.2)
    monkeypatch.setattr(devices, "_connected_now", lambda *_: False)  # the two below are not a gateway's
    with closing(socket.socket()) as silent:  # its queue of one is full: it answers nobody
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        waiting = [socket.socket() for _ in range(2)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        results = await devices.ports(
            [
                modbus(f"modbus-tcp://127.0.0.1:{free_port}"),
                modbus(f"modbus-tcp://127.0.0.1:{silent.getsockname()[1]}"),
                modbus(f"modbus-tcp://{'x' * 64}.example:502"),
            ]
        )
        for one in waiting:
            one.close()
    closed, mute, unknown = results
    assert {closed.verdict, mute.verdict, unknown.verdict} == {"fail"}
    assert "no answer" in mute.en
    assert "closed" in closed.en
    assert "IP" in unknown.next_en


def test_every_place_is_looked_at_once_with_its_protocols_port() -> None:
    entries = [
        modbus("modbus-tcp://10.0.0.1", "a"),
        modbus("modbus-tcp://10.0.0.1:502", "b"),
        MqttEntry(id="c", profile="p", address="mqtts://broker", topic="t"),
        modbus("modbus-rtu:///dev/ttyUSB0", "d"),
    ]
    assert devices.places(entries) == [
        devices.Place("10.0.0.1", 502, ("a", "b")),
        devices.Place("broker", 8883, ("c",)),
    ]


def test_serial_lines_are_there_open_and_named_to_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, line = pty.openpty()
    name = os.ttyname(line)
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-adapter-port0").symlink_to(name)
    try:
        (well,) = devices.serial_lines([modbus(f"modbus-rtu://{name}")], by_id)
        assert well.verdict == "ok"
        (lost,) = devices.serial_lines([modbus("modbus-rtu:///dev/ttyUSB97")], by_id)
        assert (lost.verdict, "usb-adapter-port0" in lost.en) == ("fail", True), "what is there is offered"
        monkeypatch.setattr(devices, "lasting_name", lambda address, folder: str(folder / "usb-adapter-port0"))
        (named,) = devices.serial_lines([modbus(f"modbus-rtu://{name}")], by_id)
        assert (named.verdict, "usb-adapter-port0" in named.next_en) == ("warn", True)
        monkeypatch.setattr(devices, "may_open", lambda *_: False)
        (closed,) = devices.serial_lines([modbus(f"modbus-rtu://{name}")], by_id)
        assert (closed.verdict, "usermod -aG" in closed.next_en) == ("fail", True)
    finally:
        os.close(main)
        os.close(line)
    (tmp_path / "file").touch()
    (none,) = devices.serial_lines([modbus(f"modbus-rtu://{tmp_path / 'file'}")], by_id)
    assert none.verdict == "fail"


@pytest.mark.parametrize(
    ("mode", "uid", "groups", "may"),
    [
        (0o660, 0, set(), True),
        (0o660, 1000, {20}, True),
        (0o660, 1000, {100}, False),
        (0o600, 1000, {20}, False),
        (0o640, 1000, {20}, False),
        (0o606, 1000, set(), True),
        (0o060, 33, {20}, False),
    ],
)
def test_rights_are_those_of_owner_group_or_others(mode: int, uid: int, groups: set[int], may: bool) -> None:
    line = os.stat_result((0o20000 | mode, 0, 0, 1, 33, 20, 0, 0, 0, 0))
    assert devices.may_open(line, uid, groups) is may


# Brokers -----------------------------------------------------------------------------------------------------


def published(broker: str, **more: Any) -> MqttEntry:
    keys = {"id": "e", "profile": "json-machine", "address": broker, "topic": "plant/e"} | more
    return MqttEntry(**keys)


async def broker_finding(entry: MqttEntry) -> Finding:
    return found(await brokers.brokers([entry], 5.0), "broker")


async def test_a_broker_of_mqtt_5_shows_its_limits(mosquitto: Mosquitto) -> None:
    one = await broker_finding(published(mosquitto.address))
    assert one.verdict == "ok"
    assert one.values["receive_maximum"] == 20, "mosquitto's default"
    assert "20" in one.zh


@pytest.mark.parametrize(
    ("line", "more", "verdict", "words"),
    [
        ("max_qos 0", {}, "warn", "QoS 0 only"),
        ("retain_available false", {}, "warn", "retains no messages"),
        (
            "retain_available false",
            {"topic": "", "group": "g", "node": "n", "host_id": "h", "profile": "sparkplug-node"},
            "fail",
            "host's state",
        ),
    ],
)
async def test_limits_that_lose_something_are_said(
    tmp_path: Path, line: str, more: dict[str, Any], verdict: str, words: str
) -> None:
    async with Mosquitto(tmp_path / "broker", config_lines=[line]) as broker:
        one = await broker_finding(published(broker.address, **more))
    assert one.verdict == verdict
    assert words in one.en
    assert "mosquitto" in one.next_zh


async def test_mqtt_3_1_1_names_the_setting_that_would_stall_it(mosquitto: Mosquitto) -> None:
    one = await broker_finding(published(mosquitto.address, mqtt_version="3.1.1"))
    assert one.verdict == "warn"
    for text in (one.next_zh, one.next_en):
        assert "max_inflight_messages 0" in text
        assert "max_queued_messages" in text
    assert "MQTT 5" in one.next_en


async def test_a_broker_that_knows_no_mqtt_5_is_recognised(mosquitto: Mosquitto) -> None:
    async with BrokerOfOldTimes(mosquitto.port) as old:
        one = await broker_finding(published(old.address))
        assert (one.verdict, 'mqtt_version: "3.1.1"' in one.next_en) == ("fail", True)
        settled = await broker_finding(published(old.address, mqtt_version="3.1.1"))
        assert settled.verdict == "warn"


async def test_a_broker_that_is_away_or_refuses_the_login_is_said(tmp_path: Path, free_port: int) -> None:
    assert (await broker_finding(published(f"mqtt://127.0.0.1:{free_port}"))).verdict == "fail"
    async with Mosquitto(tmp_path / "broker", config_lines=["allow_anonymous false"]) as broker:
        one = await broker_finding(published(broker.address))
    assert "username" in one.next_en


class BrokerOfOldTimes:
    """Mosquitto behind a port that refuses MQTT 5 as brokers of MQTT 3.1.1 do: CONNACK with return code 1."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._links: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"mqtt://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> BrokerOfOldTimes:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._links.add(asyncio.create_task(self._serve(reader, writer)))

        self._server = await asyncio.start_server(accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._links)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            head = await reader.readexactly(9)  # fixed header, length of the name, MQTT, level
            if head[8] != 4:
                writer.write(b"\x20\x02\x00\x01")
                return
            back, onward = await asyncio.open_connection("127.0.0.1", self._broker_port)
            ends.append(onward)
            onward.write(head)
            await asyncio.gather(_pipe(reader, onward), _pipe(back, writer))
        finally:
            for end in ends:
                end.close()
                with suppress(OSError):
                    await end.wait_closed()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(4096):
            sink.write(data)
        sink.write_eof()


# The outbox --------------------------------------------------------------------------------------------------


def outbox_finding(folder: Path, now_ns: int = 10**18) -> Finding:
    config = plant_file(folder, None, url="https://county.example")
    return found([stored.outbox(load(config), now_ns)], "outbox")


def test_the_outbox_is_read_beside_its_gateway_and_what_waits_is_said(tmp_path: Path, ca: PrivateCa) -> None:
    folder = tmp_path / "plant"
    assert outbox_finding(folder).verdict == "ok", "before the first start there is none"
    path = folder / "plantpulse-data" / "outbox.sqlite3"
    box = Outbox(path, "gw-1")
    try:
        now_ns = 10**18
        box.commit([([DeviceRef("m")], minutes(0, 60, 1))], b"c", now_ns)
        fresh = outbox_finding(folder, now_ns + 60 * NS)
        assert (fresh.verdict, fresh.values["unsent_batches"]) == ("ok", 1)
        old = outbox_finding(folder, now_ns + 7200 * NS)
        assert (old.verdict, old.values["oldest_unsent_s"]) == ("warn", 7200)
        pending = box.next_unsent(False)
        assert pending is not None
        box.refuse(pending.ordinal, now_ns, "poison")
        aside = outbox_finding(folder, now_ns)
        assert (aside.verdict, "bundle" in aside.next_en) == ("warn", True)
    finally:
        box.close()
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)
    assert outbox_finding(folder).verdict == "fail"
    path.unlink()
    Outbox(path, "gw-other").close()
    assert "gw-other" in outbox_finding(folder).en


# The running gateway ------------------------------------------------------------------------------------------


async def test_a_page_that_answers_stalls_or_is_silent_is_told_apart(free_port: int) -> None:
    config = PageConfig(listen=f"127.0.0.1:{free_port}")
    assert (await running.page(PageConfig(listen="off"))) == []
    (silent,) = await running.page(config)
    assert (silent.verdict, "page.listen" in silent.next_en) == ("warn", True)
    answers = [
        web.json_response({"status": "alive", "stalled": []}),
        web.json_response({"status": "stalled", "stalled": [{"subject": "gateway/ingest"}]}, status=503),
    ]

    async def health(_: web.Request) -> web.Response:
        return answers.pop(0)

    site = web.Application()
    site.router.add_get("/health", health)
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", free_port).start()
    try:
        (alive,) = await running.page(config)
        (stalled,) = await running.page(config)
    finally:
        await runner.cleanup()
    assert (alive.verdict, stalled.verdict) == ("ok", "fail")
    assert "gateway/ingest" in stalled.en
