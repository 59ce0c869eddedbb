"""The broker that tests and the demo start for themselves."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from simulators import broker as broker_module
from simulators.broker import BrokerError, Mosquitto


async def test_it_listens_on_loopback_only_and_is_gone_after_stop(mosquitto: Mosquitto) -> None:
    _, writer = await asyncio.open_connection(mosquitto.host, mosquitto.port)
    writer.close()
    pid = mosquitto.pid
    os.kill(pid, 0)
    assert f"listener {mosquitto.port} 127.0.0.1" in (mosquitto.data_dir / "mosquitto.conf").read_text()
    await mosquitto.stop()
    await mosquitto.stop()
    assert mosquitto.pid == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_restart_keeps_the_port(mosquitto: Mosquitto) -> None:
    port = mosquitto.port
    await mosquitto.stop()
    await mosquitto.start()
    assert mosquitto.port == port


async def test_a_taken_port_is_an_error_with_the_brokers_own_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BrokerError, match=r"(?s)没有启动.*did not start.*Address already in use"):
            await Mosquitto(tmp_path, port=taken.getsockname()[1]).start()


async def test_a_missing_program_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(broker_module, "_FOLDERS_OFTEN_OFF_PATH", ())
    with pytest.raises(BrokerError, match=r"找不到.*apt-get install mosquitto"):
        await Mosquitto(tmp_path).start()
