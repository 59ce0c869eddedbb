"""What edge nodes of other makers published, recorded once from a broker, is read as they meant it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from collectors.model import FOREVER_S, Quality
from collectors.mqtt.factory import sparkplug_profile
from collectors.mqtt.sparkplug_host import EdgeNode, Outcome
from tests.collectors.mqtt.plants import node_entry

RECORDED = Path(__file__).parent / "recorded"
START_NS = 1_795_756_000 * 10**9
STATE, ENERGY, POWER, PARTS = range(4)


def replay(name: str) -> list[tuple[str, Outcome]]:
    """(kind, what it brought) of each message, 100 ms apart."""
    entry = node_entry("mqtt://broker:1883", reorder_s=0.0)
    node = EdgeNode(entry, sparkplug_profile(entry, []))
    node.start(START_NS)
    brought = []
    for number, said in enumerate(json.loads((RECORDED / name).read_text(encoding="utf-8"))["messages"]):
        _, _, kind, _, *device = said["topic"].split("/")
        out = Outcome()
        at_ns = START_NS + number * 10**8
        node.take(kind, device[0] if device else "", bytes.fromhex(said["payload"]), at_ns, out)
        brought.append((kind, out))
    gone = Outcome()
    node.tick(START_NS + 60 * 10**9, gone)
    return [*brought, ("", gone)]


def test_pysparkplug_from_birth_to_death() -> None:
    brought = replay("pysparkplug-0.6.1.json")
    assert [kind for kind, _ in brought] == ["NBIRTH", "DBIRTH", *["DDATA"] * 4, "DDEATH", "NDEATH", ""]
    birth = brought[1][1]
    [device] = birth.devices
    assert (device.id, device.identity.serial) == ("assembly/asm-1", "SN-1")
    assert birth.proofs[device.id].lasts_s == FOREVER_S
    columns = [out.rows[device.id].samples() for kind, out in brought if kind in ("DBIRTH", "DDATA")]
    read = [dict(zip(rows.tag.tolist(), rows.value.tolist(), strict=True)) for rows in columns]
    assert read[:4] == [
        {STATE: 1.0, ENERGY: 6020.5, POWER: 2.25, PARTS: 9320.0},
        {STATE: 1.0, ENERGY: 6021.0, POWER: 2.5, PARTS: 9321.0},
        {STATE: 2.0, ENERGY: 6022.0, POWER: -0.5, PARTS: 9322.0},
        {STATE: 1.0, ENERGY: 6023.0, POWER: 2.5, PARTS: 9323.0},
    ]
    assert list(read[4]) == [PARTS]
    assert columns[4].quality.tolist() == [Quality.BAD], "null"
    times_ns = np.concatenate([rows.source_ns for rows in columns[1:]])
    assert (np.diff(times_ns) >= 0).all()
    assert times_ns[0] > 0
    assert brought[6][1].proofs[device.id].lasts_s == 0.0
    assert brought[7][1].shed == {"death_of_later_session": 1}, "it numbers its goodbye one too high"
    assert not any(out.shed for _, out in brought[:7])


def test_a_device_of_mqtt_spb_wrapper_without_its_edge_node_is_not_believed() -> None:
    brought = replay("mqtt-spb-wrapper-2.1.2.json")
    assert [kind for kind, _ in brought] == ["DBIRTH", "DDATA", "DDATA", "DDEATH", ""]
    assert [out.shed for _, out in brought[:3]] == [{"awaiting_rebirth": 1}] * 3
    assert not any(out.devices or out.proofs or out.rows for _, out in brought)
