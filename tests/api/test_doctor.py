"""plantpulse-county doctor: beside a running service and without one, what it finds and what to do next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from api.cli import app
from api.doctor.examine import examine
from api.doctor.finding import Finding
from api.doctor.machine import disk
from api.register.admin import register_of
from api.register.database import open_register
from api.settings import Settings
from tests.api.county_fixtures import NOW_S, CountyUnderTest, HandClock, minutes, served_county, settings_for
from tests.api.postgres import new_database, postgres_server
from tests.private_ca import PrivateCa


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def by_check(found: list[Finding]) -> dict[str, Finding]:
    assert all(f.next_zh and f.next_en for f in found if f.state in ("warning", "failed")), "each has a next step"
    return {f.check: f for f in found}


def beside(county: CountyUnderTest, **more: object) -> Settings:
    """The settings of a running county, with the port where it listens."""
    port = county.client.base_url.port
    return county.settings.model_copy(update={"port": port, **more})


async def looked_at(county: CountyUnderTest, **more: object) -> dict[str, Finding]:
    """What the doctor finds, by check; whatever is not well comes with a next step."""
    found = await asyncio.to_thread(examine, beside(county, **more), county.clock)
    assert [f.check for f in found if f.state != "ok" and not (f.next_zh and f.next_en)] == []
    return by_check(found)


async def test_beside_a_running_service_all_is_well_but_for_the_gateway_that_is_silent(tmp_path: Path) -> None:
    async with served_county(tmp_path / "county") as county:
        county.gateway("gw-2")
        await county.gateway("gw-1").send(["a"], minutes(0, NOW_S - 600, 3))
        await county.settle()
        found = await looked_at(county)
        assert {c for c, f in found.items() if f.state == "failed"} == set()
        assert found["service"].state == found["register"].state == found["migrations"].state == "ok"
        assert "running service" in found["store"].en, "the file is the service's"
        assert "the last batch came" in found["journal"].en
        assert found["gateways"].state == "warning"
        assert "1 of 2 gateways sent nothing for 15 min: gw-2" in found["gateways"].en
        county.clock.advance(3600)
        assert (await looked_at(county))["journal"].state == "warning"


async def test_what_the_running_service_says_of_itself_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served_county(tmp_path / "county") as county:

        def full(*_: object) -> None:
            raise OSError("no space left on device")

        gateway = county.gateway()
        monkeypatch.setattr("api.journal.day_file.DayFile.write", full)
        assert (await gateway.post("ingest", gateway.batch(["a"], minutes(0, NOW_S - 60, 1)))).status_code == 503
        found = await looked_at(county)
        assert found["service"].state == "failed"
        assert "no space left on device" in found["service_journal"].en


def test_without_a_service_it_says_how_to_start_one_and_opens_the_store_itself(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "county"))
    monkeypatch.setenv("PLANTPULSE_PORT", str(free_port))
    shell = CliRunner()
    empty = shell.invoke(app, ["doctor"])
    assert empty.exit_code == 1
    assert "there is no register yet" in empty.output
    assert "→ 启动服务：systemctl start plantpulse-county" in empty.output
    with register_of(settings_for(tmp_path / "county")):
        pass
    told = shell.invoke(app, ["doctor", "--json"])
    assert told.exit_code == 1
    found = {f["check"]: f for f in json.loads(told.output)}
    assert (found["register"]["state"], found["service"]["state"]) == ("ok", "failed")
    assert found["gateways"]["next_en"] == "plantpulse-county gateway code GATEWAY"
    assert set(found["service"]) == {"check", "state", "zh", "en", "next_zh", "next_en"}
    assert not (tmp_path / "county" / "store").exists(), "a look makes nothing"


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_register_of_another_version_is_told_from_one_that_is_away(
    tmp_path: Path, postgres: str, free_port: int, engine: str
) -> None:
    url = new_database(postgres) if engine == "postgresql" else ""
    own = settings_for(tmp_path / "county", register_url=url, port=free_port)
    with register_of(own) as database, database.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '0001'"))
    assert by_check(examine(own, HandClock()))["migrations"].state == "warning"
    newer = _set_revision(own, "9999")
    assert (newer["migrations"].state, "newer than this program" in newer["migrations"].en) == ("failed", True)


def _set_revision(own: Settings, revision: str) -> dict[str, Finding]:
    database = open_register(own.register_address)
    with database.begin() as connection:
        connection.execute(text("update alembic_version set version_num = :revision"), {"revision": revision})
    database.dispose()
    return by_check(examine(own, HandClock()))


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path, free_port: int) -> None:
    url = f"postgresql://pp:secret-word@127.0.0.1:{free_port}/county"
    found = by_check(examine(settings_for(tmp_path, register_url=url, port=free_port), HandClock()))
    assert found["register"].state == "failed"
    assert "secret-word" not in str(found)
    assert "PLANTPULSE_REGISTER_URL" in found["register"].next_en


def test_a_full_disk_a_wrong_clock_and_secrets_that_all_can_read_are_found(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    token.chmod(0o644)
    own = settings_for(tmp_path / "county", store_token_file=token, port=free_port)
    found = by_check(examine(own, HandClock(now_s=1_000_000)))
    assert found["clock"].state == "failed"
    assert (found["store_token_file"].state, found["store_token_file"].next_en) == ("warning", f"chmod 600 {token}")
    monkeypatch.setattr("shutil.disk_usage", lambda _: (100 * 10**9, 99 * 10**9, 5 * 10**8))
    assert disk(own).state == "failed"
    monkeypatch.setattr("shutil.disk_usage", lambda _: (100 * 10**9, 95 * 10**9, 5 * 10**9))
    assert disk(own).state == "warning"


def test_an_influxdb_that_is_away_does_not_stop_ingest_and_is_said_so(tmp_path: Path, free_port: int) -> None:
    own = settings_for(tmp_path, store_url=f"influxdb+http://127.0.0.1:{free_port}/plant", port=free_port)
    with register_of(own):
        pass
    found = by_check(examine(own, HandClock()))
    assert found["store"].state == "failed"
    assert "records are taken meanwhile" in found["store"].next_en


@pytest.mark.parametrize(("days_left", "state"), [(300, "ok"), (10, "warning"), (-1, "failed")])
def test_certificates_are_told_before_they_end(tmp_path: Path, free_port: int, days_left: int, state: str) -> None:
    authority = PrivateCa(tmp_path / "ca")
    own = settings_for(tmp_path / "county", store_ca_file=authority.ca_file, port=free_port)
    with register_of(own):
        pass
    its_end = datetime.now(UTC) + timedelta(days=3650)
    clock = HandClock((its_end - timedelta(days=days_left)).timestamp())
    assert by_check(examine(own, clock))["certificate_store_ca"].state == state


def _now() -> HandClock:
    return HandClock(datetime.now(UTC).timestamp())


async def test_the_portals_own_certificate_is_fetched_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = PrivateCa(tmp_path / "ca")
    async with served_county(tmp_path / "county", _now(), tls=authority.server("localhost", days_to=300)) as county:
        url = f"https://localhost:{county.client.base_url.port}"
        found = (await looked_at(county, public_url=url))["certificate_portal"]
        assert found.state == "failed"
        assert "cannot be verified" in found.en
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        found = (await looked_at(county, public_url=url))["certificate_portal"]
        assert found.state == "ok"
        assert "lasts 299 days" in found.en
        plain = (await looked_at(county, public_url="http://localhost"))["certificate_portal"]
        assert "travel in the open" in plain.en
