"""Troubles told once when they begin and once when they end, in both languages."""

from __future__ import annotations

from typing import Final

from collectors.model import Trouble

_WORDS: Final = {
    "mqtt.topic-refused": (
        "服务器拒绝订阅 {}。",
        "the broker refused the subscription to {}.",
        "请在服务器的访问控制中允许该用户读取这些主题。",
        "Permit this user to read these topics in the broker's access control.",
    ),
    "mqtt.payload-broken": (
        "收到看不懂的消息：{}",
        "a message that cannot be read: {}",
        "请检查主题和设备的输出格式。",
        "Check the topic and the device's output format.",
    ),
    "mqtt.payload-without-values": (
        "消息里没有型号文件所列的任何值：{}",
        "a message without any value that the profile lists: {}",
        "请核对型号文件中的路径。",
        "Check the paths in the profile.",
    ),
    "mqtt.state-unknown": (
        "型号文件不认识状态 {}。",
        "the profile does not know the state {}.",
        "请在型号文件的 states 中加上它。",
        "Add it to `states` in the profile.",
    ),
    "mqtt.time-unreadable": (
        "时间戳不可用：{}；改用接收时间。",
        "an unusable time stamp: {}; the time of reception is used.",
        "请检查设备时钟和型号文件的 time_format（文本时间须带时区）。",
        "Check the device's clock and the profile's time_format (text times need a zone).",
    ),
    "mqtt.rebirth-unanswered": (
        "边缘节点 {} 没有应答重生请求。",
        "the edge node {} does not answer rebirth requests.",
        "请检查 group 和 node，节点是否在线，以及服务器是否允许本用户发布到 NCMD 主题。",
        "Check group and node, whether the node is online, and that the broker lets us publish to its NCMD topic.",
    ),
    "mqtt.in-flight-limit": (
        "{} 条消息未确认；MQTT 3.1.1 服务器到在途上限就不再发送，读数会迟到。",
        "{} messages are unacknowledged; at its in-flight limit an MQTT 3.1.1 broker waits, and readings come late.",
        '请用 mqtt_version: "5"；或在服务器上加大 max_inflight_messages（mosquitto 默认 20）。',
        'Use mqtt_version: "5", or raise the broker\'s max_inflight_messages (mosquitto: 20).',
    ),
    "mqtt.broker-dropped": (
        "服务器丢弃了 {} 条消息（也可能是别的客户端的）。",
        "the broker dropped {} messages (other clients' may be among them).",
        "请在服务器上加大 max_queued_messages（mosquitto 默认 1000），够存网关最长离线时间的消息。",
        "Raise the broker's max_queued_messages (mosquitto: 1,000) to the messages of our longest absence.",
    ),
    "mqtt.name-twice": (
        "两个主题给出同一个设备名 {}，后一个未采集。",
        "two topics give the same device name {}; the second is not read.",
        "请为它们写单独的条目。",
        "Give them entries of their own.",
    ),
    "mqtt.too-many-devices": (
        "一个条目最多 {} 台设备，其余未采集。",
        "an entry has at most {} devices; the others are not read.",
        "请把它们分到几个边缘节点。",
        "Spread them over several edge nodes.",
    ),
}
"""By code: what is wrong and what to do next, in Chinese and English; {} is the particular."""


class Notices:
    """What stands between beginning and end, by subject and code."""

    def __init__(self) -> None:
        self._standing: dict[tuple[str, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self._standing)

    def note(self, subject: str, code: str, particular: str) -> list[Trouble]:
        """What to tell now: a trouble that begins (`particular` says what), or, where it is blank, its end."""
        key = (subject, code)
        if particular:
            if key in self._standing:
                return []
            self._standing[key] = particular
            return [_trouble(subject, code, particular)]
        if key not in self._standing:
            return []
        del self._standing[key]
        # One code "" clears everything of the subject: what still holds is told again.
        return [
            Trouble(subject, ""),
            *(_trouble(s, c, kept) for (s, c), kept in self._standing.items() if s == subject),
        ]


def _trouble(subject: str, code: str, particular: str) -> Trouble:
    zh, en, next_zh, next_en = _WORDS[code]
    return Trouble(subject, code, zh.format(particular), en.format(particular), next_zh, next_en)
