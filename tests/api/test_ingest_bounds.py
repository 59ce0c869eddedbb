"""What no engine can keep is refused for what it is, on both of them, and fails nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.wire import Announce, Announcement, DevicePresence, Gap, IngestJson, Live
from tests.api.county_fixtures import NOW_S, CountyUnderTest, Gateway, minutes, running_county
from tests.api.postgres import new_database, postgres_server

NS = 1_000_000_000


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def county(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CountyUnderTest]:
    """A county whose register and journal are of one engine."""
    more: dict[str, Any] = {}
    if request.param == "postgresql":
        more = {"register_url": new_database(request.getfixturevalue("postgres")), "journal": "postgresql"}
    async with running_county(tmp_path / "county", **more) as running:
        yield running


async def post_json(gateway: Gateway, route: str, message: dict[str, Any]) -> int:
    """A message as JSON, which can say larger numbers than MessagePack. Returns the status."""
    headers = gateway.headers | {"content-type": "application/json"}
    answer = await gateway.client.post(f"/api/v1/{route}", content=json.dumps(message), headers=headers)
    assert answer.status_code == 200 or answer.json()["code"] == "bad-message", answer.text
    return answer.status_code


GAPS = {
    "device with NUL": Gap(["a\x00b"], 1, 2, 3, "expired"),
    "device of two lines": Gap(["a\nb"], 1, 2, 3, "expired"),
    "device without a name": Gap([""], 1, 2, 3, "expired"),
    "endless device": Gap(["a" * 201], 1, 2, 3, "expired"),
    "reason with NUL": Gap(["a"], 1, 2, 3, "x\x00"),
    "endless reason": Gap(["a"], 1, 2, 3, "x" * 1001),
    "more rows than a column counts": Gap(["a"], 1, 2, 1 << 31, "expired"),
}


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
async def test_a_gap_that_cannot_be_kept_is_refused_and_fails_nobody_beside_it(
    county: CountyUnderTest, gap: Gap
) -> None:
    one, other = county.gateway(), county.gateway("gw-2")
    bad = one.batch(["a"], minutes(0, NOW_S - 600, 1), gaps=[gap])
    good = other.batch(["a"], minutes(0, NOW_S - 600, 1))
    refused, taken = await asyncio.gather(one.post("ingest", bad), other.post("ingest", good))
    assert (refused.status_code, refused.json()["code"]) == (400, "bad-message")
    assert (taken.status_code, county.county.journal.position) == (200, 1)


SAID = {
    "number": 1,
    "at_ns": NOW_S * NS,
    "device": "a",
    "address": "modbus-tcp://h:502",
    "profile": "p",
    "device_class": "machine",
    "evidence": "native",
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": 1 << 63},
        {"number": -1},
        {"at_ns": 1 << 63},
        {"at_ns": 1 << 70},
        {"device": "cnc\x001"},
        {"device": "d" * 201},
        {"device": ""},
    ],
    ids=str,
)
async def test_an_announcement_that_cannot_be_kept_is_refused(county: CountyUnderTest, wrong: dict[str, Any]) -> None:
    gateway = county.gateway()
    message = {"gateway": "gw-1", "epoch": 7, "announcements": [SAID | wrong]}
    assert await post_json(gateway, "announce", message) == 400
    assert await post_json(gateway, "announce", message | {"announcements": [SAID]}) == 200


async def test_the_largest_numbers_and_the_longest_texts_are_kept(county: CountyUnderTest) -> None:
    gateway = county.gateway(epoch=(1 << 64) - 1)
    said = Announcement((1 << 62) - 1, (1 << 63) - 1, "设" * 200, "\x00", "p", "machine", "native", model="M" * 5000)
    answer = await gateway.post("announce", Announce("gw-1", gateway.epoch, [said]))
    assert answer.status_code == 200, answer.text
    assert county.county.announcements.latest("gw-1", "设" * 200) == said
    gateway.sequence = (1 << 62) - 2
    gap = Gap(["设" * 200], 0, (1 << 62) - 1, (1 << 31) - 1, "x" * 1000, batch=((1 << 64) - 1, 5))
    assert (await gateway.send(["a"], minutes(0, NOW_S - 600, 1), gaps=[gap])).result == "journalled"


@pytest.mark.parametrize("epoch", [-1, 1 << 64, 1 << 70])
async def test_an_epoch_of_more_than_64_bits_is_refused_and_the_journal_goes_on(
    county: CountyUnderTest, epoch: int
) -> None:
    gateway = county.gateway()
    columns = {name: [int(v) for v in values] for name, values in minutes(0, NOW_S - 120, 2).columns().items()}
    good = json.loads(msgspec.json.encode(IngestJson("gw-1", 3, 1, ["a"], columns)))
    gap = {"devices": ["a"], "start_s": 1, "end_s": 2, "rows": 1, "reason": "lost", "batch": [epoch, 1]}
    assert await post_json(gateway, "announce", {"gateway": "gw-1", "epoch": epoch, "announcements": [SAID]}) == 400
    for wrong in ({"epoch": epoch}, {"previous": [epoch, 1]}, {"gaps": [gap]}):
        assert await post_json(gateway, "ingest", good | wrong) == 400
    assert await post_json(gateway, "ingest", good) == 200


@pytest.mark.parametrize("wrong", [{"sent_ns": 1 << 63}, {"sent_ns": 1 << 70}, {"shed": {"late": 1 << 70}}], ids=str)
async def test_presence_of_a_time_that_nobody_can_tell_is_refused(
    county: CountyUnderTest, wrong: dict[str, Any]
) -> None:
    gateway = county.gateway()
    good = json.loads(msgspec.json.encode(Live("gw-1", NOW_S * NS, [DevicePresence("a", True, "running", 1, 1)])))
    device = good["devices"][0]
    assert await post_json(gateway, "live", good | wrong) == 400
    assert await post_json(gateway, "live", good | {"devices": [device | {"last_proof_ns": 1 << 70}]}) == 400
    assert county.county.live.gateways() == {}
    assert await post_json(gateway, "live", good) == 200
