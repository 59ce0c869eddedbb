"""One look at a broker for people: which version it speaks and what it permits. Nothing is subscribed or published."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from collectors.model import Clock, LinkError
from collectors.mqtt.addresses import parse
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.connection import BrokerConnection, Settings, Version
from collectors.mqtt.limits import BrokerLimits
from collectors.mqtt.session import new_client_id

_VERSION_REFUSED: Final = "mqtt.version-refused"
_NOT_A_BROKER: Final = "mqtt.not-a-broker"
"""Brokers before MQTT 5 close the connection without a word."""


@dataclass(frozen=True, slots=True)
class Seen:
    """`version`: the one spoken. `five_refused`: MQTT 5 was asked for and not taken."""

    version: Version
    five_refused: bool
    limits: BrokerLimits


async def look(entry: MqttEntry, clock: Clock) -> Seen:
    """Connect as an entry says, or with MQTT 3.1.1 where the broker does not take 5. Raises LinkError, ConfigError."""
    settings = Settings(
        parse(entry.address),
        new_client_id(),
        entry.mqtt_version,
        entry.username,
        entry.password_file,
        entry.ca_file,
        entry.cert_file,
        entry.key_file,
        persistent=False,
    )
    try:
        return Seen(settings.version, False, await _limits(settings, clock))
    except LinkError as error:
        if settings.version != "5" or error.code not in (_VERSION_REFUSED, _NOT_A_BROKER):
            raise
        try:
            return Seen("3.1.1", True, await _limits(replace(settings, version="3.1.1"), clock))
        except LinkError:
            raise error from None


async def _limits(settings: Settings, clock: Clock) -> BrokerLimits:
    connection = BrokerConnection(settings, clock)
    try:
        await connection.open()
        return connection.limits
    finally:
        await connection.close()
