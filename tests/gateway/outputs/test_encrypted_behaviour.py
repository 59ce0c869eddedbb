"""Samples on their way to the plant's own servers over TLS: verified, with our certificate where one is asked for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.config import PlantConfig
from gateway.outputs.config import Output
from gateway.runner import Gateway
from simulators.broker import Mosquitto
from tests.gateway.county_stub import CountyStub
from tests.gateway.outputs.plants import (
    codes,
    has_next_step,
    influx_output,
    is_accounted_for,
    mqtt_output,
    one_machine,
    sending,
    told,
)
from tests.gateway.running import gateway_of
from tests.private_ca import PrivateCa, ServerTls
from tests.servers_influx import Influx1
from tests.waiting import until

Make = Callable[..., PlantConfig]


@pytest.fixture
def ca(tmp_path: Path) -> PrivateCa:
    return PrivateCa(tmp_path / "ca")


@pytest.fixture
def tls(ca: PrivateCa) -> ServerTls:
    return ca.server()


@asynccontextmanager
async def encrypted_broker(tmp_path: Path, port: int, tls: ServerTls, *more: str) -> AsyncIterator[Mosquitto]:
    """A broker with an encrypted listener at a port, besides its plain one."""
    files = (f"cafile {tls.ca_file}", f"certfile {tls.cert_file}", f"keyfile {tls.key_file}")
    lines = (f"listener {port} 127.0.0.1", *files, *more)
    async with Mosquitto(tmp_path / "broker", config_lines=lines) as broker:
        yield broker


@asynccontextmanager
async def encrypted(host: str, tls: ServerTls) -> AsyncIterator[str]:
    """The https address of a server that speaks http at `host`: what stands before it in a plant."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    name, _, port = host.partition(":")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(name, int(port))
        await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def sending_to(
    output: Output, county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Gateway, Any]]:
    async with gateway_of(sending(plant(county.url), output), monkeypatch, one_machine()) as (gateway, _):
        assert gateway.outputs is not None
        (sender,) = gateway.outputs.senders
        yield gateway, sender
    assert is_accounted_for(gateway)


async def test_a_broker_that_asks_for_our_certificate_gets_it_and_every_sample(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: ServerTls, free_port: int
) -> None:
    keys = {"ca_file": tls.ca_file, "cert_file": tls.cert_file, "key_file": tls.key_file}
    async with encrypted_broker(tmp_path, free_port, tls, "require_certificate true"):
        output = mqtt_output(f"mqtts://127.0.0.1:{free_port}", **keys)
        async with sending_to(output, county, plant, monkeypatch) as (gateway, sender):
            await until(lambda: sender.sent_rows >= 200)
            assert codes(gateway) == set()
        assert sender.dropped.total() == 0


async def test_a_broker_that_misses_our_certificate_is_told(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: ServerTls, free_port: int
) -> None:
    async with encrypted_broker(tmp_path, free_port, tls, "require_certificate true"):
        output = mqtt_output(f"mqtts://127.0.0.1:{free_port}", ca_file=tls.ca_file)
        async with sending_to(output, county, plant, monkeypatch) as (gateway, sender):
            await until(lambda: told(gateway, "output_tls_failed"))
            trouble = told(gateway, "output_tls_failed")
            assert has_next_step(trouble)
            assert "cert_file" in trouble.next_en
            assert sender.sent_rows == 0


async def test_a_broker_whose_certificate_nobody_vouches_for_gets_nothing(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: ServerTls, free_port: int
) -> None:
    stranger = PrivateCa(tmp_path / "stranger", "another CA")
    async with encrypted_broker(tmp_path, free_port, tls):
        output = mqtt_output(f"mqtts://127.0.0.1:{free_port}", ca_file=stranger.ca_file)
        async with sending_to(output, county, plant, monkeypatch) as (gateway, sender):
            await until(lambda: told(gateway, "output_tls_failed"))
            assert has_next_step(told(gateway, "output_tls_failed"))
            assert sender.sent_rows == 0


async def test_an_influxdb_behind_a_private_ca_gets_every_sample(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, server: Influx1, bucket: str, tls: ServerTls
) -> None:
    async with encrypted(server.host, tls) as url:
        output = influx_output(url, bucket=bucket, token_file=server.token_file, ca_file=tls.ca_file)
        async with sending_to(output, county, plant, monkeypatch) as (gateway, sender):
            await until(lambda: sender.sent_rows >= 200)
            assert codes(gateway) == set()
    (series,) = server.query(bucket, "SELECT count(quality) FROM plantpulse")
    assert series["values"][0][1] == sender.sent_rows == sender.taken_rows


@pytest.mark.parametrize("why", ["nobody vouches for it", "it is another's", "it has expired"])
async def test_an_influxdb_whose_certificate_is_not_right_gets_neither_samples_nor_token(
    county: CountyStub,
    plant: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    server: Influx1,
    bucket: str,
    ca: PrivateCa,
    why: str,
) -> None:
    shown = {
        "nobody vouches for it": ca.server(),
        "it is another's": ca.server("historian.example"),
        "it has expired": ca.server(days_from=-10, days_to=-1),
    }[why]
    vouched = PrivateCa(tmp_path / "stranger", "another CA") if why == "nobody vouches for it" else ca
    async with encrypted(server.host, shown) as url:
        output = influx_output(url, bucket=bucket, token_file=server.token_file, ca_file=vouched.ca_file)
        async with sending_to(output, county, plant, monkeypatch) as (gateway, sender):
            await until(lambda: told(gateway, "output_tls_failed"))
            assert has_next_step(told(gateway, "output_tls_failed"))
            assert sender.sent_rows == 0
    assert server.query(bucket, "SELECT count(quality) FROM plantpulse") == []
