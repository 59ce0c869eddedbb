"""`probe` of MQTT machines while the gateway runs: it sees them, and the running gateway notices nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gateway.clock import TimeLine
from gateway.config import load
from gateway.links import make_links
from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_machine import JsonMachine
from simulators.sparkplug_node import SparkplugNode
from tests.collectors.mqtt.plants import machine, until
from tests.contract.collector_contract import Watch
from tests.gateway.county_stub import CREDENTIAL
from tests.gateway.test_cli import invoke_beside

STATE = "spBv1.0/STATE/county-1"


async def test_probe_sees_mqtt_machines_and_disturbs_no_running_gateway(mosquitto: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "credential").write_text(CREDENTIAL)
    plant = tmp_path / "plant.yaml"
    plant.write_text(
        f"""
site: g-1
uplink: {{url: "http://127.0.0.1:9", credential_file: credential}}
devices:
  - {{id: edm-1, profile: json-machine, address: "{mosquitto.address}", topic: plant/edm-1/status}}
  - {{id: assembly, profile: sparkplug-node, address: "{mosquitto.address}", group: plant, node: assembly,
     host_id: county-1}}
"""
    )
    running = [link.collector for link in make_links(load(plant), TimeLine())]
    edm = JsonMachine(
        machine("edm-1"),
        Ledger(),
        host=mosquitto.host,
        port=mosquitto.port,
        topic="plant/edm-1/status",
        period_s=0.1,
    )
    node = SparkplugNode(
        "plant",
        "assembly",
        [machine("asm-1", "assembly")],
        Ledger(),
        host=mosquitto.host,
        port=mosquitto.port,
        period_s=0.1,
    )
    try:
        for collector in running:
            await collector.connect()
        await edm.start()
        await node.start()
        code, out, err = await invoke_beside("probe", "--config", str(plant), "--json")
        assert code == 0, out + err
        found = {result["id"]: [device["id"] for device in result["devices"]] for result in json.loads(out)}
        assert found == {"edm-1": ["edm-1"], "assembly": ["assembly/asm-1"]}
        await until(lambda: mosquitto.log_path.read_text().count("Received DISCONNECT from plantpulse-") == 2)
        for collector, device in zip(running, ("edm-1", "assembly/asm-1"), strict=True):
            await Watch(collector).until(lambda log, device=device: log.has_samples_of(device))  # type: ignore[misc]
    finally:
        for collector in running:
            await collector.close()
        await edm.stop()
        await node.stop()
    log = mosquitto.log_path.read_text()
    names = re.findall(r"New client connected from \S+ as (plantpulse-\w+) \(p5, (c\d)", log)
    assert len({name for name, _ in names}) == len(names) == 4, "nobody was pushed out"
    assert [clean for _, clean in names].count("c0") == 1, "the one kept session is the gateway's"
    said = re.findall(rf"Received PUBLISH from (plantpulse-\w+) \([^']*'{STATE}'", log)
    assert len(said) == 2, "online and offline"
    assert set(said) < {name for name, _ in names[:2]}, "by the gateway alone"
