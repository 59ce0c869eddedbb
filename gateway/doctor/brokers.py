"""Checks of MQTT brokers: which version they speak, and the limits that would stall a gateway or lose messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from collectors.entries import DeviceEntry, protocol_of
from collectors.model import CollectorError
from gateway.clock import TimeLine
from gateway.doctor.findings import Finding, Verdict

if TYPE_CHECKING:
    from collectors.mqtt.config import MqttEntry

CHECK: Final = "broker"
_MOSQUITTO_INFLIGHT: Final = 20
_ACKNOWLEDGED_WITHIN_S: Final = 1.0
"""By MQTT 3.1.1, however long the time between checkpoints (see `collectors.model.Batch.ack_within_s`)."""


async def brokers(entries: Iterable[DeviceEntry], checkpoint_s: float) -> list[Finding]:
    """One finding for each broker and login. Connects with a name of its own: a running gateway's session stands."""
    found: dict[tuple[Any, ...], list[MqttEntry]] = {}
    for entry in entries:
        if protocol_of(entry.address) == "mqtt":
            mqtt = cast("MqttEntry", entry)
            key = mqtt.address, mqtt.username, mqtt.password_file, mqtt.ca_file, mqtt.cert_file, mqtt.mqtt_version
            found.setdefault(key, []).append(mqtt)
    return [await _broker(of_one, checkpoint_s) for of_one in found.values()]


async def _broker(entries: list[MqttEntry], checkpoint_s: float) -> Finding:
    from collectors.mqtt.limits_tool import look

    first = entries[0]
    subject = f"{first.address} ({', '.join(entry.id for entry in entries)})"
    try:
        seen = await look(first, TimeLine())
    except CollectorError as error:
        return Finding(CHECK, "fail", error.zh, error.en, error.next_zh, error.next_en, subject)
    limits = seen.limits
    if seen.version != "5":
        return _three(first, seen.five_refused, checkpoint_s, subject)
    values = {
        "version": "5",
        "receive_maximum": limits.receive_maximum,
        "maximum_qos": limits.maximum_qos,
        "retain_available": limits.retain_available,
        "wildcards_available": limits.wildcards_available,
        "maximum_packet_bytes": limits.maximum_packet_bytes,
    }
    host_ids = [entry.id for entry in entries if entry.host_id is not None]
    if host_ids and not limits.retain_available:
        return Finding(
            CHECK,
            "fail",
            f"代理不保留消息，Sparkplug 主机状态（{', '.join(host_ids)}）发不出去，节点会一直等主机。",
            f"the broker retains no messages: the Sparkplug host's state ({', '.join(host_ids)}) cannot be published, "
            "nodes would wait for their host for ever.",
            "请在代理中允许保留消息（mosquitto：retain_available true）。",
            "Permit retained messages at the broker (mosquitto: retain_available true).",
            subject,
            values,
        )
    wild = [entry.id for entry in entries if "+" in entry.topic or entry.is_sparkplug]
    if wild and not limits.wildcards_available:
        return Finding(
            CHECK,
            "fail",
            f"代理不允许通配订阅，而 {', '.join(wild)} 需要。",
            f"the broker permits no wildcard subscriptions, which {', '.join(wild)} need.",
            "请在代理中允许，或为每台设备写一个条目和完整主题。",
            "Permit them at the broker, or write one entry with a whole topic for each device.",
            subject,
            values,
        )
    if limits.maximum_qos < 1:
        return Finding(
            CHECK,
            "warn",
            "代理只支持 QoS 0：网关离线或重启期间的消息会丢失。",
            "the broker permits QoS 0 only: messages that come while the gateway is away are lost.",
            "请在代理中允许 QoS 1（mosquitto：max_qos 1 或 2）。",
            "Permit QoS 1 at the broker (mosquitto: max_qos 1 or 2).",
            subject,
            values,
        )
    if not limits.retain_available:
        return Finding(
            CHECK,
            "warn",
            "代理不保留消息：网关重启后，设备状态要等下一条消息才知道。",
            "the broker retains no messages: after a restart a device's state is unknown until its next message.",
            "请在代理中允许保留消息（mosquitto：retain_available true）。",
            "Permit retained messages at the broker (mosquitto: retain_available true).",
            subject,
            values,
        )
    zh = f"MQTT 5，最大 QoS {limits.maximum_qos}，可保留消息，Receive Maximum {limits.receive_maximum}。"
    en = f"MQTT 5, QoS up to {limits.maximum_qos}, messages retained, Receive Maximum {limits.receive_maximum}."
    return Finding(CHECK, "ok", zh, en, subject=subject, values=values)


def _three(entry: MqttEntry, five_refused: bool, checkpoint_s: float, subject: str) -> Finding:
    """MQTT 3.1.1 cannot say how many messages may be under way; we acknowledge within a second."""
    within_s = min(checkpoint_s, _ACKNOWLEDGED_WITHIN_S)
    reason_zh = "代理只支持 MQTT 3.1.1" if five_refused else "条目写了 mqtt_version: 3.1.1"
    reason_en = "the broker speaks MQTT 3.1.1 only" if five_refused else "the entry says mqtt_version: 3.1.1"
    version_zh = '条目中写 mqtt_version: "3.1.1"；' if five_refused and entry.mqtt_version == "5" else ""
    version_en = 'Set mqtt_version: "3.1.1" in the entry; ' if five_refused and entry.mqtt_version == "5" else ""
    five_zh = "" if five_refused else "或改用 MQTT 5（删去 mqtt_version）。"
    five_en = "" if five_refused else " Or use MQTT 5 (remove mqtt_version)."
    verdict: Verdict = "fail" if version_zh else "warn"
    return Finding(
        CHECK,
        verdict,
        f"{reason_zh}，看不到它的在途上限。mosquitto 默认 max_inflight_messages {_MOSQUITTO_INFLIGHT}：网关落盘后才确认"
        f"（最多 {within_s:g} 秒），期间超过 {_MOSQUITTO_INFLIGHT} 条就要等，代理排队满了就丢。",
        f"{reason_en}, which does not tell its in-flight limit. mosquitto's default is max_inflight_messages "
        f"{_MOSQUITTO_INFLIGHT}: the gateway acknowledges what is on disk, within {within_s:g} s; more than that in "
        "between wait, and a full queue at the broker drops.",
        f"{version_zh}在 mosquitto.conf 设 max_inflight_messages 0 和 max_queued_messages 100000，然后重启代理。"
        f"{five_zh}",
        f"{version_en}set max_inflight_messages 0 and max_queued_messages 100000 in mosquitto.conf and restart the "
        f"broker.{five_en}",
        subject,
        {"version": "3.1.1", "five_refused": five_refused},
    )
