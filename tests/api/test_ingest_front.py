"""Batches are answered in front of the framework: in pieces, broken off, and when the service itself fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import Message, Scope

from api.applier import Applier
from gateway.wire import encode
from tests.api.county_fixtures import NOW_S, CountyUnderTest, Gateway, minutes, served_county
from tests.waiting import until


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(body), 50):
        yield body[first : first + 50]


def asked(gateway: Gateway) -> Scope:
    headers = [(name.encode(), value.encode()) for name, value in gateway.headers.items()]
    return {"type": "http", "path": "/api/v1/ingest", "method": "POST", "headers": headers}


async def test_a_batch_without_a_declared_length_is_taken_in_pieces(tmp_path: Path) -> None:
    async with served_county(tmp_path) as county:
        gateway = county.gateway()
        body = encode(gateway.batch(["cnc-1"], minutes(0, NOW_S - 600, 10)))
        answer = await county.client.post("/api/v1/ingest", content=in_pieces(body), headers=gateway.headers)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 10)
        assert answer.headers["cache-control"] == "no-store"


async def test_a_sender_that_goes_away_in_the_middle_is_no_failure_and_nothing_is_kept(
    county: CountyUnderTest,
) -> None:
    gateway = county.gateway()
    body = encode(gateway.batch(["cnc-1"], minutes(0, NOW_S - 600, 10)))
    coming: list[Message] = [
        {"type": "http.request", "body": body[:80], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await county.app(asked(gateway), receive, send)
    assert (coming, sent) == ([], [])
    assert county.county.ingest.counts.bodies_by_reason() == {}
    assert county.county.journal.position == 0


async def test_a_failure_of_the_service_is_told_as_one_and_reaches_the_log(
    county: CountyUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = county.gateway()
    monkeypatch.setattr(county.county.ingest.epochs, "delivered", None)
    with pytest.raises(TypeError):  # the server writes it into its log
        await gateway.send(["cnc-1"], minutes(0, NOW_S - 600, 10))
    county.client._transport.raise_app_exceptions = False  # type: ignore[attr-defined] # as a server does it
    answer = await gateway.post("ingest", gateway.batch(["cnc-1"], minutes(0, NOW_S - 600, 10)))
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (500, "failed", "TypeError")


async def test_answers_wait_while_the_store_is_far_behind_and_never_for_long(
    county: CountyUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = county.gateway()
    monkeypatch.setattr(Applier, "behind", True)
    sending = asyncio.create_task(gateway.send(["cnc-1"], minutes(0, NOW_S - 600, 10)))
    await until(lambda: county.county.journal.position >= 1, every_s=0.001)
    assert not sending.done(), "it is journalled, and its answer waits"
    assert (await sending).result == "journalled"
