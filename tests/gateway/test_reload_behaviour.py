"""What a person can count on who edits the plant's file while the gateway runs: real machines, real sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from collectors.model import Clock
from gateway import applied, reload, uplink, way_change
from gateway.cli import app
from gateway.config import PlantConfig, load
from gateway.links import Link
from gateway.runner import Gateway
from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.mqtt_machine import JsonMachine
from simulators.sparkplug_node import SparkplugNode
from tests.collectors.modbus.plants import KINDS, fast_profiles
from tests.collectors.modbus.plants import station as modbus_station
from tests.collectors.mqtt.plants import machine
from tests.collectors.opcua.plants import machine as opcua_machine
from tests.collectors.opcua.plants import serving
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, steady
from tests.waiting import until

UNITS = ("moulding-1", "meter-main", "meter-lathe")


class PlantFile:
    """A plant's file in the hand of the test."""

    def __init__(self, folder: Path, url: str) -> None:
        self.path = folder / "plant.yaml"
        (folder / "credential").write_text(CREDENTIAL)
        self.profiles = fast_profiles(folder / "profiles")
        self.content: dict[str, Any] = {
            "site": "g-1",
            "uplink": {"url": url, "credential_file": "credential"},
            "gateway": {
                "window_s": 10,
                "checkpoint_s": 0.2,
                "data_dir": "data",
                "profile_folders": ["profiles"],
                "page": {"listen": "127.0.0.1:0"},
            },
            "devices": [],
        }

    @property
    def devices(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.content["devices"]
        return found

    def unit(self, station: ModbusStation, name: str, **keys: Any) -> None:
        given = {"profile": KINDS[name][2], "address": station.address, "unit": UNITS.index(name) + 1}
        self.devices.append({"id": name, **given, "timeout_ms": 200, **keys})

    def topic(self, broker: Mosquitto, name: str, **keys: Any) -> None:
        given = {"profile": "json-machine", "address": broker.address, "topic": f"plant/{name}/status"}
        self.devices.append({"id": name, **given, **keys})

    def opcua(self, address: str, name: str, profile: str) -> None:
        self.devices.append({"id": name, "profile": profile, "address": address, "security": "none"})

    def node(self, broker: Mosquitto, name: str) -> None:
        given = {"profile": "sparkplug-node", "address": broker.address, "group": "plant", "node": name}
        self.devices.append({"id": name, **given})

    def device(self, name: str) -> dict[str, Any]:
        return next(d for d in self.devices if d["id"] == name)

    def save(self) -> None:
        partial = self.path.with_suffix(".part")
        partial.write_text(yaml.safe_dump(self.content), encoding="utf-8")
        os.replace(partial, self.path)


@pytest.fixture
def file(tmp_path: Path, county: CountyStub, monkeypatch: pytest.MonkeyPatch) -> PlantFile:
    monkeypatch.setattr(reload, "LOOK_S", 0.05)
    return PlantFile(tmp_path, county.url)


@pytest.fixture
async def station() -> AsyncIterator[ModbusStation]:
    served = modbus_station(UNITS, Ledger())
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


@asynccontextmanager
async def running(
    file: PlantFile, monkeypatch: pytest.MonkeyPatch, devices: set[str] | None = None
) -> AsyncIterator[Gateway]:
    file.save()
    async with gateway_of(load(file.path), monkeypatch) as (gateway, _):
        expected = devices or {d["id"] for d in file.devices}
        await until(lambda: expected <= connected(gateway))
        yield gateway


def connected(gateway: Gateway) -> set[str]:
    return {d.id for d in gateway.windows.presence(gateway.clock()) if d.connected}


def known(gateway: Gateway) -> set[str]:
    return {d.id for d in gateway.windows.presence(gateway.clock())}


def is_proven(gateway: Gateway, device: str) -> bool:
    """Whether a device was connected for some tenths of a second, which is what a record can say."""
    track = gateway.windows.accounts[device].track
    return bool(track.proven) and track.last_proof_ns - track.proven[0][0] > 300_000_000


def codes(gateway: Gateway) -> list[str]:
    return [t.code for t in gateway.troubles.listed()]


async def test_a_device_added_on_a_link_is_read_and_its_neighbours_keep_the_link(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unit(station, "moulding-1")
    async with running(file, monkeypatch) as gateway:
        before = gateway.windows.accounts["moulding-1"]
        last = before.quantity.last
        file.unit(station, "meter-main")
        file.save()
        await until(lambda: connected(gateway) == {"moulding-1", "meter-main"})
        assert station.connections == 1
        assert gateway.windows.accounts["moulding-1"] is before
        assert before.quantity.last is not None
        assert last is not None
        assert before.quantity.last >= last
        assert [loop.connects for loop in gateway.links.loops] == [1]


async def test_a_changed_device_is_read_as_the_file_says_and_announced_anew(
    file: PlantFile, county: CountyStub, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unit(station, "moulding-1")
    file.unit(station, "meter-main")
    async with running(file, monkeypatch) as gateway:
        await until(lambda: any(a.device == "meter-main" for a in county.announcements.values()))
        file.device("meter-main")["asset"] = "A-042"
        file.save()
        await until(lambda: any(a.asset == "A-042" for a in county.announcements.values()))
        file.device("meter-main").update({"unit": 3, "profile": KINDS["meter-lathe"][2]})
        file.save()
        account = gateway.windows.accounts["meter-main"]
        await until(lambda: account.device is not None and account.device.profile == KINDS["meter-lathe"][2])
        await until(lambda: "meter-main" in connected(gateway))
        assert station.connections == 1


async def test_a_profile_that_changes_in_its_folder_is_read_again(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unit(station, "moulding-1")
    file.unit(station, "meter-main")
    profile = file.profiles / f"{KINDS['meter-main'][2]}.yaml"
    async with running(file, monkeypatch) as gateway:
        text = profile.read_text(encoding="utf-8")
        profile.write_text(re.sub("liveness_s: .*", "liveness_s: 2.5", text), encoding="utf-8")
        account = gateway.windows.accounts["meter-main"]
        await until(lambda: account.device is not None and account.device.liveness_s == 2.5)
        assert gateway.reloader.reloads == 1
        assert station.connections == 1


async def test_a_removed_device_ends_with_its_last_window(
    file: PlantFile, county: CountyStub, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unit(station, "moulding-1")
    file.unit(station, "meter-main")
    async with running(file, monkeypatch) as gateway:
        await until(lambda: is_proven(gateway, "meter-main"))
        file.content["devices"] = [file.device("moulding-1")]
        file.save()
        await until(lambda: known(gateway) == {"moulding-1"})
        ended_s = gateway.windows.accounts["meter-main"].ended_ns / 1e9
        await until(lambda: "meter-main" not in gateway.windows.accounts, timeout_s=30)
        # windows before it came already; less than a tenth of a second of the last one leaves no record
        await county.until(lambda: any(d == "meter-main" and start + 10 > ended_s - 0.1 for d, start, _ in county.rows))
        last_s = max(start for device, start, _ in county.rows if device == "meter-main")
        last = county.rows["meter-main", last_s, 0]
        assert last_s <= ended_s < last_s + 10.1
        assert last["connected"] <= last["observed"] <= (ended_s - last_s) * 10 + 1
        assert county.total("meter-main", "connected") > 0
        assert station.connections == 1
        assert codes(gateway) == []


async def test_a_device_removed_while_the_gateway_was_off_gets_its_last_record_too(
    file: PlantFile, county: CountyStub, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.content["gateway"]["window_s"] = 900
    file.unit(station, "moulding-1")
    file.unit(station, "meter-main")
    async with running(file, monkeypatch) as gateway:
        await until(lambda: is_proven(gateway, "meter-main"))
    file.content["devices"] = [file.device("moulding-1")]
    file.save()
    async with gateway_of(load(file.path), monkeypatch, close_short=True) as (gateway, _):
        await until(lambda: connected(gateway) == {"moulding-1"})
        assert known(gateway) == {"moulding-1"}
    (row,) = [row for (device, _, _), row in county.rows.items() if device == "meter-main"]
    assert row["connected"] > 0


async def test_a_device_that_moves_to_another_link_keeps_its_window_and_counters(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = modbus_station(UNITS, Ledger())
    await other.start()
    try:
        file.unit(station, "moulding-1")
        file.unit(station, "meter-main")
        async with running(file, monkeypatch) as gateway:
            account = gateway.windows.accounts["meter-main"]
            file.device("meter-main")["address"] = other.address
            file.save()
            await until(lambda: other.connections == 1)
            await until(lambda: account.device is not None and account.device.address.startswith(other.address))
            assert gateway.windows.accounts["meter-main"] is account
            assert account.quantity.last is not None
            assert station.connections == 1
            file.content["devices"] = [file.device("meter-main")]
            file.save()
            await until(lambda: [loop.name for loop in gateway.links.loops] == [other.address])
            assert other.connections == 1
    finally:
        await other.stop()


async def test_a_subscription_on_a_broker_comes_and_goes_without_the_others_noticing(
    file: PlantFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        machines = [
            JsonMachine(
                machine(name, name.split("-")[0]),
                Ledger(),
                host=broker.host,
                port=broker.port,
                topic=f"plant/{name}/status",
                period_s=0.1,
            )
            for name in ("edm-1", "stamping-1")
        ]
        for one in machines:
            await one.start()
        try:
            file.topic(broker, "edm-1")
            async with running(file, monkeypatch) as gateway:
                file.topic(broker, "stamping-1")
                file.save()
                await until(lambda: connected(gateway) == {"edm-1", "stamping-1"})
                file.content["devices"] = [file.device("stamping-1")]
                file.save()
                await until(lambda: known(gateway) == {"stamping-1"})
                shed = gateway.windows.shed["topic_unknown"]
                count = gateway.intake.samples["mqtt"]
                await until(lambda: gateway.intake.samples["mqtt"] > count + 10)
                assert gateway.windows.shed["topic_unknown"] - shed <= 1, "the old topic was given up"
                assert [loop.connects for loop in gateway.links.loops] == [1]
                log = broker.log_path.read_text(encoding="utf-8", errors="replace")
                assert log.count("New client connected") == 3
        finally:
            for one in machines:
                await one.stop()


async def test_a_bad_file_leaves_the_old_configuration_running_and_is_shown_until_it_is_mended(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unit(station, "moulding-1")
    async with running(file, monkeypatch) as gateway:
        file.device("moulding-1")["profile"] = "eastron-sdm6300"
        file.save()
        await until(lambda: codes(gateway) == ["config_refused"])
        (trouble,) = gateway.troubles.listed()
        for text in (trouble.zh, trouble.en):
            assert "eastron-sdm6300" in text
            assert "devices[0].profile" in text
        assert "check --config" in trouble.next_en
        count = gateway.intake.samples["modbus"]
        await until(lambda: gateway.intake.samples["modbus"] > count)
        file.path.write_text("site: [", encoding="utf-8")
        await until(lambda: "YAML" in gateway.troubles.listed()[0].en)
        file.path.unlink()
        await until(lambda: "cannot read" in gateway.troubles.listed()[0].en)
        file.device("moulding-1")["profile"] = KINDS["moulding-1"][2]
        file.save()
        await until(lambda: codes(gateway) == [])
        assert station.connections == 1
        assert gateway.reloader.reloads == 0


async def test_what_needs_a_restart_is_said_and_the_rest_is_applied(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unit(station, "moulding-1")
    async with running(file, monkeypatch) as gateway:
        file.content["gateway"]["window_s"] = 60
        file.unit(station, "meter-main")
        file.save()
        await until(lambda: connected(gateway) == {"moulding-1", "meter-main"})
        await until(lambda: codes(gateway) == ["restart_needed"])
        assert "gateway.window_s: 10 → 60" in gateway.troubles.listed()[0].zh
        assert gateway.windows.window_s == 10
        file.content["gateway"]["window_s"] = 10
        file.save()
        await until(lambda: codes(gateway) == [])


async def test_the_digest_of_what_runs_is_that_of_the_file_once_the_file_is_in_force(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_the_file() -> str:
        said = CliRunner().invoke(app, ["check", "--config", str(file.path), "--json"])
        return str(json.loads(said.stdout)["digest"])

    file.unit(station, "meter-main")
    async with running(file, monkeypatch) as gateway:
        before = of_the_file()
        assert gateway.status.summary()["config_digest"] == before
        file.device("meter-main")["timeout_ms"] = 250
        file.save()
        assert of_the_file() != before
        await until(lambda: gateway.status.summary()["config_digest"] == of_the_file())
        file.content["gateway"]["window_s"] = 60
        file.save()
        await until(lambda: codes(gateway) == ["restart_needed"])
        assert gateway.status.summary()["config_digest"] != of_the_file()


async def test_another_way_to_the_county_is_taken_once_the_county_answers_there(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch, county: CountyStub
) -> None:
    monkeypatch.setattr(way_change, "TRIAL_S", 0.3)
    monkeypatch.setattr(way_change, "RETRY_S", 0.05)
    monkeypatch.setattr(way_change, "RETRY_LATE_S", 0.1)
    file.unit(station, "meter-main")
    async with CountyStub() as other, running(file, monkeypatch) as gateway:
        await county.until(lambda: county.rows)
        first_url = county.url
        await other.stop()
        file.content["uplink"]["url"] = other.url
        file.save()
        await until(lambda: "uplink_change_waits" in codes(gateway))
        (told,) = [t for t in gateway.troubles.listed() if t.code == "uplink_change_waits"]
        assert f"uplink.url: {first_url} → {other.url}" in told.zh
        assert "restart_needed" not in codes(gateway)
        seen = len(county.live)
        await county.until(lambda: len(county.live) > seen, 20)  # the one that works stays in use
        assert gateway.reloader.config.uplink.url == first_url
        await other.start()
        await until(lambda: not codes(gateway))
        await until(lambda: gateway.reloader.config.uplink.url == other.url)
        await gateway.keeper.close_short(gateway.clock())
        await other.until(lambda: other.rows)
        seen = len(county.live)
        told_there = len(other.live)
        await other.until(lambda: len(other.live) > told_there + 1)
        assert len(county.live) == seen
        assert not county.rows.keys() & other.rows.keys(), "nothing is sent to both"
        kept = applied.load(gateway.config.gateway.data_dir)
        assert kept is not None
        assert kept.uplink["url"] == other.url


async def test_records_go_another_way_at_once_where_the_county_had_ended_the_credential_of_the_old_one(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch, county: CountyStub
) -> None:
    monkeypatch.setattr(uplink, "DEPTH_SHOWN_S", 0.1)
    county.refusal = 403, "gateway-revoked"
    file.unit(station, "meter-main")
    async with CountyStub() as other, running(file, monkeypatch) as gateway:
        await until(lambda: "credential_revoked" in codes(gateway))  # it asks again in ten minutes
        file.content["uplink"]["url"] = other.url
        file.save()
        await other.until(lambda: other.announcements)
        await until(lambda: not codes(gateway))


async def test_a_way_to_the_county_that_is_given_up_is_no_longer_tried(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch, county: CountyStub, tmp_path: Path
) -> None:
    monkeypatch.setattr(way_change, "TRIAL_S", 0.0)
    monkeypatch.setattr(way_change, "RETRY_LATE_S", 0.05)
    file.unit(station, "meter-main")
    (tmp_path / "wrong").write_text("somebody else's")
    async with running(file, monkeypatch) as gateway:
        for key, value in (("ca_file", "absent.pem"), ("credential_file", "wrong")):
            kept = dict(file.content["uplink"])
            file.content["uplink"][key] = value
            if key == "ca_file":
                (tmp_path / value).write_text("no certificate")
            file.save()
            await until(lambda: "uplink_change_waits" in codes(gateway))
            file.content["uplink"] = kept
            file.save()
            await until(lambda: not codes(gateway))
        seen = len(county.live)
        await county.until(lambda: len(county.live) > seen)


async def test_the_running_configuration_is_kept_and_a_signal_reads_the_file_at_once(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "LOOK_S", 3600.0)
    file.unit(station, "moulding-1")
    async with running(file, monkeypatch) as gateway:
        data_dir = gateway.config.gateway.data_dir
        await until(lambda: applied.load(data_dir) is not None)
        file.unit(station, "meter-main")
        file.save()
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: connected(gateway) == {"moulding-1", "meter-main"})
        await until(lambda: len(json.loads((data_dir / "applied.json").read_text())["devices"]) == 2)
        assert CREDENTIAL not in (data_dir / "applied.json").read_text()


async def test_an_entry_that_turns_into_two_devices_leaves_no_ghost(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unit(station, "meter-main")
    async with running(file, monkeypatch) as gateway:
        file.device("meter-main")["counts"] = ["import", "export"]
        file.save()
        await until(lambda: known(gateway) == {"meter-main/import", "meter-main/export"})
        file.device("meter-main")["counts"] = ["import"]
        file.save()
        await until(lambda: known(gateway) == {"meter-main"})
        assert station.connections == 1


def check(file: PlantFile, *more: str) -> str:
    done = CliRunner().invoke(app, ["check", "--config", str(file.path), "--diff", *more])
    assert done.exit_code == 0, done.output
    return done.output


async def test_check_diff_shows_what_a_new_file_would_change_of_what_runs(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "LOOK_S", 3600.0)
    file.unit(station, "moulding-1")
    file.unit(station, "meter-main")
    file.save()
    assert "nothing to compare with" in check(file)
    async with running(file, monkeypatch) as gateway:
        await until(lambda: applied.load(gateway.config.gateway.data_dir) is not None)
        assert "the same as what the gateway runs" in check(file)
        file.device("moulding-1")["timeout_ms"] = 300
        file.content["devices"] = [file.device("moulding-1")]
        file.unit(station, "meter-lathe")
        file.content["gateway"]["window_s"] = 60
        file.save()
        said = check(file)
        for line in ("+ meter-lathe", "- meter-main", "~ moulding-1", "timeout_ms: 200 → 300"):
            assert line in said
        assert "! gateway.window_s: 10 → 60" in said
        assert json.loads(check(file, "--json"))["diff"] == {
            "added": ["meter-lathe"],
            "removed": ["meter-main"],
            "changed": {"moulding-1": {"timeout_ms": {"before": 200, "after": 300}}},
            "hot": {},
            "restart": {"gateway.window_s": {"before": 10, "after": 60}},
        }
        assert known(gateway) == {"moulding-1", "meter-main"}, "checking changes nothing"


async def test_a_machine_of_an_opc_ua_server_comes_and_goes_within_the_session_of_its_neighbour(
    file: PlantFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # machines that live faster than the gateway have a clock that is found wrong
    async with serving(opcua_machine("cnc-1"), opcua_machine("robot-1", "robot"), now_s=time.time) as server:
        file.opcua(server.address, "cell", "opcua-machinetool")
        async with running(file, monkeypatch) as gateway:
            account = gateway.windows.accounts["cell"]
            file.opcua(server.address, "robots", "opcua-robotics")
            file.save()
            await until(lambda: connected(gateway) == {"cell", "robots"})
            assert gateway.windows.accounts["cell"] is account
            file.content["devices"] = [file.device("robots")]
            file.save()
            await until(lambda: known(gateway) == {"robots"})
            await until(lambda: connected(gateway) == {"robots"})
            assert [loop.connects for loop in gateway.links.loops] == [1]
            assert codes(gateway) == []


async def test_a_sparkplug_node_comes_and_goes_without_a_rebirth_of_its_neighbour(
    file: PlantFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        where = {"host": broker.host, "port": broker.port, "period_s": 0.1}
        nodes = [SparkplugNode("plant", name, [machine(f"press-{name}")], Ledger(), **where) for name in ("one", "two")]
        for node in nodes:
            await node.start()
        try:
            file.node(broker, "one")
            async with running(file, monkeypatch, {"one/press-one"}) as gateway:
                births = nodes[0].rebirths
                file.node(broker, "two")
                file.save()
                await until(lambda: {"one/press-one", "two/press-two"} <= connected(gateway))
                assert nodes[0].rebirths == births
                births = nodes[1].rebirths
                file.content["devices"] = [file.device("two")]
                file.save()
                await until(lambda: not any(name.startswith("one") for name in known(gateway)))
                await until(lambda: "two/press-two" in connected(gateway))
                assert [loop.connects for loop in gateway.links.loops] == [1]
                assert nodes[1].rebirths == births
        finally:
            for node in nodes:
                await node.stop()


async def test_a_link_that_is_stopped_or_away_takes_a_mended_entry_at_once(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.modbus.collector.RECONNECT_S", 3600.0)
    file.unit(station, "moulding-1")
    file.unit(station, "meter-main", address="modbus-rtu:///dev/no-such-line")
    async with running(file, monkeypatch, {"moulding-1"}) as gateway:
        await until(lambda: "waiting" in [loop.state for loop in gateway.links.loops])
        file.device("meter-main")["address"] = station.address
        file.save()
        await until(lambda: connected(gateway) == {"moulding-1", "meter-main"})
        assert codes(gateway) == []
        assert station.connections == 1


async def test_a_changed_entry_of_a_link_that_is_away_is_tried_at_once(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.modbus.collector.RECONNECT_S", 3600.0)
    file.unit(station, "moulding-1")
    async with running(file, monkeypatch) as gateway:
        await station.stop()
        await until(lambda: [loop.state for loop in gateway.links.loops] == ["waiting"], timeout_s=20)
        await station.start()
        file.device("moulding-1")["asset"] = "A-1"
        file.save()
        await until(lambda: [loop.state for loop in gateway.links.loops] == ["connected"])
        assert gateway.links.loops[0].connects == 2


async def test_a_collector_that_cannot_change_is_replaced_and_its_account_goes_on(
    file: PlantFile, station: ModbusStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ScriptedCollector] = []

    def links(config: PlantConfig, clock: Clock) -> list[Link]:
        made.extend(ScriptedCollector(steady(), clock, device_id=name) for name in config.entry_ids)
        return [Link("modbus", collector) for collector in made[-len(config.entry_ids) :]]

    file.unit(station, "moulding-1")
    file.unit(station, "meter-main")
    file.save()
    async with gateway_of(load(file.path), monkeypatch, links) as (gateway, _):
        await until(lambda: connected(gateway) == {"moulding-1", "meter-main"})
        account = gateway.windows.accounts["moulding-1"]
        file.device("moulding-1")["asset"] = "A-7"
        file.save()
        await until(lambda: len(made) == 4 and made[2].read_batches)
        assert gateway.windows.accounts["moulding-1"] is account
        assert [collector.connects for collector in made] == [1, 1, 1, 0]
        batches = made[0].read_batches
        await until(lambda: made[2].read_batches > 5)
        assert made[0].read_batches == batches
