"""Who may read: sessions, lock-out, roles, other sites; and the headers of every answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update

from api.register.audit import first_broken
from api.register.models import Audit, SessionRow, User
from api.services.access import UserError, add_user
from metrics.record import Records
from tests.api.county_fixtures import (
    NOW_S,
    OTHER,
    PASSWORD,
    PLANT,
    CountyUnderTest,
    minutes,
)

PAGES = (
    *("/indicators", "/indicators/networking-rate/explain", "/indicators/networking-rate/change", "/enterprises"),
    *("/assets", "/gateways", "/plans", "/plans/ninghai-14-5/progress", "/live", "/definitions", "/scopes"),
    *("/figure-sets", "/published", "/too-late"),
)


async def test_every_page_asks_for_a_login(county: CountyUnderTest) -> None:
    for page in (*PAGES, "/session", "/live/events", "/indicators/networking-rate/explain"):
        answer = await county.client.get(f"/api/v1{page}")
        assert (answer.status_code, answer.json()["code"]) == (401, "not-signed-in"), page


async def test_signing_in_and_out(county: CountyUnderTest) -> None:
    add_user(county.county.engine, "统计员", "statistician", PASSWORD, None, county.clock.now_ns())
    login = {"username": "统计员", "password": PASSWORD}
    answer = await county.client.post("/api/v1/session", json=login)
    cookie = answer.headers["set-cookie"]
    for wanted in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert wanted in cookie
    assert PASSWORD not in answer.text
    assert (await county.get("/session"))["role"] == "statistician"
    with county.county.engine.connect() as connection:
        (stored,) = connection.execute(select(SessionRow.digest)).scalars()
        (password_hash,) = connection.execute(select(User.password_hash)).scalars()
    assert stored not in cookie
    assert password_hash.startswith("$argon2id$")
    kept = dict(county.client.cookies)
    assert (await county.client.delete("/api/v1/session")).status_code == 204
    county.client.cookies.update(kept)  # a copied cookie is worth nothing after the sign-out
    assert (await county.client.get("/api/v1/session")).status_code == 401


async def test_the_database_is_asked_who_reads_no_oftener_than_every_five_seconds(county: CountyUnderTest) -> None:
    await county.sign_in()
    access, token = county.county.access, county.client.cookies["plantpulse_session"]
    assert not access.remembers(token)
    await county.get("/session")
    assert access.remembers(token)
    assert access.remembers("")  # nobody
    county.clock.advance(5)
    assert not access.remembers(token)
    await county.get("/session")
    assert access.remembers(token)


async def test_a_session_ends_after_its_hours(county: CountyUnderTest) -> None:
    await county.sign_in()
    county.clock.advance(12 * 3600 - 10)
    assert (await county.client.get("/api/v1/session")).status_code == 200
    county.clock.advance(11)
    assert (await county.client.get("/api/v1/session")).status_code == 401


async def test_five_failures_lock_the_name_even_for_the_right_password(county: CountyUnderTest) -> None:
    await county.sign_in()
    for password in ("wrong-one", *["wrong-again"] * 4):
        answer = await county.client.post("/api/v1/session", json={"username": "reader", "password": password})
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong-password")
    right = {"username": "reader", "password": PASSWORD}
    locked = await county.client.post("/api/v1/session", json=right)
    assert (locked.status_code, locked.json()["code"]) == (429, "locked-out")
    assert int(locked.headers["retry-after"]) > 0
    county.clock.advance(15 * 60 + 1)
    assert (await county.client.post("/api/v1/session", json=right)).status_code == 200


async def test_an_unknown_name_gets_the_same_answer_as_a_wrong_password(county: CountyUnderTest) -> None:
    await county.sign_in()
    answers = [
        await county.client.post("/api/v1/session", json={"username": name, "password": "not-this-one"})
        for name in ("reader", "nobody")
    ]
    assert answers[0].status_code == answers[1].status_code == 401
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
async def test_another_sites_page_cannot_sign_a_reader_in_or_out(
    county: CountyUnderTest, headers: dict[str, str]
) -> None:
    await county.sign_in()
    login = {"username": "reader", "password": PASSWORD}
    for answer in (
        await county.client.post("/api/v1/session", json=login, headers=headers),
        await county.client.delete("/api/v1/session", headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign-origin")
    own = {"origin": "http://county", "sec-fetch-site": "same-origin"}
    assert (await county.client.post("/api/v1/session", json=login, headers=own)).status_code == 200


async def test_an_enterprise_sees_its_own_plant_and_nothing_else(plant: CountyUnderTest) -> None:
    gateway = plant.gateway()
    await gateway.send(["cnc-1"], Records.concat([minutes(0, NOW_S - 600, 10)]))
    await plant.settle()
    await plant.sign_in("enterprise", OTHER)
    assert [e["id"] for e in (await plant.get("/enterprises"))["items"]] == [OTHER]
    assert {a["enterprise_id"] for a in (await plant.get("/assets"))["items"]} == {OTHER}
    assert (await plant.get("/assets", enterprise=PLANT))["items"] == []
    assert [g["id"] for g in (await plant.get("/gateways"))["items"]] == ["gw-2"]
    assert [d["gateway"] for d in (await plant.get("/live"))["devices"]] == []
    assert [s["id"] for s in (await plant.get("/scopes"))["items"]] == [OTHER]
    assert (await plant.get("/indicators"))["scope"]["id"] == OTHER
    for path, query in (
        ("/indicators", {"scope": "county"}),
        ("/indicators", {"scope": f"enterprise:{PLANT}"}),
        ("/indicators/cnc-rate/explain", {"scope": "industry:auto-moulds"}),
        ("/indicators/cnc-rate/series", {"scope": "county"}),
        (f"/enterprises/{PLANT}", {}),
        ("/assets/a1", {}),
    ):
        answer = await plant.client.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 403, path


async def test_the_administrator_has_no_right_to_data(plant: CountyUnderTest) -> None:
    await plant.sign_in("administrator")
    for page in PAGES:
        answer = await plant.client.get(f"/api/v1{page}")
        assert answer.status_code == (200 if page == "/gateways" else 403), page


@pytest.mark.parametrize(
    ("role", "password", "enterprise"),
    [("viewer", "short", None), ("enterprise", PASSWORD, None), ("viewer", PASSWORD, PLANT)],
)
async def test_a_user_that_cannot_be_is_refused(
    county: CountyUnderTest, role: str, password: str, enterprise: str | None
) -> None:
    with pytest.raises(UserError):
        add_user(county.county.engine, "x", role, password, enterprise, 0)  # type: ignore[arg-type]


async def test_a_new_password_ends_open_sessions(county: CountyUnderTest) -> None:
    await county.sign_in()
    add_user(county.county.engine, "reader", "viewer", "another-password", None, 1)
    county.clock.advance(6)
    assert (await county.client.get("/api/v1/session")).status_code == 401


async def test_the_audit_log_shows_a_row_that_was_edited(county: CountyUnderTest) -> None:
    await county.sign_in()
    county.gateway()
    engine = county.county.engine
    with engine.begin() as connection:
        actions = list(connection.execute(select(Audit.action).order_by(Audit.id)).scalars())
        assert actions == ["session.sign-in", "gateway.credential"]
        assert first_broken(connection) is None
        connection.execute(update(Audit).where(Audit.id == 1).values(actor="someone else"))
        assert first_broken(connection) == 1


async def test_answers_keep_the_browser_strict(county: CountyUnderTest, tmp_path: Path) -> None:
    for path in ("/", "/docs", "/healthz", "/api/v1/session", "/openapi.json", "/overview"):
        answer = await county.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await county.client.get("/api/v1/session")).headers["cache-control"] == "no-store"
