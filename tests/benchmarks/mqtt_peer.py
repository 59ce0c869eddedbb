"""A machine that publishes as fast as the broker takes it, for measuring those who read.

Runs as a process of its own (`python -m tests.benchmarks.mqtt_peer HOST PORT`), so that its CPU is not
counted: for every line `TOPIC COUNT` on stdin it publishes that many documents at QoS 1. Ends with stdin.
"""

from __future__ import annotations

import sys

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion

IN_FLIGHT = 500
DOCUMENT_BYTES = 200
FIRST_MS = 1_795_460_000_000


def document(number: int) -> bytes:
    """What a machine says, 200 bytes of JSON; the parts count the messages."""
    text = (
        b'{"ts":%d,"machine":{"id":"edm-1","model":"M-1","serial":"SN-0001","state":"RUN","quality":"good"},'
        b'"energy":{"total_kwh":%d.125,"power_kw":12.5},"production":{"parts":%d}'
        % (FIRST_MS + number, 6_000_000 + number, number)
    )
    return text + b" " * (DOCUMENT_BYTES - len(text) - 1) + b"}"


def main() -> None:
    """Serve stdin."""
    host, port = sys.argv[1], int(sys.argv[2])
    client = Client(CallbackAPIVersion.VERSION2, client_id="peer")
    client.max_inflight_messages_set(IN_FLIGHT)
    client.connect(host, port)
    client.loop_start()
    for line in sys.stdin:
        topic, count = line.split()
        sent: MQTTMessageInfo | None = None
        for number in range(int(count)):
            sent = client.publish(topic, document(number), qos=1)
        if sent is not None:
            sent.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
