"""`enroll` and `rotate` against the real county over real TLS, directly and through a proxy; revoked; replaced."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.enrolment import make_code, revoke
from collectors.strict_yaml import FileError
from gateway.cli import app
from gateway.config import PlantConfig, UplinkConfig, load, load_data_dir
from gateway.enrolment.hardware import hardware_name
from gateway.enrolment.plant_file import entries_of, uplink_of, write_starter
from gateway.outbox import Outbox, OutboxThread
from gateway.secret_file import secret_file
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.wire import DevicePresence, DeviceRef, KnownDevice
from tests.api.county_fixtures import NOW_S, CountyUnderTest, HandClock, minutes, served_county
from tests.connect_proxy import ConnectProxy
from tests.gateway.county_stub import CountyStub
from tests.gateway.test_uplink import rig_for, running, until
from tests.private_ca import PrivateCa, ServerTls, TlsPort


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def tls(tmp_path: Path) -> ServerTls:
    return PrivateCa(tmp_path / "ca").server()


@pytest.fixture
async def county(tmp_path: Path, tls: ServerTls) -> AsyncIterator[CountyUnderTest]:
    async with served_county(tmp_path / "county", HandClock(NOW_S + 9), tls) as served:
        yield served


def address(county: CountyUnderTest) -> str:
    return str(county.client.base_url).rstrip("/")


def code_for(county: CountyUnderTest) -> str:
    return make_code(county.county.engine, "gw-1", county.clock.now_ns())


async def command(*arguments: object) -> Result:
    """A command of the gateway, beside the loop that serves the county."""
    return await asyncio.to_thread(CliRunner().invoke, app, [str(a) for a in arguments])


def problem(result: Result) -> dict[str, Any]:
    assert result.exit_code == 1, result.output
    (found,) = json.loads(result.stdout)["problems"]
    return dict(found)


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_file())


class Sending:
    """An outbox with an uplink for a plant's file."""

    def __init__(self, config: Path, folder: Path) -> None:
        site, uplink, _ = uplink_of(config)
        self.thread = OutboxThread(Outbox(folder / "outbox.sqlite3", site))
        self.troubles = Troubles()
        presence = [DevicePresence("m-1", True, "running", 1, 2)]
        self.uplink = Uplink(
            uplink,
            site,
            self.thread,
            lambda: NOW_S * 1_000_000_000,
            self.troubles,
            presence=lambda: presence,
            shed=dict,
            presence_s=0.5,
        )

    async def commit(self, *starts: int) -> None:
        for start in starts:
            records = minutes(0, start, 1, quantity=5)
            await self.thread.call(self.thread.outbox.commit, [([DeviceRef("m-1")], records)], b"c", 1)
        self.uplink.wake()

    async def nothing_waits(self) -> bool:
        return (await self.thread.call(self.thread.outbox.depth)).unsent == 0

    def codes(self) -> set[str]:
        return {t.code for t in self.troubles.listed()}


@asynccontextmanager
async def sending(config: Path, folder: Path) -> AsyncIterator[Sending]:
    it = Sending(config, folder)
    await it.uplink.open()
    try:
        async with running(it.uplink.run_ingest()), running(it.uplink.run_live()):
            yield it
    finally:
        await it.uplink.close()
        it.thread.stop()


# Enrolling ---------------------------------------------------------------------------------------------


async def test_a_code_becomes_a_credential_and_a_starter_and_records_flow(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path
) -> None:
    config = tmp_path / "plant" / "plant.yaml"
    call = ["enroll", address(county), code_for(county), "--config", config, "--ca-file", tls.ca_file]
    done = await command(*call)
    assert done.exit_code == 0, done.output
    credential = config.with_name("credential")
    assert stat.S_IMODE(credential.stat().st_mode) == 0o600
    assert credential.read_text("utf-8").strip() not in done.output
    assert "plantpulse-gateway check" in done.output
    assert files_in(config.parent) == ["credential", "plant.yaml"], "nothing is left behind"
    with pytest.raises(FileError, match="devices"):
        load(config)  # a starter has no device yet, and says so
    entry = "  - {id: m, profile: eastron-sdm630, address: 'modbus-tcp://127.0.0.1:9', unit: 1}\n"
    config.write_text(config.read_text("utf-8") + entry, "utf-8")
    plant: PlantConfig = load(config)
    assert (plant.site, plant.uplink.ca_file) == ("gw-1", tls.ca_file)
    async with sending(config, tmp_path) as it:
        await it.commit(NOW_S - 60)
        await until(it.nothing_waits)
        assert it.codes() == set()
    assert county.county.journal.position == 1


async def test_an_untrusted_county_gets_no_code(county: CountyUnderTest, tls: ServerTls, tmp_path: Path) -> None:
    code, config = code_for(county), tmp_path / "plant.yaml"
    told = problem(await command("enroll", address(county), code, "--config", config, "--json"))
    assert told["code"] == "certificate_not_trusted"
    assert "ca_file" in told["next_zh"]
    assert not config.exists()
    assert not config.with_name("credential").exists()
    other = PrivateCa(tmp_path / "other").ca_file
    told = problem(await command("enroll", address(county), code, "--config", config, "--json", "--ca-file", other))
    assert told["code"] == "certificate_not_trusted"
    done = await command("enroll", address(county), code, "--config", config, "--ca-file", tls.ca_file)
    assert done.exit_code == 0, "the code was not spent"


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        ({"days_from": -9, "days_to": -1}, "certificate_expired"),
        ({"days_from": 1, "days_to": 9}, "certificate_not_yet_valid"),
        ({"hosts": ("county.example",)}, "certificate_of_another_host"),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_said(tmp_path: Path, certificate: dict[str, Any], code: str) -> None:
    ca = PrivateCa(tmp_path / "ca")
    tls = ca.server(*certificate.pop("hosts", ()), **certificate)
    with TlsPort(tls) as port:
        call = ["enroll", port.url, "A", "--config", tmp_path / "plant.yaml", "--ca-file", ca.ca_file, "--json"]
        told = problem(await command(*call))
    assert told["code"] == code
    assert told["next_zh"]
    assert told["next_en"]


async def test_a_refused_code_leaves_the_credential_that_was_there(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path
) -> None:
    config = tmp_path / "plant.yaml"
    config.with_name("credential").write_text("the one before\n")
    call = ["enroll", address(county), "AAAA-BBBB-CCCC-DDDD", "--config", config, "--ca-file", tls.ca_file]
    told = problem(await command(*call, "--json"))
    assert told["code"] == "code-unknown"
    assert config.with_name("credential").read_text() == "the one before\n"
    assert files_in(tmp_path) == ["credential"]


async def test_a_code_is_not_spent_where_the_credential_cannot_be_written(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path
) -> None:
    code, config = code_for(county), tmp_path / "plant.yaml"
    (tmp_path / "file").write_text("")
    call = ["enroll", address(county), code, "--config", config, "--ca-file", tls.ca_file]
    assert (await command(*call, "--credential-file", tmp_path / "file" / "credential")).exit_code == 1
    assert (await command(*call)).exit_code == 0


async def test_a_plants_file_is_never_touched_and_its_uplink_is_used(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path
) -> None:
    config = tmp_path / "plant.yaml"
    text = (
        f"site: other-name\nuplink: {{url: '{address(county)}', credential_file: keys/secret, ca_file: ca/ca.pem}}\n"
        "devices: []\n"
    )
    config.write_text(text)
    done = await command("enroll", address(county), code_for(county), "--config", config, "--json")
    said = json.loads(done.stdout)
    assert (said["gateway"], said["site_differs"], said["config_written"]) == ("gw-1", True, False)
    assert not said["url_differs"]
    assert config.read_text() == text
    config.write_text(text.replace("127.0.0.1", "localhost"))
    again = await command("enroll", address(county), code_for(county), "--config", config)
    assert "uplink.url is https://localhost" in again.output
    assert (tmp_path / "keys" / "secret").read_text().startswith("ppg_")


async def test_somebody_else_at_the_address_is_noticed(tmp_path: Path) -> None:
    async with CountyStub() as stub:
        told = problem(await command("enroll", stub.url, "A", "--config", tmp_path / "plant.yaml", "--json"))
    assert told["code"] == "answer_not_understood"


async def test_http_to_another_machine_needs_to_be_permitted(tmp_path: Path) -> None:
    refused = await command("enroll", "http://county.example", "A", "--config", tmp_path / "plant.yaml")
    assert refused.exit_code == 2
    assert "plain_http" in refused.output


@pytest.mark.parametrize(
    ("keys", "fits"),
    [
        ({"url": "http://127.0.0.1:8600"}, True),
        ({"url": "http://localhost:8600"}, True),
        ({"url": "http://[::1]:8600"}, True),
        ({"url": "http://10.1.2.3:8600"}, False),
        ({"url": "http://10.1.2.3:8600", "plain_http": True}, True),
        ({"url": "http://127.0.0.1.county.example"}, False),
        ({"url": f"https://{'x' * 64}.example"}, False),
        ({"url": "https://county.example:0"}, False),
        ({"url": "https://county.example", "proxy": "http://10.0.0.1:3128"}, True),
        ({"url": "https://county.example", "proxy": "none"}, True),
        ({"url": "https://county.example", "proxy": "http://user:secret@10.0.0.1:3128"}, False),
        ({"url": "https://county.example", "proxy": "socks5://10.0.0.1:1080"}, False),
        ({"url": "https://county.example", "proxy": "none", "proxy_credential_file": Path("x")}, False),
    ],
)
def test_what_an_uplink_may_be(keys: dict[str, Any], fits: bool) -> None:
    try:
        UplinkConfig(credential_file=Path("c"), **keys)
    except ValueError:
        assert not fits
    else:
        assert fits


# The proxy ---------------------------------------------------------------------------------------------


async def test_everything_goes_through_the_proxy_with_the_login_of_its_file(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path
) -> None:
    config, login = tmp_path / "plant.yaml", tmp_path / "proxy-login"
    login.write_text("plant:s3cret/word\n")
    async with ConnectProxy("plant:s3cret/word") as proxy:
        call = ["enroll", address(county), code_for(county), "--config", config, "--ca-file", tls.ca_file]
        call += ["--proxy", proxy.url]
        told = problem(await command(*call, "--json"))
        assert told["code"] == "proxy_login_refused"
        assert "proxy_credential_file" in told["next_zh"]
        done = await command(*call, "--proxy-credential-file", login)
        assert done.exit_code == 0, done.output
        assert set(proxy.asked) == {f"CONNECT 127.0.0.1:{county.client.base_url.port}"}
        proxy.asked.clear()
        async with sending(config, tmp_path) as it:
            await it.commit(NOW_S - 60)
            await until(it.nothing_waits)
            assert set(proxy.asked) == {f"CONNECT 127.0.0.1:{county.client.base_url.port}"}
            proxy.status = 403
            await it.uplink.close()  # the tunnels that stand go on; new ones are refused
            await it.uplink.open()
            await it.commit(NOW_S)
            await until(lambda: "proxy_refused" in it.codes())
    assert "s3cret" not in config.read_text()


async def test_the_environment_names_the_proxy_and_whom_it_is_not_for(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectProxy("plant:p@ss") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://plant:p%40ss@127.0.0.1:{proxy.port}")

        async def enrolled(name: str, *more: str) -> Result:
            call = ["enroll", address(county), code_for(county), "--config", tmp_path / name / "plant.yaml"]
            return await command(*call, "--ca-file", tls.ca_file, *more)

        assert (await enrolled("one")).exit_code == 0
        assert proxy.asked
        proxy.asked.clear()
        assert (await enrolled("two", "--proxy", "none")).exit_code == 0
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert (await enrolled("three")).exit_code == 0
        assert proxy.asked == []
    monkeypatch.delenv("NO_PROXY")
    told = problem(await enrolled("four", "--json"))
    assert told["code"] == "proxy_unreachable"
    monkeypatch.setenv("HTTPS_PROXY", "socks5://plant:p%40ss@127.0.0.1:1")
    unusable = problem(await enrolled("five", "--json"))
    assert unusable["code"] == "proxy_unusable"
    assert "p%40ss" not in json.dumps(unusable)


async def test_http_goes_through_a_configured_proxy_as_well(tmp_path: Path) -> None:
    async with served_county(tmp_path / "county") as county, ConnectProxy("u:p") as proxy:
        login = tmp_path / "login"
        login.write_text("u:p")
        call = ["enroll", address(county), code_for(county), "--config", tmp_path / "plant.yaml"]
        done = await command(*call, "--proxy", proxy.url, "--proxy-credential-file", login)
        assert done.exit_code == 0, done.output
        assert [line.split("/api")[0] for line in proxy.asked] == [f"POST {address(county)}", f"GET {address(county)}"]


# Changing, ending, taking over ---------------------------------------------------------------------------


async def enrolled_plant(county: CountyUnderTest, tls: ServerTls, folder: Path, *more: object) -> Path:
    config = folder / "plant.yaml"
    call = ["enroll", address(county), code_for(county), "--config", config, "--ca-file", tls.ca_file, *more]
    done = await command(*call)
    assert done.exit_code == 0, done.output
    return config


async def test_a_running_gateway_goes_on_with_the_credential_that_rotate_brought(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path
) -> None:
    config = await enrolled_plant(county, tls, tmp_path)
    old = config.with_name("credential").read_text().strip()
    async with sending(config, tmp_path) as it:
        await it.commit(NOW_S - 120)
        await until(it.nothing_waits)
        county.clock.advance(1)
        done = await command("rotate", "--config", config)
        assert done.exit_code == 0, done.output
        new = config.with_name("credential").read_text().strip()
        assert new != old
        assert stat.S_IMODE(config.with_name("credential").stat().st_mode) == 0o600
        await it.commit(NOW_S - 60)
        await until(it.nothing_waits)
        assert it.codes() == set()
    answer = await county.client.get("/api/v1/enroll", headers={"authorization": f"Bearer {old}"})
    assert answer.json()["code"] == "gateway-revoked"


async def test_a_revoked_gateway_keeps_recording_says_so_and_resumes_after_enrolling_without_a_restart(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path
) -> None:
    config = await enrolled_plant(county, tls, tmp_path)
    async with sending(config, tmp_path) as it:
        await it.commit(NOW_S - 180)
        await until(it.nothing_waits)
        revoke(county.county.engine, "gw-1", county.clock.now_ns())
        county.clock.advance(11)
        await it.commit(NOW_S - 120, NOW_S - 60)
        await until(lambda: "credential_revoked" in it.codes())
        (told,) = [t for t in it.troubles.listed() if t.code == "credential_revoked"]
        assert "plantpulse-gateway enroll" in told.next_zh
        assert (await it.thread.call(it.thread.outbox.depth)).unsent == 2
        await enrolled_plant(county, tls, tmp_path)
        await until(it.nothing_waits)
        assert it.codes() == set()
    assert county.county.journal.position == 3


async def test_a_revoked_gateway_sends_nothing_more(plant: Any, tmp_path: Path) -> None:
    async with CountyStub() as stub, rig_for(plant(stub.url, presence_s=0.3), tmp_path) as rig:
        stub.refusal = (401, "gateway-revoked")
        async with running(rig.uplink.run_ingest()), running(rig.uplink.run_live()):
            await rig.commit(60)
            await until(lambda: "credential_revoked" in rig.codes())
            await stub.until(lambda: stub.requests["ingest"] and stub.requests["live"])
            before = dict(stub.requests)
            rig.uplink.presence_changed()
            with pytest.raises(TimeoutError):
                await stub.until(lambda: dict(stub.requests) != before, timeout_s=1.5)
        assert await rig.unsent() == 1


async def test_replaced_hardware_delivers_what_came_before_and_says_what_became_of_it(
    county: CountyUnderTest, tls: ServerTls, tmp_path: Path
) -> None:
    old = await enrolled_plant(county, tls, tmp_path / "old", "--hardware", "old box")
    async with sending(old, tmp_path / "old") as it:
        await it.commit(NOW_S - 60)
        await until(it.nothing_waits)
    new = tmp_path / "new" / "plant.yaml"
    write_starter(new, "gw-1", uplink_of(old)[1].model_copy(update={"credential_file": new.parent / "credential"}), [])
    new.write_text(new.read_text() + "gateway: {window_s: 10}\n")
    refused = await command("enroll", address(county), code_for(county), "--config", new, "--hardware", "new box")
    assert refused.exit_code == 1
    assert "--replace" in refused.output
    call = ["enroll", address(county), code_for(county), "--config", new, "--hardware", "new box", "--replace"]
    done = await command(*call, "--json")
    assert json.loads(done.stdout)["hand_over_s"] == NOW_S + 10, "the next whole window of 10 s"
    county.clock.advance(60)
    async with sending(old, tmp_path / "old") as it:
        await it.commit(NOW_S, NOW_S + 60)
        await until(it.nothing_waits)
        await until(lambda: "gateway_replaced" in it.codes())
        assert it.uplink.refused_rows == 1
        assert it.uplink.sent_rows == 1
        (told,) = [t for t in it.troubles.listed() if t.code == "gateway_replaced"]
        assert "2026" in told.en
    async with sending(new, tmp_path / "new") as it:
        await it.commit(NOW_S + 60)
        await until(it.nothing_waits)
        assert it.codes() == set()
    assert county.county.live.gateway("gw-1") is not None


# What is written ----------------------------------------------------------------------------------------


def test_a_replaced_gateways_devices_come_back_as_entries() -> None:
    said = [
        KnownDevice("cell/robot-2", "opc.tcp://10.0.4.21:4840", "opcua-robotics"),
        KnownDevice("cell/robot-1", "opc.tcp://10.0.4.21:4840", "opcua-robotics"),
        KnownDevice("meter", "modbus-tcp://10.0.4.7:502?unit=11", "eastron-sdm630", "M-1"),
        KnownDevice("main/import", "modbus-rtu:///dev/ttyUSB0?baudrate=9600&unit=3", "eastron-sdm72-v2"),
        KnownDevice("main/export", "modbus-rtu:///dev/ttyUSB0?baudrate=9600&unit=3", "eastron-sdm72-v2"),
        KnownDevice("edm/e1", "mqtt://10.0.4.9:1883/plant/e1/status", "json-machine"),
        KnownDevice("asm/press", "mqtt://10.0.4.9:1883/spBv1.0/demo/node-1/press", "sparkplug-node"),
    ]
    assert entries_of(said) == [
        {"id": "cell", "profile": "opcua-robotics", "address": "opc.tcp://10.0.4.21:4840"},
        {
            "id": "meter",
            "profile": "eastron-sdm630",
            "address": "modbus-tcp://10.0.4.7:502",
            "unit": 11,
            "asset": "M-1",
        },
        {
            "id": "main",
            "profile": "eastron-sdm72-v2",
            "address": "modbus-rtu:///dev/ttyUSB0?baudrate=9600",
            "unit": 3,
            "counts": ["import", "export"],
        },
        {"id": "edm", "profile": "json-machine", "address": "mqtt://10.0.4.9:1883", "topic": "plant/+/status"},
        {
            "id": "asm",
            "profile": "sparkplug-node",
            "address": "mqtt://10.0.4.9:1883",
            "group": "demo",
            "node": "node-1",
        },
    ]


def test_a_starter_with_devices_passes_the_check(tmp_path: Path) -> None:
    (tmp_path / "credential").write_text("x")
    uplink = UplinkConfig(url="https://county.example", credential_file=tmp_path / "credential")
    devices = [
        KnownDevice("meter", "modbus-tcp://10.0.4.7:502?unit=11", "eastron-sdm630", "M-1"),
        KnownDevice("edm", "mqtt://10.0.4.9:1883/plant/e1/status", "json-machine"),
    ]
    assert write_starter(tmp_path / "plant.yaml", "厂-1", uplink, devices)
    assert not write_starter(tmp_path / "plant.yaml", "other", uplink, [])
    plant = load(tmp_path / "plant.yaml")
    assert (plant.site, plant.entry_ids) == ("厂-1", ["meter", "edm"])


def test_the_starters_examples_count_once_they_are_uncommented(tmp_path: Path) -> None:
    (tmp_path / "credential").write_text("x")
    uplink = UplinkConfig(url="https://county.example", credential_file=tmp_path / "credential")
    config = tmp_path / "plant.yaml"
    assert write_starter(config, "gw-1", uplink, [])
    starter = config.read_text("utf-8")
    with pytest.raises(FileError, match="no device yet"):
        load(config)
    assert load_data_dir(config).is_absolute(), "tools work with a file that has no devices yet"
    examples = [line for line in starter.splitlines() if re.match(r"#\s*- ", line)]
    assert len(examples) == 3
    ids = [line.partition("id: ")[2].partition(",")[0] for line in examples]
    for mark in ("#", "# "):  # by hand, and as an editor does it
        for chosen in (examples, *([one] for one in examples)):
            text = starter
            for line in chosen:
                text = text.replace(line, line.removeprefix(mark))
            config.write_text(text, "utf-8")
            assert sorted(load(config).entry_ids) == sorted(
                i for i, e in zip(ids, examples, strict=True) if e in chosen
            )


def test_a_secret_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "credential"
    path.write_text("old")
    path.chmod(0o644)
    os.umask(os.umask(0o000))
    with secret_file(path) as write:
        assert path.read_text() == "old"
        write("new\n")
        assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(RuntimeError), secret_file(path):
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["credential"]


def test_hardware_is_told_apart_by_its_serial_number_which_stays_here(tmp_path: Path) -> None:
    def name(**files: str) -> str:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for path, text in files.items():
            at = root / path.replace("__", "/").replace("_", "-")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(text)
        return hardware_name(root)

    one = name(etc__machine_id="0a0a0a0a\n")
    two = name(etc__machine_id="0b0b0b0b\n")
    pi = name(
        sys__firmware__devicetree__base__serial_number="10000000abc\x00",
        sys__firmware__devicetree__base__model="Raspberry Pi 4 Model B\x00",
        etc__machine_id="0a0a0a0a\n",
    )
    assert len({one, two, pi}) == 3
    assert "Raspberry Pi 4 Model B" in pi
    assert "10000000abc" not in pi
    assert "0a0a0a0a" not in one
