"""A county service for tests: a clock by hand, registers from CSV texts, gateways, over ASGI or sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import insert

from api.app import create_app
from api.credentials import issue
from api.register.admin import load_register
from api.register.database import writing
from api.register.models import User
from api.runtime import County
from api.server import listen
from api.settings import Settings
from gateway.wire import CONTENT_TYPE_MSGPACK, DeviceRef, Ingest, IngestAnswer, encode, ingest_message
from metrics.record import RECORD_COLUMNS, Records, local_day, local_day_start_s
from tests.private_ca import ServerTls
from tests.waiting import until

PLANT = "91330226MA22563400"
OTHER = "91110108551385082Q"
PASSWORD = "correct-horse-battery"
QUICK_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""Hashed with less work than the service does: it is checked by what stands in the hash."""

NOW_S = local_day_start_s(int(local_day(1_795_000_000))) + 10 * 3600
"""10:00 in Shanghai on some day of November 2026."""

TODAY = int(local_day(NOW_S))


class HandClock:
    """Time that stands still until a test moves it."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.at_ns = int(now_s * 1_000_000_000)
        self.line_s = 1000.0

    def now_ns(self) -> int:
        return self.at_ns

    def monotonic_s(self) -> float:
        return self.line_s

    def advance(self, seconds: float) -> None:
        self.at_ns += int(seconds * 1_000_000_000)
        self.line_s += seconds


def write_csv(folder: Path, files: dict[str, str]) -> Path:
    """Register files from texts."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n", "utf-8")
    return folder


def register_files(from_day: str = "2026-01-01") -> dict[str, str]:
    """Two plants: one confirmed with five assets and two meters, one that never confirmed its register."""
    return {
        "enterprises.csv": f"""credit_code,name_zh,industry_id,zone_id,register_confirmed
            {PLANT},宁海示例模塑有限公司（示例）,auto-moulds,nhedz-core,yes
            {OTHER},示例文具有限公司（示例）,stationery,nhedz-xidian,no""",
        "sites.csv": f"""site_id,credit_code,name_zh
            s1,{PLANT},一号厂房
            s2,{OTHER},二号厂房""",
        "assets.csv": f"""credit_code,asset_number,name_zh,asset_class,control,in_scope,site_id
            {PLANT},A1,加工中心,cnc,cnc,yes,s1
            {PLANT},A2,注塑机,injection-moulding,plc,yes,s1
            {PLANT},A3,老车床,lathe,manual,yes,s1
            {PLANT},A4,手动压机,press,manual,yes,s1
            {PLANT},A5,叉车,forklift,none,no,s1
            {OTHER},A1,冲床,press,plc,yes,s2""",
        "meters.csv": f"""credit_code,meter_number,name_zh,carrier,meter_role,parent
            {PLANT},M1,总表,electricity,import,
            {PLANT},M2,车床分表,electricity,sub,M1""",
        "gateways.csv": """gateway,site_id
            gw-1,s1
            gw-2,s2""",
        "bindings.csv": f"""gateway,device,credit_code,kind,number,role,valid_from
            gw-1,cnc-1,{PLANT},asset,A1,state,{from_day}
            gw-1,moulding-1,{PLANT},asset,A2,state,{from_day}
            gw-1,clamp-1,{PLANT},asset,A3,state,{from_day}
            gw-1,clamp-1,{PLANT},meter,M2,quantity,{from_day}
            gw-1,main-1,{PLANT},meter,M1,quantity,{from_day}""",
        "reports.csv": f"""credit_code,month,value_added_wan,output_wan
            {PLANT},2026-10,46,180.5""",
    }


def settings_for(folder: Path, **more: Any) -> Settings:
    """Settings of a county in a folder; today is refreshed only when a test says so."""
    return Settings(_env_file=None, **({"data_dir": folder, "today_refresh_s": 3600.0} | more))


class Gateway:
    """A gateway that sends to a county; numbers its batches itself."""

    def __init__(self, name: str, credential: str, client: httpx.AsyncClient, epoch: int = 2**63 + 11) -> None:
        self.name = name
        self.credential = credential
        self.client = client
        self.epoch = epoch
        self.sequence = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.credential}", "content-type": CONTENT_TYPE_MSGPACK}

    def batch(self, devices: list[str], records: Records, **more: Any) -> Ingest:
        self.sequence += 1
        previous = (self.epoch, self.sequence - 1) if self.sequence > 1 else None
        more = {"previous": previous} | more
        return ingest_message(self.name, self.epoch, self.sequence, [DeviceRef(d) for d in devices], records, **more)

    async def post(self, route: str, message: msgspec.Struct) -> httpx.Response:
        return await self.client.post(f"/api/v1/{route}", content=encode(message), headers=self.headers)

    async def ingest(self, message: Ingest) -> IngestAnswer:
        answer = await self.post("ingest", message)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=IngestAnswer)

    async def send(self, devices: list[str], records: Records, **more: Any) -> IngestAnswer:
        return await self.ingest(self.batch(devices, records, **more))


def minutes(device: int, start_s: int, count: int, *, window_s: int = 60, **columns: int) -> Records:
    """Consecutive windows of one device; watched and connected all the time unless said otherwise."""
    made = {c.name: np.zeros(count, c.dtype) for c in RECORD_COLUMNS}
    made["device"] = np.full(count, device)
    made["start"] = start_s + window_s * np.arange(count)
    made["length"] = np.full(count, window_s * 10)
    made["observed"] = made["connected"] = made["length"]
    made["reading"] = np.full(count, -1)
    if columns.get("quantity"):
        made["quantity_span"] = np.full(count, window_s)
    made |= {name: np.full(count, value) for name, value in columns.items()}
    return Records.from_columns(made)


class CountyUnderTest:
    """A running county, its client, and ways into it."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, clock: HandClock, settings: Settings) -> None:
        self.app = app
        self.client = client
        self.clock = clock
        self.settings = settings

    @property
    def county(self) -> County:
        county: County = self.app.state.county
        return county

    def gateway(self, name: str = "gw-1", **more: Any) -> Gateway:
        credential = issue(self.county.engine, name, self.clock.now_ns())
        self.clock.line_s += 1  # a credential that is not known is looked up once a second
        return Gateway(name, credential, self.client, **more)

    def load(self, folder: Path, files: dict[str, str] | None = None) -> None:
        load_register(self.settings, write_csv(folder, files or register_files()), self.clock.now_ns())
        self.clock.advance(1)

    async def sign_in(self, role: str = "statistician", enterprise: str | None = None, name: str = "reader") -> None:
        with writing(self.county.engine) as connection:
            connection.execute(
                insert(User).values(
                    username=name,
                    role=role,
                    credit_code=enterprise,
                    password_hash=QUICK_HASH,
                    created_ns=0,
                    failures=0,
                    locked_until_ns=0,
                )
            )
        answer = await self.client.post("/api/v1/session", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def settle(self) -> None:
        """Wait until everything journalled is stored and rolled up, today included."""
        county = self.county
        assert await asyncio.to_thread(county.applier.wait_applied, county.journal.position, 10.0)
        assert await asyncio.to_thread(county.rollup.wait_clean, 10.0)
        self.clock.advance(1)


@asynccontextmanager
async def running_county(folder: Path, clock: HandClock | None = None, **more: Any) -> AsyncIterator[CountyUnderTest]:
    """A county over ASGI: no socket, everything else real."""
    clock = clock or HandClock()
    settings = settings_for(folder, **more)
    app = create_app(settings, clock)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://county") as client:
            yield CountyUnderTest(app, client, clock, settings)


@asynccontextmanager
async def served_county(
    folder: Path, clock: HandClock | None = None, tls: ServerTls | None = None, **more: Any
) -> AsyncIterator[CountyUnderTest]:
    """A county behind a real server on a free port, over HTTPS where a certificate is given."""
    used = clock or HandClock()
    settings = settings_for(folder, **more)
    app = create_app(settings, used)
    listener = listen("127.0.0.1", 0)
    files = {} if tls is None else {"ssl_certfile": tls.cert_file, "ssl_keyfile": tls.key_file}
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="on", **files))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started or task.done(), 20)
        assert not task.done(), "the server did not start"
        base = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        verify = True if tls is None else ssl.create_default_context(cafile=str(tls.ca_file))
        async with httpx.AsyncClient(base_url=base, trust_env=False, verify=verify) as client:
            yield CountyUnderTest(app, client, used, settings)
    finally:
        county = getattr(app.state, "county", None)
        if county is not None:
            county.live.close()
        server.should_exit = True
        await task
