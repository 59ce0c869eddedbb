"""Enrolment: one-time codes, credentials that change and end, hardware that takes another one's place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from api.attempts import Attempts
from api.credentials import Credentials, digest_of, issue
from api.enrolment import make_code, revoke, rotate
from api.register import database
from api.register.audit import first_broken
from api.register.database import migrate, open_register, writing
from api.register.models import Audit
from gateway.wire import (
    Announce,
    Announcement,
    DevicePresence,
    Enroll,
    Enrolled,
    KnownDevice,
    Live,
    Standing,
    encode,
)
from tests.api.county_fixtures import NOW_S, CountyUnderTest, Gateway, HandClock, minutes, running_county

NS = 1_000_000_000
OLD, NEW = "old box", "new box"


def code_for(county: CountyUnderTest, gateway: str = "gw-1", **more: Any) -> str:
    return make_code(county.county.engine, gateway, county.clock.now_ns(), **more)


async def try_code(county: CountyUnderTest, code: str, **more: Any) -> httpx.Response:
    return await county.client.post(
        "/api/v1/enroll", content=encode(Enroll(code, **more)), headers={"content-type": "application/msgpack"}
    )


async def enrolled(county: CountyUnderTest, gateway: str = "gw-1", **more: Any) -> Enrolled:
    answer = await try_code(county, code_for(county, gateway), **more)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Enrolled)


def sender(county: CountyUnderTest, got: Enrolled, epoch: int = 1) -> Gateway:
    return Gateway(got.gateway, got.credential, county.client, epoch)


async def standing(county: CountyUnderTest, credential: str) -> httpx.Response:
    return await county.client.get("/api/v1/enroll", headers={"authorization": f"Bearer {credential}"})


async def rotated(county: CountyUnderTest, credential: str) -> httpx.Response:
    return await county.client.post("/api/v1/enroll/rotate", headers={"authorization": f"Bearer {credential}"})


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def audited(county: CountyUnderTest) -> list[tuple[str, str]]:
    with county.county.engine.connect() as connection:
        assert first_broken(connection) is None
        return [(action, subject) for action, subject in connection.execute(select(Audit.action, Audit.subject))]


async def shown(county: CountyUnderTest, gateway: str = "gw-1") -> dict[str, Any]:
    items = (await county.get("/gateways"))["items"]
    found: dict[str, Any] = next(g for g in items if g["id"] == gateway)
    return found


async def test_a_code_is_worth_one_credential_and_no_second(county: CountyUnderTest) -> None:
    code = code_for(county)
    first = await try_code(county, code, hardware=OLD)
    got = msgspec.json.decode(first.content, type=Enrolled)
    assert (got.gateway, got.hand_over_s, got.devices) == ("gw-1", 0, [])
    assert (await sender(county, got).send(["a"], minutes(0, NOW_S - 60, 1))).accepted == 1
    assert refusal(await try_code(county, code, hardware=OLD)) == (403, "code-used")
    assert ("gateway.code", "gw-1") in audited(county)
    assert ("gateway.enroll", "gw-1") in audited(county)


async def test_a_code_that_two_send_at_once_enrols_one(county: CountyUnderTest) -> None:
    code = code_for(county)
    answers = await asyncio.gather(*(try_code(county, code) for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [200, 403, 403, 403, 403]


async def test_a_code_is_read_as_people_write_it(county: CountyUnderTest) -> None:
    code = code_for(county)
    written = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert (await try_code(county, written)).status_code == 200


async def test_a_code_ends_with_its_time_or_with_a_newer_one(county: CountyUnderTest) -> None:
    early = code_for(county)
    late = code_for(county, hours=2)
    assert refusal(await try_code(county, early)) == (403, "code-used")
    county.clock.advance(2 * 3600)
    assert refusal(await try_code(county, late)) == (403, "code-expired")
    assert refusal(await try_code(county, "AAAA-BBBB-CCCC-DDDD")) == (403, "code-unknown")


async def test_neither_code_nor_credential_stands_in_any_file_of_the_county(
    county: CountyUnderTest, tmp_path: Path
) -> None:
    code = code_for(county)
    got = msgspec.json.decode((await try_code(county, code)).content, type=Enrolled)
    await sender(county, got).send(["a"], minutes(0, NOW_S - 60, 1))
    kept = await asyncio.to_thread(lambda: b"".join(p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()))
    assert b"gateway.enroll" in kept, "the register was looked through"
    for secret in (code, code.replace("-", ""), got.credential):
        assert secret.encode() not in kept


async def test_guessing_is_stopped_after_ten_attempts_for_a_quarter_of_an_hour(county: CountyUnderTest) -> None:
    code = code_for(county)
    for _ in range(10):
        assert refusal(await try_code(county, "AAAA-BBBB-CCCC-DDDD")) == (403, "code-unknown")
    locked = await try_code(county, code)
    assert refusal(locked) == (429, "too-many-attempts")
    assert 0 < int(locked.headers["retry-after"]) <= 901
    assert audited(county).count(("gateway.code-guessing", "127.0.0.1")) == 1
    county.clock.advance(901)
    assert (await try_code(county, code)).status_code == 200


def test_the_addresses_of_one_ipv6_subscriber_count_as_one_and_memory_is_bounded() -> None:
    attempts = Attempts(HandClock(), most=2, addresses=3)
    attempts.failed("2001:db8:1:2::1")
    attempts.failed("2001:db8:1:2:ffff::9")
    assert attempts.wait_s("2001:db8:1:2::5") > 0
    assert attempts.wait_s("2001:db8:1:3::1") == 0
    for n in range(3):
        attempts.failed(f"10.0.0.{n}")
    assert attempts.wait_s("2001:db8:1:2::5") == 0, "the one that failed longest ago is forgotten"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"code":"A","window_s":7}', b'{"code":"A","hardware":"\\u0000"}'])
async def test_an_enrolment_that_is_no_message_is_refused(county: CountyUnderTest, body: bytes) -> None:
    answer = await county.client.post("/api/v1/enroll", content=body, headers={"content-type": "application/json"})
    assert refusal(answer) == (400, "bad-message")
    huge = await county.client.post("/api/v1/enroll", content=b"x" * 5000)
    assert refusal(huge) == (413, "too-large")


async def test_the_old_credential_is_good_until_the_new_one_was_used(county: CountyUnderTest) -> None:
    old = (await enrolled(county, hardware=OLD)).credential
    assert (await standing(county, old)).status_code == 200
    county.clock.advance(1)
    lost = msgspec.json.decode((await rotated(county, old)).content, type=Enrolled).credential
    new = msgspec.json.decode((await rotated(county, old)).content, type=Enrolled).credential
    assert refusal(await standing(county, lost)) == (401, "gateway-revoked"), "an answer that was lost leaves nothing"
    assert (await standing(county, old)).status_code == 200
    answer = msgspec.json.decode((await standing(county, new)).content, type=Standing)
    assert (answer.gateway, answer.issued_ns) == ("gw-1", county.clock.now_ns())
    assert refusal(await standing(county, old)) == (401, "gateway-revoked")
    assert refusal(await rotated(county, old)) == (401, "gateway-revoked")
    await asyncio.to_thread(county.county.credentials.close)
    assert ("gateway.credential-used", "gw-1") in audited(county), "and a restarted service knows it as well"


async def test_a_credential_whose_first_use_is_not_written_yet_stays_good_until_the_new_one_is_used(
    county: CountyUnderTest,
) -> None:
    engine, now_ns = county.county.engine, county.clock.now_ns()
    credentials = Credentials(engine, county.clock)
    old = issue(engine, "gw-1", now_ns)
    credentials.read()
    (asking,) = credentials.of("gw-1")
    lost = rotate(engine, asking, now_ns + 1)
    new = rotate(engine, asking, now_ns + 2)
    credentials.read()
    grants = {g.digest: g.revoked for g in credentials.of("gw-1")}
    assert [grants[digest_of(c)] for c in (old, lost, new)] == [False, True, False]
    credentials.close()


async def test_who_uses_which_credential_outlives_the_service(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path, clock) as county:
        old = (await enrolled(county)).credential
        assert (await standing(county, old)).status_code == 200
        clock.advance(1)
        new = msgspec.json.decode((await rotated(county, old)).content, type=Enrolled).credential
        assert (await standing(county, new)).status_code == 200
    async with running_county(tmp_path, clock) as county:
        assert refusal(await standing(county, old)) == (401, "gateway-revoked")
        assert (await standing(county, new)).status_code == 200


async def test_a_revoked_gateway_hears_so_within_ten_seconds_and_can_be_enrolled_again(plant: CountyUnderTest) -> None:
    got = await enrolled(plant, hardware=OLD)
    await sender(plant, got).send(["a"], minutes(0, NOW_S - 120, 1))
    code = code_for(plant)
    assert revoke(plant.county.engine, "gw-1", plant.clock.now_ns()) == 1
    plant.clock.advance(10)
    for route in ("ingest", "live", "announce"):
        answer = await sender(plant, got).post(route, Announce("gw-1", 1, []))
        assert refusal(answer) == (401, "gateway-revoked")
        assert "plantpulse-county gateway code" in answer.json()["next_step_zh"]
    await plant.sign_in()
    assert (await shown(plant))["credential"] == "revoked"
    assert "revoked" in (await shown(plant))["alarm_en"]
    assert refusal(await try_code(plant, code)) == (403, "code-used"), "codes that were open end with it"
    again = await enrolled(plant, hardware=OLD)
    assert (await sender(plant, again, epoch=2).send(["a"], minutes(0, NOW_S - 60, 1))).result == "journalled"
    assert (await shown(plant))["credential"] == "valid"


async def test_other_hardware_does_not_enrol_by_mistake_and_its_code_stays_good(county: CountyUnderTest) -> None:
    old = await enrolled(county, hardware=OLD)
    assert (await standing(county, old.credential)).status_code == 200
    await asyncio.to_thread(county.county.credentials.close)
    code = code_for(county)
    assert refusal(await try_code(county, code, hardware=NEW)) == (409, "gateway-enrolled")
    assert (await try_code(county, code, hardware=OLD)).status_code == 200, "the same hardware may, with a lost file"


def presence(at_s: int) -> Live:
    return Live("gw-1", at_s * NS, [DevicePresence("cnc-1", True, "running", at_s * NS, at_s * NS)])


def said(number: int, at_s: int) -> Announcement:
    return Announcement(
        number, at_s * NS, "cnc-1", "opc.tcp://10.0.0.7:4840", "opcua-machinetool", "cnc", "native", asset="A1"
    )


async def test_new_hardware_takes_over_from_the_next_whole_window_and_the_old_one_delivers_what_came_before(
    plant: CountyUnderTest,
) -> None:
    old_got = await enrolled(plant, hardware=OLD)
    old = sender(plant, old_got)
    await old.post("announce", Announce("gw-1", 1, [said(1, NOW_S - 900)]))
    await old.send(["cnc-1"], minutes(0, NOW_S - 120, 1))
    plant.clock.advance(7)
    got = await enrolled(plant, hardware=NEW, replace=True, window_s=60)
    hand_over_s = NOW_S + 60
    assert got.hand_over_s == hand_over_s, "10:00:08 hands over at 10:01:00"
    assert got.devices == [KnownDevice("cnc-1", "opc.tcp://10.0.0.7:4840", "opcua-machinetool", "A1")]
    new = sender(plant, got, epoch=2)
    assert (await new.post("live", presence(NOW_S + 8))).status_code == 200, "the new one's is good"
    assert (await old.post("live", presence(NOW_S + 8))).status_code == 200, "and so is the old one's, until then"

    plant.clock.advance(180)
    answer = await old.send(["cnc-1"], minutes(0, NOW_S, 3))
    assert (answer.accepted, answer.hand_over_s) == (1, hand_over_s)
    assert [(r.index, r.column, r.value) for r in answer.refused] == [
        (1, "start", hand_over_s),
        (2, "start", hand_over_s + 60),
    ]
    assert refusal(await old.post("live", presence(NOW_S + 180))) == (403, "gateway-replaced")
    await old.post("announce", Announce("gw-1", 1, [said(2, NOW_S + 170)]))
    assert [a.number for a in plant.county.announcements.of("gw-1")] == [1], "what it reads now is nobody's machine"
    fresh = await new.send(["cnc-1"], minutes(0, hand_over_s, 2))
    assert (fresh.accepted, fresh.hand_over_s) == (2, 0)

    await plant.settle()
    (day,) = plant.county.store.read_days([("gw-1", (NOW_S + 28800) // 86400)])
    assert day.records.start.tolist() == [NOW_S - 120, NOW_S, NOW_S + 60, NOW_S + 120], "one line of minutes"
    await plant.sign_in()
    now = await shown(plant)
    assert (now["credential"], now["hardware"], now["refused_after_hand_over"]) == ("valid", NEW, 2)
    assert now["refused_rows"] == 2
    assert "switch it off" in now["alarm_en"]
    live = {d["device"]: d["asset_id"] for d in (await plant.get("/live"))["devices"]}
    assert live["cnc-1"], "the binding speaks of the place: nobody had to touch it"


async def test_replaced_hardware_gets_no_new_credential_and_can_be_ended_alone(plant: CountyUnderTest) -> None:
    old = sender(plant, await enrolled(plant, hardware=OLD))
    await old.send(["a"], minutes(0, NOW_S - 120, 1))
    new = sender(plant, await enrolled(plant, hardware=NEW, replace=True), epoch=2)
    assert refusal(await rotated(plant, old.credential)) == (403, "gateway-replaced")
    assert (await new.send(["a"], minutes(0, NOW_S + 60, 1))).accepted == 1
    assert (await old.send(["a"], minutes(0, NOW_S - 60, 1))).accepted == 1, "a use of the new one does not end it"
    assert revoke(plant.county.engine, "gw-1", plant.clock.now_ns(), replaced_only=True) == 1
    plant.clock.advance(10)
    assert refusal(await standing(plant, old.credential)) == (401, "gateway-revoked")
    assert (await standing(plant, new.credential)).status_code == 200


async def test_a_place_without_a_predecessor_has_no_hand_over(county: CountyUnderTest) -> None:
    got = await enrolled(county, hardware=NEW, replace=True)
    assert got.hand_over_s == 0


def test_a_credential_from_before_enrolment_was_stored_stays_valid_and_counts_as_used(tmp_path: Path) -> None:
    engine = open_register(f"sqlite:///{tmp_path / 'register.sqlite'}")
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text("insert into gateway_credential (digest, gateway, issued_ns) values (:digest, 'gw-1', 7)"),
            {"digest": digest_of("old")},
        )
    migrate(engine)
    credentials = Credentials(engine, HandClock())
    credentials.read()
    grant = credentials.grant("old")
    assert grant is not None
    assert (grant.gateway, grant.used, grant.revoked, grant.hardware) == ("gw-1", True, False, "")
    engine.dispose()
