"""Entries, addresses and factories: what cannot work is said before anything is opened."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.model import ConfigError
from collectors.mqtt.addresses import parse
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.factory import collectors_for
from collectors.mqtt.inbox import Inbox, Message
from collectors.mqtt.session import SessionMemory
from collectors.strict_yaml import FileError
from tests.collectors.mqtt.plants import json_entry, node_entry

BROKER = "mqtt://broker"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mqtt://broker", "mqtt://broker:1883"),
        ("mqtts://broker", "mqtts://broker:8883"),
        ("mqtt://10.0.0.7:1884/", "mqtt://10.0.0.7:1884"),
        ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
    ],
)
def test_addresses_have_the_usual_ports(address: str, shown: str) -> None:
    assert str(parse(address)) == shown


@pytest.mark.parametrize(
    "address", ["mqtt://", "mqtt://b:0", "mqtt://b:port", "mqtt://b/topic", "mqtt://b?x=1", "http://b", "mqtt://u:p@b"]
)
def test_what_is_no_brokers_address_is_refused_in_both_languages(address: str) -> None:
    with pytest.raises(ValidationError) as error:
        json_entry("edm-1", address)
    zh, en = error.value.errors()[0]["ctx"]["error"].args
    assert zh != en


@pytest.mark.parametrize(
    "keys",
    [
        {"topic": "plant/press+/status"},
        {"topic": "+/press+"},
        {"topic": "plant/#"},
        {"group": "g"},
        {"node": "n"},
        {"group": "g", "node": "n", "topic": "t"},
        {"group": "g/h", "node": "n"},
        {"group": "g", "node": "n+"},
        {"host_id": "h"},
        {"mqtt_version": "4"},
        {"qos": 2},
        {"reorder_s": -1},
        {"reorder_s": 61},
        {"cert_file": "c.pem"},
        {"address": "mqtts://b", "key_file": "k.pem"},
    ],
)
def test_keys_that_contradict_one_another_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MqttEntry(**{"id": "edm-1", "profile": "json-machine", "address": BROKER, **keys})


def test_one_collector_for_a_brokers_devices_and_one_for_its_nodes(tmp_path: Path) -> None:
    entries = [
        json_entry("edm-1", "mqtt://one"),
        json_entry("edm-2", "mqtt://one:1883"),
        json_entry("edm-3", "mqtt://two"),
        node_entry("mqtt://one"),
        node_entry("mqtt://one", id="second", node="other"),
    ]
    links = [c.link for c in collectors_for(entries, time.time_ns, [], tmp_path)]
    assert links == ["mqtt://one:1883", "mqtt://two:1883", "mqtt://one:1883/spBv1.0"]
    assert not list(tmp_path.iterdir()), "nothing is written before the link is opened"


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([json_entry("a", BROKER), json_entry("b", BROKER, username="x")], "mqtt.broker-ambiguous"),
        ([json_entry("a", BROKER), json_entry("b", BROKER, mqtt_version="3.1.1")], "mqtt.broker-ambiguous"),
        ([json_entry("a", BROKER, password_file="/no/such/file")], "mqtt.file-missing"),
        ([json_entry("a", "mqtts://broker", ca_file="/no/such/file")], "mqtt.file-missing"),
        ([node_entry(BROKER), node_entry(BROKER, id="again")], "mqtt.node-twice"),
        ([node_entry(BROKER, host_id="a"), node_entry(BROKER, id="x", node="y", host_id="b")], "mqtt.host-id"),
        ([MqttEntry(id="a", profile="sparkplug-node", address=BROKER)], "mqtt.sparkplug-keys"),
        (
            [MqttEntry(id="a", profile="json-machine", address=BROKER, group="g", node="n")],
            "mqtt.profile-protocol",
        ),
    ],
)
def test_entries_that_cannot_work_together_name_themselves(entries: list[MqttEntry], code: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        collectors_for(entries, time.time_ns, [], tmp_path)
    assert error.value.code == code
    assert entries[0].id in error.value.en or code == "mqtt.host-id"
    assert error.value.next_zh
    assert error.value.next_en


def test_a_profile_that_does_not_exist_is_a_file_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such profile"):
        collectors_for([MqttEntry(id="a", profile="nobody", address=BROKER)], time.time_ns, [], tmp_path)


def test_our_identity_survives_a_restart_and_a_spoilt_file(tmp_path: Path) -> None:
    first = SessionMemory.load(tmp_path, "mqtt://b:1883")
    first.store(["a", "b"])
    again = SessionMemory.load(tmp_path, "mqtt://b:1883")
    assert (again.client_id, again.topics) == (first.client_id, ["a", "b"])
    assert SessionMemory.load(tmp_path, "mqtt://other:1883").client_id != first.client_id
    for spoilt in (b"", b"{", b"[]", b'{"client_id": 5, "topics": []}', b"\xff"):
        first.path.write_bytes(spoilt)
        assert SessionMemory.load(tmp_path, "mqtt://b:1883").client_id != first.client_id


def test_a_state_folder_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    memory = SessionMemory.load(tmp_path / "file", "mqtt://b:1883")
    with pytest.raises(ConfigError) as error:
        memory.store(["a"])
    assert error.value.code == "mqtt.state-folder"


def test_the_identity_file_holds_no_secret(tmp_path: Path) -> None:
    memory = SessionMemory.load(tmp_path, "mqtt://b:1883")
    memory.store(["a"])
    assert set(json.loads(memory.path.read_text())) == {"client_id", "topics", "dropped"}


def test_a_full_inbox_sheds_the_oldest_counts_it_and_still_owes_its_acknowledgement() -> None:
    inbox = Inbox(limit=3)
    for number in range(5):
        inbox.put(Message("t", b"%d" % number, number, False, False, False, mid=number + 10 if number != 1 else 0))
    assert [m.payload for m in inbox.take(10)] == [b"2", b"3", b"4"]
    assert inbox.shed == 2
    assert inbox.shed_mids == [10]


def test_an_inbox_holds_a_limited_number_of_bytes_but_always_the_newest_message() -> None:
    inbox = Inbox(limit=100, limit_bytes=10)
    for number, size in enumerate((4, 4, 4, 30, 2)):
        inbox.put(Message("t", bytes(size), number, False, False, False, mid=0))
        assert len(inbox) >= 1
    assert [m.received_ns for m in inbox.take(1)] == [4]
    assert inbox.shed == 4
    inbox.put(Message("t", bytes(10), 5, False, False, False, mid=0))
    assert inbox.shed == 4, "what was taken makes room"
