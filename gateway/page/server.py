"""The local page over HTTP: what a person sees, what a monitor asks, and the one thing that can be done there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import structlog
from aiohttp import web

from collectors.causes import cause_of
from collectors.model import Quality, Role, Trouble
from gateway.last_values import LastValue
from gateway.link_set import LinkSet
from gateway.page import metrics, token
from gateway.page.config import OFF, PageConfig, parse
from gateway.page.guard import COOKIE, SESSION_S, Guard, WaitError
from gateway.page.passwords import PasswordError
from gateway.page.problems import problem
from gateway.page.texts import LANGUAGE_COOKIE, Language, language_of
from gateway.status import Status
from gateway.troubles import Troubles, as_json
from gateway.windows import STATE_NAMES
from gateway.wire import StateName

SUBJECT: Final = "page"
RETRY_S: Final = 10.0
_MOST_BODY_BYTES: Final = 4096
_LANGUAGE_S: Final = 365 * 86_400
_log = structlog.get_logger("gateway")


class Page:
    """Serves one gateway's page. `run` is its task; it never holds up anything else."""

    def __init__(self, config: PageConfig, status: Status, links: LinkSet, troubles: Troubles) -> None:
        self._config, self._status, self._links, self._troubles = config, status, links, troubles
        self._guard = Guard(config.password_file)

    async def run(self) -> None:
        """Serve until cancelled; a port that is taken is told, and tried again."""
        if self._config.listen == OFF:
            await asyncio.Event().wait()
        while True:
            try:
                await asyncio.to_thread(self._guard.load)
                await asyncio.to_thread(self._issue_token)
                await self._serve()
            except (OSError, PasswordError) as error:
                self._troubles.report(_not_served(self._config.listen, error))
            await asyncio.sleep(RETRY_S)

    def _issue_token(self) -> None:
        """For commands on this machine; where the disk takes none they do without."""
        if self._guard.is_open:
            return
        try:
            self._guard.token = token.issue(self._status.reloader.config.gateway.data_dir)
        except OSError as error:
            self._guard.token = ""
            _log.info("no token for commands on this machine", error=str(error))

    async def _serve(self) -> None:
        listen = parse(self._config.listen)
        context = await asyncio.to_thread(self._tls)
        runner = web.AppRunner(
            self._app(), access_log=None, handle_signals=False, keepalive_timeout=15.0, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, listen.host, listen.port, ssl_context=context)
            await site.start()
            host, port = runner.addresses[0][:2]
            name = f"[{host}]" if ":" in host else host
            self._status.page_url = f"{'https' if context else 'http'}://{name}:{port}/"
            self._troubles.clear(SUBJECT)
            _log.info("page served", url=self._status.page_url)
            await asyncio.Event().wait()
        finally:
            self._status.page_url = ""
            await runner.cleanup()

    def _tls(self) -> ssl.SSLContext | None:
        if self._config.cert_file is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._config.cert_file, self._config.key_file, password="")
        return context

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard.middleware], client_max_size=_MOST_BODY_BYTES)
        app.router.add_get("/", self._view("overview", self._overview))
        app.router.add_get("/devices/{device:.+}", self._view("device", self._device))
        app.router.add_get("/sent", self._view("sent", self._sent))
        app.router.add_get("/login", self._login_form)
        app.router.add_post("/login", self._log_in)
        app.router.add_post("/logout", self._log_out)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/api/status", self._api_status)
        app.router.add_get("/api/values/{device:.+}", self._api_values)
        app.router.add_get("/api/sent", self._api_sent)
        app.router.add_post("/api/retry", self._retry)
        app.router.add_static("/static/", Path(__file__).parent / "static", show_index=False, follow_symlinks=False)
        return app

    # What a person sees -------------------------------------------------------------------------

    def _view(self, name: str, content: Callable[[web.Request], Awaitable[dict[str, Any] | None]]) -> Any:
        """A handler of a page: whole as HTML, or only its changing part as JSON for the refresh."""

        async def handle(request: web.Request) -> web.StreamResponse:
            language, found = language_of(request), await content(request)
            if found is None:
                return problem("no-such-device")
            if "part" in request.query:
                html = await asyncio.to_thread(_rendered, name, language, whole=False, **found)
                return web.json_response({"html": html})
            frame = {"site": found["s"]["gateway"], "guarded": not self._guard.is_open, "path": request.path}
            html = await asyncio.to_thread(_rendered, name, language, **frame, **found)
            return _html(html, language)

        return handle

    async def _overview(self, request: web.Request) -> dict[str, Any]:
        retried = request.query.get("retried", "")
        return {"s": self._status.summary(), "retried": int(retried) if retried.isdecimal() else None}

    async def _device(self, request: web.Request) -> dict[str, Any] | None:
        summary, device = self._status.summary(), request.match_info["device"]
        found = next((d for d in summary["devices"] if d["id"] == device), None)
        if found is None:
            return None
        links = [k["link"] for k in summary["links"] if found["entry"] in k["entries"]]
        beginnings = tuple(f"{link}/" for link in links)  # a port that begins like another is another
        troubles = [
            t
            for t in summary["troubles"]
            if t["subject"].split("/", 1)[0] == found["entry"] or f"{t['subject']}/".startswith(beginnings)
        ]
        return {"s": summary, "d": found, "troubles": troubles, "values": self._values(device)}

    async def _sent(self, request: web.Request) -> dict[str, Any]:
        sent = await asyncio.to_thread(self._status.uplink.last_sent.decoded)
        return {"s": self._status.summary(), "sent": sent}

    def _values(self, device: str) -> list[dict[str, Any]]:
        now_ns = self._status.clock()
        return [
            {
                "tag": v.tag.name,
                "unit": v.tag.unit,
                "value": _shown(v),
                "quality": "none" if v.quality is None else Quality(v.quality).name.lower(),
                "age_s": round((now_ns - v.received_ns) / 1e9, 1) if v.received_ns else None,
                "source_ns": v.source_ns,
                "received_ns": v.received_ns,
            }
            for v in self._status.intake.last_values.of(device)
        ]

    async def _login_form(self, request: web.Request) -> web.StreamResponse:
        if self._guard.is_open or self._guard.knows(request.cookies.get(COOKIE, "")):
            raise web.HTTPSeeOther(_inside(request.query.get("next", "/")))
        return await self._form(request, _inside(request.query.get("next", "/")))

    async def _form(self, request: web.Request, target: str, refusal: str = "", status: int = 200) -> web.Response:
        language = language_of(request)
        html = await asyncio.to_thread(
            _rendered,
            "login",
            language,
            site=self._status.reloader.config.site,
            guarded=False,
            path=request.path,
            target=target,
            refusal=refusal,
        )
        return _html(html, language, status)

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        target = _inside(str(form.get("next", "/")))
        try:
            token = await self._guard.log_in(str(form.get("password", "")), request.remote or "")
        except WaitError as wait:
            answer = await self._form(request, target, "too_many", 429)
            answer.headers["Retry-After"] = str(int(wait.after_s) + 1)
            return answer
        if token is None:
            return await self._form(request, target, "wrong_password", 401)
        arrived = web.Response(status=303, headers={"Location": target})
        arrived.set_cookie(
            COOKIE, token, max_age=int(SESSION_S), httponly=True, samesite="Strict", secure=request.secure, path="/"
        )
        return arrived

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        self._guard.log_out(request.cookies.get(COOKIE, ""))
        left = web.Response(status=303, headers={"Location": "/login"})
        left.del_cookie(COOKIE, path="/")
        return left

    # What programs ask --------------------------------------------------------------------------

    async def _health(self, request: web.Request) -> web.Response:
        stalls = self._status.health.stalls()
        return web.json_response(
            {"status": "stalled" if stalls else "alive", "stalled": [as_json(t) for t in stalls]},
            status=503 if stalls else 200,
        )

    async def _ready(self, request: web.Request) -> web.Response:
        reasons = self._status.health.reasons()
        return web.json_response(
            {"ready": not reasons, "reasons": [as_json(t) for t in reasons]}, status=503 if reasons else 200
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        text = metrics.exposition(self._status.summary())
        return web.Response(body=text.encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _api_status(self, request: web.Request) -> web.Response:
        return web.json_response(self._status.summary())

    async def _api_values(self, request: web.Request) -> web.Response:
        device = request.match_info["device"]
        if device not in {d.id for d in self._status.windows.presence(self._status.clock())}:
            return problem("no-such-device")
        return web.json_response(self._values(device))

    async def _api_sent(self, request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._status.uplink.last_sent.decoded))

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        """Try again now what waits: `device` names a device or an entry, blank all. Nothing is written to a machine."""
        form = await request.post()
        retried = self._links.retry(str(form.get("device", "")))
        if "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther(f"/?retried={retried}")
        return web.json_response({"retried": retried})


def _rendered(name: str, language: Language, *, whole: bool = True, **content: Any) -> str:
    """HTML of a page, or of its changing part. Templates are loaded when somebody first looks, not before."""
    from gateway.page import render

    return (render.page if whole else render.part)(name, language, **content)


def _html(html: str, language: Language, status: int = 200) -> web.Response:
    response = web.Response(text=html, content_type="text/html", status=status)
    response.set_cookie(LANGUAGE_COOKIE, language, max_age=_LANGUAGE_S, samesite="Strict", path="/")
    return response


def _inside(target: str) -> str:
    """A path of this page: never another site's address."""
    return quote(target, safe="/?=&%-_.~") if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"


def _not_served(listen: str, error: Exception) -> Trouble:
    cause = cause_of(error)
    return Trouble(
        SUBJECT,
        "page_not_served",
        f"本地页面无法在 {listen} 打开（{cause.zh}）。采集和上报不受影响。",
        f"the local page cannot be served at {listen} ({cause.en}). Reading and sending go on.",
        "请改 gateway.page.listen，或检查密码文件和证书。",
        "Change gateway.page.listen, or check password file and certificate.",
    )


def _shown(last: LastValue) -> float | StateName | None:
    """A value as commands show it too: a state by its name."""
    if last.value is None or last.tag.role is not Role.STATE:
        return last.value
    return STATE_NAMES.get(int(last.value), "unknown")
