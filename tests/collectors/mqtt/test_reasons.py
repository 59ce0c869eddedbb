"""Why a broker ends a connection: every reason that MQTT has is told, none without Chinese."""

from __future__ import annotations

import re

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from collectors.mqtt.reasons import _OF_NAME, reason_of


def test_the_reasons_in_words_are_reasons_of_the_protocol() -> None:
    known = {name for names in ReasonCode(PacketTypes.DISCONNECT).names.values() for name in names}
    assert set(_OF_NAME) <= known, "a mistyped one would never be found"


def test_a_reason_is_told_in_both_languages_and_a_rare_one_by_its_name() -> None:
    for name in _OF_NAME:
        kind = PacketTypes.DISCONNECT if name in _names(PacketTypes.DISCONNECT) else PacketTypes.CONNACK
        zh, en = reason_of(ReasonCode(kind, name))
        assert re.search(r"[\u4e00-\u9fff]", zh)
        assert not re.search(r"[\u4e00-\u9fff]", en)
    assert reason_of(ReasonCode(PacketTypes.DISCONNECT, "Server moved")).zh == "MQTT：Server moved"


def _names(kind: int) -> set[str]:
    names = ReasonCode(PacketTypes.DISCONNECT).names.values()
    return {name for one in names for name, kinds in one.items() if kind in kinds}
