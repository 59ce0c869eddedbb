"""A small county over a real socket: journals batches in memory, can be stopped, started and told to refuse."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from gateway.wire import (
    Accepted,
    Announce,
    Announcement,
    Ingest,
    IngestAnswer,
    Live,
    Missing,
    WireError,
    decode,
    records_of,
)
from metrics.record import RECORD_COLUMNS, Records, refusals

CREDENTIAL = "not-a-secret-example"


class CountyStub:
    """Answers as the contract says. `bodies` by (epoch, sequence); `rows` by (device, start, part)."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[int, int], bytes] = {}
        self.messages: list[Ingest] = []
        self.rows: dict[tuple[str, int, int], dict[str, int]] = {}
        self.doubled: list[tuple[str, int, int]] = []
        self.refused: list[Any] = []
        self.announcements: dict[int, Announcement] = {}
        self.live: list[Live] = []
        self.requests: dict[str, int] = defaultdict(int)
        self.answers: list[web.Response] = []
        """Answers to give instead of journalling, one for each coming ingest."""
        self.poison: Callable[[Records], int] = lambda records: 0
        """HTTP status for batches that it does not take; 0: it takes them."""
        self.poison_names: Callable[[list[str]], bool] = lambda names: False
        """Whether it refuses (400) a batch whose rows or gaps name these devices."""
        self.refusal: tuple[int, str] | None = None
        """Status and problem code that every request gets."""
        self.fails_at_device = ""
        """Announcements of this device are answered 500."""
        self.ask_for: list[Missing] = []
        self.lacks_announcements = False
        self.time_ns: Callable[[], int] = time.time_ns
        self.ahead_ns = 0
        """How far its clock is ahead."""
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> CountyStub:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/api/v1/ingest", self._ingest)
        app.router.add_post("/api/v1/announce", self._announce)
        app.router.add_post("/api/v1/live", self._live)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2, auto_decompress=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, condition: Any, timeout_s: float = 40.0) -> None:
        """Wait until a condition holds; it is looked at after every request."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _refused(self) -> web.Response | None:
        if self.refusal is None:
            return None
        await self._note()
        status, code = self.refusal
        return web.json_response({"code": code, "detail": ""}, status=status)

    def _allowed(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {CREDENTIAL}"

    async def _ingest(self, request: web.Request) -> web.Response:
        self.requests["ingest"] += 1
        if (refused := await self._refused()) is not None:
            return refused
        if not self._allowed(request):
            return web.Response(status=401, text="who are you")
        body = await request.read()
        try:
            message = decode(body, Ingest)
        except WireError:
            await self._note()
            return web.json_response({"code": "not-a-message"}, status=400)
        if self.answers:
            await self._note()
            return self.answers.pop(0)
        named = [ref.id for ref in message.devices] + [name for gap in message.gaps for name in gap.devices]
        if status := 400 if self.poison_names(named) else self.poison(records_of(message)):
            await self._note()
            return web.json_response({"code": "not-a-message"}, status=status)
        key = (message.epoch, message.sequence)
        result = "journalled"
        if key in self.bodies:
            result = "duplicate" if self.bodies[key] == body else "conflict"
        if result == "journalled":
            self._journal(message, body)
        missing, self.ask_for = self.ask_for, []
        answer = IngestAnswer(
            result, *key, message.rows, [], 0, missing, self._now_ns(), announce_again=self.lacks_announcements
        )
        await self._note()
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    def _journal(self, message: Ingest, body: bytes) -> None:
        self.bodies[(message.epoch, message.sequence)] = body
        self.messages.append(message)
        records = records_of(message)
        self.refused += refusals(records, len(message.devices))
        for i in range(len(records)):
            row = {c.name: int(getattr(records, c.name)[i]) for c in RECORD_COLUMNS}
            row_key = (message.devices[row["device"]].id, row["start"], row["part"])
            if row_key in self.rows:
                self.doubled.append(row_key)
            self.rows[row_key] = row

    async def _announce(self, request: web.Request) -> web.Response:
        self.requests["announce"] += 1
        if (refused := await self._refused()) is not None:
            return refused
        message = decode(await request.read(), Announce)
        if any(a.device == self.fails_at_device for a in message.announcements):
            await self._note()
            return web.Response(status=500, text="oh")
        self.announcements |= {a.number: a for a in message.announcements}
        await self._note()
        return self._accepted(len(message.announcements))

    async def _live(self, request: web.Request) -> web.Response:
        self.requests["live"] += 1
        if (refused := await self._refused()) is not None:
            return refused
        if not self._allowed(request):
            return web.Response(status=401, text="who are you")
        message = decode(await request.read(), Live)
        self.live.append(message)
        await self._note()
        return self._accepted(len(message.devices))

    def _now_ns(self) -> int:
        return self.time_ns() + self.ahead_ns

    def _accepted(self, n: int) -> web.Response:
        return web.Response(body=msgspec.json.encode(Accepted(n, self._now_ns())), content_type="application/json")

    def total(self, device: str, column: str) -> int:
        """Sum of a column over all parts of all windows of a device."""
        return sum(row[column] for (d, _, _), row in self.rows.items() if d == device)
