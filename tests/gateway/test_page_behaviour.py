"""What a person, a monitor and a stranger meet at the gateway's own port: over real HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner

from collectors.model import Batch, LinkError, Samples, Trouble
from collectors.strict_yaml import FileError
from gateway import clock_watch, outbox_troubles
from gateway.cli import app
from gateway.config import PlantConfig, load
from gateway.links import Link
from gateway.page import passwords, server
from gateway.page.texts import TEXTS
from gateway.runner import Gateway
from tests.gateway.county_stub import CountyStub
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, steady
from tests.waiting import until

Make = Callable[..., PlantConfig]
PASSWORD = "a-long-example"
HTML = {"Accept": "text/html", "Accept-Language": "en"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(user, password)}


class Site:
    """A gateway's page as its visitors reach it."""

    def __init__(self, gateway: Gateway, collectors: list[ScriptedCollector], session: aiohttp.ClientSession) -> None:
        self.gateway, self.collectors, self._session = gateway, collectors, session

    async def get(self, path: str, **keys: Any) -> tuple[aiohttp.ClientResponse, str]:
        return await self.ask("GET", path, **keys)

    async def ask(self, method: str, path: str, **keys: Any) -> tuple[aiohttp.ClientResponse, str]:
        url = self.gateway.status.page_url.rstrip("/") + path
        async with self._session.request(method, url, allow_redirects=False, **keys) as response:
            return response, await response.text()

    async def json(self, path: str, **keys: Any) -> Any:
        response, _ = await self.get(path, **keys)
        return await response.json()


@asynccontextmanager
async def open_site(config: PlantConfig, monkeypatch: pytest.MonkeyPatch, *devices: str) -> AsyncIterator[Site]:
    collectors: list[ScriptedCollector] = []

    def links(_: PlantConfig, clock: Callable[[], int]) -> list[Link]:
        collectors.extend(ScriptedCollector(steady(), clock, device_id=name) for name in devices or ("m-1",))
        return [Link("modbus", collector) for collector in collectors]

    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address that is a number
    async with gateway_of(config, monkeypatch, links) as (gateway, _), aiohttp.ClientSession(cookie_jar=jar) as session:
        await until(lambda: gateway.status.page_url)
        yield Site(gateway, collectors, session)


def guarded(folder: Path) -> dict[str, Any]:
    path = folder / "page-password"
    path.write_text(passwords.hashed(PASSWORD))
    return {"listen": "127.0.0.1:0", "password_file": path}


async def test_the_page_shows_devices_with_values_ages_and_quality_in_both_languages(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url, "m-1", "ghost"), monkeypatch) as site:
        await until(lambda: site.gateway.intake.samples["modbus"] >= 8)
        _, zh = await site.get("/?lang=zh")
        _, en = await site.get("/?lang=en")
        for page, words in ((zh, ("已连接", "待发库", "运行")), (en, ("not connected", "Outbox", "running"))):
            for word in (*words, "ghost", "m-1", county.url):
                assert word in page
        _, device = await site.get("/devices/m-1?lang=en")
        assert re.search(r'data-tag="temperature".*?>20<.*?°C.*?quality good.*?\d s', device, re.DOTALL)
        values = {v["tag"]: v for v in await site.json("/api/values/m-1")}
        assert values["energy"]["unit"] == "kWh"
        assert values["temperature"]["value"] == 20.0
        assert values["state"]["value"] == "running", "a state by its name, as `read` shows it"
        assert 0 <= values["temperature"]["age_s"] < 5
        assert (await site.get("/devices/nobody"))[0].status == 404
        assert (await site.get("/api/values/nobody"))[0].status == 404


async def test_a_bad_sample_has_no_value_and_a_tag_never_read_has_no_age(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        await until(lambda: site.gateway.intake.samples["modbus"])
        device = site.collectors[0].device
        site.collectors[0].plugged = False
        bad = Samples.of([3], [float("nan")], site.gateway.clock(), quality=2)
        await site.gateway.intake.take("modbus", Batch(samples=[(device.id, bad)]))
        temperature = (await site.json("/api/values/m-1"))[3]
        assert (temperature["value"], temperature["quality"]) == (None, "bad")
        site.gateway.intake.last_values.forget("m-1")
        await site.gateway.intake.take("modbus", Batch(samples=[(device.id, bad)]))
        state = (await site.json("/api/values/m-1"))[0]
        assert (state["value"], state["quality"], state["age_s"]) == (None, "none", None)
        assert "never" in (await site.get("/devices/m-1?lang=en"))[1]


async def test_a_queued_sample_does_not_hide_a_newer_value(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        await until(lambda: site.gateway.intake.samples["modbus"])
        site.collectors[0].plugged = False
        now_ns, minute_ns = site.gateway.clock(), 60 * 10**9
        for value, source_ns in ((30.0, now_ns), (25.0, now_ns - minute_ns)):
            columns = Samples.of([3], [value], now_ns, source_ns=source_ns)
            await site.gateway.intake.take("modbus", Batch(samples=[("m-1", columns)]))
        assert (await site.json("/api/values/m-1"))[3]["value"] == 30.0


async def test_the_page_shows_exactly_what_was_last_sent(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        await until(lambda: site.gateway.intake.samples["modbus"] >= 20)
        await site.gateway.keeper.close_short(site.gateway.clock())
        await until(lambda: county.rows)
        await until(lambda: site.gateway.uplink.sent_rows)
        await county.until(lambda: county.live)
        sent = await site.json("/api/sent")
        for row in sent["ingest"]["rows"]:  # two where a minute has just ended
            assert row["device"] == "m-1"
            key = (row["device"], row["start"], row["part"])
            assert {k: v for k, v in row.items() if k != "device"} == {
                k: v for k, v in county.rows[key].items() if k != "device"
            }
        assert (sent["ingest"]["epoch"], sent["ingest"]["sequence"]) in county.bodies
        assert sent["ingest"]["bytes"] == len(county.bodies[sent["ingest"]["epoch"], sent["ingest"]["sequence"]])
        assert sent["live"]["devices"][0]["id"] == "m-1"
        assert sent["announce"]["announcements"][0]["serial"] == "0001"
        _, page = await site.get("/sent?lang=en")
        for word in ("quantity_span", "m-1", "0001", str(row["quantity"])):
            assert word in page


async def test_ready_says_why_not_and_health_stays_alive_while_the_county_is_away(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(county.url)
    async with open_site(config, monkeypatch) as site:
        await until(lambda: site.gateway.uplink.last_contact_ns and site.gateway.keeper.is_safe)
        response, _ = await site.get("/ready")
        assert (response.status, await response.json()) == (200, {"ready": True, "reasons": []})
        await county.stop()
        await site.gateway.keeper.close_short(site.gateway.clock())
        await until(lambda: site.gateway.troubles.listed())
        response, _ = await site.get("/ready")
        (reason,) = (await response.json())["reasons"]
        assert response.status == 503
        assert reason["code"] == "county_unreachable"
        assert ("连接被拒绝" in reason["zh"], "connection refused" in reason["en"]) == (True, True)
        assert reason["next_zh"]
        assert reason["next_en"]
        assert (await site.get("/health"))[0].status == 200
        _, page = await site.get("/?lang=en")
        assert "Something needs attention" in page
        assert reason["next_en"] in page
        await county.start()
        await until(lambda: not site.gateway.troubles.listed())
        assert (await site.get("/ready"))[0].status == 200


async def test_a_time_that_nobody_confirms_keeps_the_gateway_from_being_ready_a_silent_machine_does_not(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url, "m-1", "ghost"), monkeypatch) as site:
        await until(lambda: site.gateway.uplink.last_contact_ns and site.gateway.keeper.is_safe)
        site.gateway.troubles.report(Trouble("ghost", "unreachable", "连不上", "cannot be reached"))
        assert (await site.get("/ready"))[0].status == 200
        monkeypatch.setattr(
            clock_watch, "trouble", lambda *_: Trouble("clock", "time_not_known", "时间未确认", "not confirmed")
        )
        await until(lambda: "time_not_known" in [t.code for t in site.gateway.troubles.listed()])
        assert (await site.get("/ready"))[0].status == 503


async def test_a_data_folder_that_cannot_be_used_keeps_the_gateway_from_being_ready(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        await until(lambda: site.gateway.uplink.last_contact_ns and site.gateway.keeper.is_safe)
        assert (await site.get("/ready"))[0].status == 200
        site.gateway.troubles.report(outbox_troubles.not_there(Path("data")))
        response, _ = await site.get("/ready")
        assert (response.status, (await response.json())["reasons"][0]["code"]) == (503, "disk_not_usable")


async def test_health_is_bad_when_nothing_goes_on(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        monkeypatch.setattr(type(site.gateway.progress), "stalls", lambda _: ["checkpoint"])
        for path, where in (("/health", "stalled"), ("/ready", "reasons")):
            response, _ = await site.get(path)
            assert response.status == 503
            assert (await response.json())[where][0]["code"] == "stalled"


async def test_metrics_are_in_the_exposition_format_and_what_is_unknown_is_left_out(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url, "m-1", "ghost"), monkeypatch) as site:
        await until(lambda: site.gateway.intake.samples["modbus"] >= 8)
        site.gateway.windows.shed['odd "reason"\n'] = 3
        site.collectors[0].fail = [LinkError("cut", "断", "cut")]
        await until(lambda: site.gateway.links.loops[0].connects == 2)
        response, text = await site.get("/metrics")
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        found = exposed(text)
        assert found['plantpulse_gateway_device_connected{device="m-1"}'] == 1
        assert found['plantpulse_gateway_device_connected{device="ghost"}'] == 0
        assert found['plantpulse_gateway_samples_total{protocol="modbus"}'] >= 8
        assert found['plantpulse_gateway_device_samples_total{device="m-1",quality="good"}'] >= 8
        assert found['plantpulse_gateway_link_errors_total{link="scripted://m-1",code="cut"}'] == 1
        assert found['plantpulse_gateway_shed_total{reason="odd \\"reason\\"\\n"}'] == 3
        assert found["plantpulse_gateway_disk_free_bytes"] > 0
        assert found["plantpulse_gateway_clock_doubtful"] == 0
        assert not any("days_to_full" in name for name in found)


def exposed(text: str) -> dict[str, float]:
    """Samples of a text in Prometheus's exposition format; fails where it is none."""
    found: dict[str, float] = {}
    typed: set[str] = set()
    label = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
    for line in text.splitlines():
        if kind := re.fullmatch(r"# TYPE (\w+) (counter|gauge)", line):
            assert kind[1] not in typed, "a family twice"
            typed.add(kind[1])
        elif not line.startswith("# HELP "):
            sample = re.fullmatch(rf"(\w+)(\{{{label}(?:,{label})*\}})? (\S+)", line)
            assert sample, line
            assert sample[1] in typed
            name = sample[1] + (sample[2] or "")
            assert name not in found, "a series twice"
            found[name] = float(sample[3])
    return found


async def test_a_waiting_link_is_tried_again_at_once_when_a_person_says_so(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url, "m-1", "m-2"), monkeypatch, "m-1", "m-2") as site:
        await until(lambda: site.gateway.intake.samples["modbus"] >= 8)
        one, two = site.collectors
        one.reconnect_s = 3600.0
        one.plugged = False
        await until(lambda: [loop.state for loop in site.gateway.links.loops] == ["waiting", "connected"])
        one.plugged = True
        connects = two.connects
        response, _ = await site.ask("POST", "/api/retry", data={"device": "m-2"})
        assert await response.json() == {"retried": 0}
        response, _ = await site.ask("POST", "/api/retry", data={"device": "m-1"})
        assert await response.json() == {"retried": 1}
        await until(lambda: site.gateway.links.loops[0].state == "connected")
        assert two.connects == connects
        response, _ = await site.ask("POST", "/api/retry", headers=HTML)
        assert (response.status, response.headers["Location"]) == (303, "/?retried=0")


async def test_the_page_of_a_device_tells_of_its_link_too(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url, "m-1", "m-2"), monkeypatch, "m-1", "m-2") as site:
        site.collectors[0].plugged = False
        await until(lambda: site.gateway.troubles.listed())
        assert "Check the power." in (await site.get("/devices/m-1?lang=en"))[1]
        assert "Check the power." not in (await site.get("/devices/m-2?lang=en"))[1]


async def test_a_mistake_on_the_page_is_answered_and_logged_once(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        monkeypatch.setattr(type(site.gateway.status), "summary", lambda _: 1 // 0)
        for _ in range(3):
            response, _ = await site.get("/api/status")
            assert (response.status, (await response.json())["code"]) == (500, "failed")
            assert "ZeroDivisionError" in (await response.json())["detail"]
        assert [line["event"] for line in log].count("page failed") == 1
        monkeypatch.undo()


async def test_another_site_cannot_make_a_browser_retry_or_read(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            response, _ = await site.ask("POST", "/api/retry", headers=headers)
            assert (response.status, (await response.json())["code"]) == (403, "other-origin")
        response, _ = await site.get("/api/status", headers={"Host": "evil.example:8821"})
        assert (response.status, (await response.json())["code"]) == (403, "not-local")
        assert (await site.get("/api/status", headers={"Host": "localhost:1"}))[0].status == 200


async def test_every_answer_bears_the_protecting_headers_and_nothing_comes_from_elsewhere(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        for path in ("/", "/sent", "/devices/m-1", "/nothing", "/health", "/metrics", "/static/page.css"):
            response, text = await site.get(path)
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            if response.content_type == "text/html":
                assert not re.search(r"<style|style=|<script(?! src)|\son\w+=", text)
                for address in re.findall(r'(?:src|href|action)="([^"]+)"', text):
                    assert address.startswith("/"), address
        assert (await site.get("/static/..%2fguard.py"))[0].status in (403, 404)


async def test_with_a_password_nothing_is_seen_before_the_login(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url, page=guarded(tmp_path)), monkeypatch) as site:
        response, _ = await site.get("/devices/m-1", headers=HTML)
        assert response.status == 303
        assert response.headers["Location"].startswith("/login?next=/devices/m-1")
        for path in ("/api/status", "/metrics", "/api/sent", "/api/values/m-1"):
            response, text = await site.get(path)
            assert (response.status, (await response.json())["code"]) == (401, "not-signed-in")
            assert "m-1" not in text
        assert (await site.ask("POST", "/api/retry"))[0].status == 401
        assert (await site.get("/health"))[0].status == 200
        response, text = await site.ask("POST", "/login", data={"password": "wrong", "next": "/sent"}, headers=HTML)
        assert response.status == 401
        assert "Wrong password" in text
        response, _ = await site.ask("POST", "/login", data={"password": PASSWORD, "next": "/sent"}, headers=HTML)
        assert (response.status, response.headers["Location"]) == (303, "/sent")
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert (await site.get("/sent", headers=HTML))[0].status == 200
        assert (await site.get("/api/status"))[0].status == 200
        await site.ask("POST", "/logout")
        assert (await site.get("/api/status"))[0].status == 401


async def test_a_program_signs_in_by_basic_authentication_and_is_hashed_once(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = 0
    fits = passwords.fits

    def counting(password: str, line: str) -> bool:
        nonlocal hashes
        hashes += 1
        return fits(password, line)

    monkeypatch.setattr(passwords, "fits", counting)
    async with open_site(plant(county.url, page=guarded(tmp_path)), monkeypatch) as site:
        for _ in range(3):
            response, _ = await site.get("/metrics", headers=basic("prometheus", PASSWORD))
            assert response.status == 200
        assert hashes == 1
        assert (await site.get("/metrics", headers=basic("prometheus", "wrong")))[0].status == 401
        response, _ = await site.ask("POST", "/api/retry", headers=basic("x", PASSWORD))
        assert await response.json() == {"retried": 0}


async def test_guessing_is_limited_and_the_right_password_waits_too(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url, page=guarded(tmp_path)), monkeypatch) as site:
        for _ in range(5):
            response, _ = await site.ask("POST", "/login", data={"password": "guess"}, headers=HTML)
            assert response.status == 401
        for given in ("guess", PASSWORD):
            response, _ = await site.ask("POST", "/login", data={"password": given}, headers=HTML)
            assert response.status == 429
            assert 0 < int(response.headers["Retry-After"]) <= 61
        response, _ = await site.get("/metrics", headers=basic("x", PASSWORD))
        assert response.status == 429


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"])
async def test_a_login_never_leads_to_another_site(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    async with open_site(plant(county.url, page=guarded(tmp_path)), monkeypatch) as site:
        response, _ = await site.ask("POST", "/login", data={"password": PASSWORD, "next": target})
        assert response.headers["Location"] == "/"


async def test_a_new_password_ends_the_sessions_of_the_old_one(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = guarded(tmp_path)
    async with open_site(plant(county.url, page=page), monkeypatch) as site:
        await site.ask("POST", "/login", data={"password": PASSWORD})
        assert (await site.get("/api/status"))[0].status == 200
        page["password_file"].write_text(passwords.hashed("another-example"))
        assert (await site.ask("POST", "/login", data={"password": PASSWORD}))[0].status == 401
        assert (await site.get("/api/status"))[0].status == 401
        assert (await site.ask("POST", "/login", data={"password": "another-example"}))[0].status == 303


async def test_a_port_that_is_taken_is_told_and_tried_again_while_reading_goes_on(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY_S", 0.05)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        collectors: list[ScriptedCollector] = []

        def links(_: PlantConfig, clock: Callable[[], int]) -> list[Link]:
            collectors.append(ScriptedCollector(steady(), clock))
            return [Link("modbus", collectors[0])]

        async with gateway_of(plant(county.url, page={"listen": listen}), monkeypatch, links) as (gateway, _):
            await until(lambda: [t.code for t in gateway.troubles.listed()] == ["page_not_served"])
            await until(lambda: gateway.intake.samples["modbus"] >= 8)
            other.close()
            await until(lambda: gateway.status.page_url)
            await until(lambda: gateway.troubles.listed() == [])


async def test_the_page_speaks_https_with_a_certificate(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=gateway"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    page = {**guarded(tmp_path), "cert_file": tmp_path / "cert", "key_file": tmp_path / "key"}
    async with open_site(plant(county.url, page=page), monkeypatch) as site:
        assert site.gateway.status.page_url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(tmp_path / "cert"))
        response, _ = await site.ask("POST", "/login", data={"password": PASSWORD}, ssl=context)
        assert "Secure" in response.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("{listen: '0.0.0.0:8821'}", ("page-password", "先设密码")),
        ("{listen: '8821'}", ("IP-ADDRESS:PORT", "IP地址:端口")),
        ("{listen: '127.0.0.1:0', cert_file: credential}", ("belong together", "一起写")),
        ("{listen: '127.0.0.1:0', password_file: nothing}", ("no such file", "没有这个文件")),
    ],
)
def test_a_page_that_cannot_be_is_refused_with_the_next_step(tmp_path: Path, page: str, words: tuple[str, str]) -> None:
    (tmp_path / "credential").write_text("x")
    path = tmp_path / "plant.yaml"
    path.write_text(
        'site: g-1\nuplink: {url: "http://127.0.0.1:9", credential_file: credential}\n'
        f"gateway:\n  page: {page}\n"
        'devices:\n  - {id: meter-main, profile: eastron-sdm630, address: "modbus-tcp://127.0.0.1:502", unit: 3}\n'
    )
    with pytest.raises(FileError) as caught:
        load(path)
    for word in (*words, "gateway.page", "plant.yaml:4"):
        assert word in str(caught.value)


def test_the_password_command_writes_a_hash_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "page-password"
    short = CliRunner().invoke(app, ["page-password", str(path)], input="short\nshort\n")
    assert short.exit_code == 1
    assert not path.exists()
    done = CliRunner().invoke(app, ["page-password", str(path)], input=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    assert PASSWORD not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert passwords.fits(PASSWORD, passwords.read(path))
    assert not passwords.fits(PASSWORD + "x", passwords.read(path))


def test_a_program_that_sets_the_password_reads_nothing_but_json(tmp_path: Path) -> None:
    path = tmp_path / "page-password"
    short = CliRunner().invoke(app, ["page-password", str(path), "--json"], input="short\nshort\n")
    told = json.loads(short.stdout)
    assert (short.exit_code, told["ok"], len(told["problems"])) == (1, False, 1)
    done = CliRunner().invoke(app, ["page-password", str(path), "--json"], input=f"{PASSWORD}\n{PASSWORD}\n")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"ok": True, "file": str(path)})
    assert "password" in done.stderr, "it is still asked for"


@pytest.mark.parametrize("line", ["", "a-long-example", "scrypt$2$8$1$AA==$AA==", "scrypt$16384$8$1$!$AA=="])
def test_a_password_file_with_anything_but_a_hash_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "page-password"
    path.write_text(line)
    with pytest.raises(passwords.PasswordError, match="page-password"):
        passwords.read(path)


def test_every_word_stands_in_both_languages_and_every_word_used_is_known() -> None:
    assert all(zh and en for zh, en in TEXTS.values())
    used = set()
    for template in (Path(server.__file__).parent / "templates").glob("*.html"):
        used |= set(re.findall(r"\bt\('(\w+)'\)", template.read_text()))
    assert used <= TEXTS.keys()
