"""What an MQTT 5 broker permits, as it says in its answer to our connecting (MQTT 5.0, 3.2.2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from paho.mqtt.properties import Properties


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """Defaults are those of the standard for a broker that says nothing."""

    receive_maximum: int = 65_535
    """Messages of ours that may be under way unacknowledged. How many of the broker's may be, we say."""
    maximum_qos: int = 2
    retain_available: bool = True
    wildcards_available: bool = True
    maximum_packet_bytes: int | None = None
    """None: no limit but the protocol's."""


def limits_in(properties: Properties | None) -> BrokerLimits:
    """Read the properties of a CONNACK; None for MQTT 3.1.1, which has none."""
    if properties is None:
        return BrokerLimits()
    said = {name: getattr(properties, name) for name in _NAMES if hasattr(properties, name)}
    return BrokerLimits(
        receive_maximum=said.get("ReceiveMaximum", 65_535),
        maximum_qos=said.get("MaximumQoS", 2),
        retain_available=bool(said.get("RetainAvailable", 1)),
        wildcards_available=bool(said.get("WildcardSubscriptionAvailable", 1)),
        maximum_packet_bytes=said.get("MaximumPacketSize"),
    )


_NAMES = ("ReceiveMaximum", "MaximumQoS", "RetainAvailable", "WildcardSubscriptionAvailable", "MaximumPacketSize")
