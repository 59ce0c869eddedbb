"""Who may see the page: this machine alone, or whoever knows the password; never another site's script."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import web

from gateway.page import passwords
from gateway.page.problems import problem
from gateway.page.texts import language_of
from gateway.supervision import name_of

COOKIE: Final = "plantpulse-page"
SESSION_S: Final = 12 * 3600.0
MOST_SESSIONS: Final = 50
FAILURES_EACH: Final = 5
"""Wrong passwords from one address within `FAILURES_S`; then it waits."""
FAILURES_ALL: Final = 20
FAILURES_S: Final = 60.0
PUBLIC: Final = frozenset({"/health", "/ready", "/login"})
"""What anybody may ask who reaches the port; files under /static/ too."""
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_log = structlog.get_logger("gateway")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WaitError(Exception):
    """Too many wrong passwords: try again in `after_s`."""

    def __init__(self, after_s: float) -> None:
        super().__init__(after_s)
        self.after_s = after_s


class Guard:
    """Sessions, the limit on guessing, and the checks before every request."""

    def __init__(self, password_file: Path | None, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._file, self._monotonic_s = password_file, monotonic_s
        self._hash = ""
        self._sessions: dict[str, float] = {}
        """When each ends, by the SHA-256 of its token, oldest first."""
        self._failures: deque[tuple[float, str]] = deque(maxlen=FAILURES_ALL)
        self._one_at_a_time = asyncio.Lock()
        self._key = secrets.token_bytes(32)
        self._logged = ""
        self._basic = b""
        """A mark of the last good Basic header, so that a scrape every few seconds costs no hash."""
        self.token = ""
        """What a command on this machine shows instead of the password; blank: nothing."""

    @property
    def is_open(self) -> bool:
        """Whether no password is set: then only this machine is served."""
        return self._file is None

    def load(self) -> None:
        """Read the password file; another password ends every session. Raises PasswordError, OSError."""
        if self._file is None:
            return
        line = passwords.read(self._file)
        if line != self._hash:
            self._hash, self._basic = line, b""
            self._sessions.clear()

    async def log_in(self, password: str, address: str) -> str | None:
        """A new session's token; None for a wrong password. Raises WaitError, PasswordError, OSError."""
        if not await self._is_right(password, address):
            return None
        token = secrets.token_urlsafe(32)
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_digest(token)] = self._monotonic_s() + SESSION_S
        return token

    def log_out(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(token), None)

    def knows(self, token: str) -> bool:
        """Whether a token belongs to a session that has not ended."""
        return self._sessions.get(_digest(token), 0.0) > self._monotonic_s()

    async def _is_right(self, password: str, address: str) -> bool:
        async with self._one_at_a_time:
            self._may_try(address)
            await asyncio.to_thread(self.load)
            if await asyncio.to_thread(passwords.fits, password, self._hash):
                return True
            self._failures.append((self._monotonic_s(), address))
            if sum(a == address for _, a in self._failures) == FAILURES_EACH:
                _log.warning("page login refused", address=address, failures=FAILURES_EACH)
            return False

    def _may_try(self, address: str) -> None:
        now_s = self._monotonic_s()
        while self._failures and self._failures[0][0] <= now_s - FAILURES_S:
            self._failures.popleft()
        own = [at_s for at_s, known in self._failures if known == address]
        if len(own) >= FAILURES_EACH:
            raise WaitError(own[0] + FAILURES_S - now_s)
        if len(self._failures) >= FAILURES_ALL:
            raise WaitError(self._failures[0][0] + FAILURES_S - now_s)

    async def _may_see(self, request: web.Request) -> bool:
        if self.is_open or request.path in PUBLIC or request.path.startswith("/static/"):
            return True
        if self.knows(request.cookies.get(COOKIE, "")):
            return True
        return self._token_fits(request) or await self._basic_fits(request)

    def _token_fits(self, request: web.Request) -> bool:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        return (
            kind.lower() == "bearer" and bool(self.token) and hmac.compare_digest(given.encode(), self.token.encode())
        )

    async def _basic_fits(self, request: web.Request) -> bool:
        """Basic authentication, for programs: the page never asks a browser for it. The user name is any."""
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return False
        mark = hmac.digest(self._key, given.encode(), "sha256")
        if self._basic and hmac.compare_digest(mark, self._basic):
            return True
        try:
            _, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        if not await self._is_right(password, request.remote or ""):
            return False
        self._basic = mark
        return True

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what may not be seen; put the protecting headers on everything."""
        response = await self._answer(request, handler)
        response.headers.update(_HEADERS)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.is_open and _host_name(request) not in _LOCAL:
            return problem("not-local")  # a name that a foreign site made point here
        if request.method not in ("GET", "HEAD") and not _same_origin(request):
            return problem("other-origin")
        try:
            if not await self._may_see(request):
                if "text/html" in request.headers.get("Accept", ""):
                    raise web.HTTPSeeOther(f"/login?next={quote(request.path_qs, safe='')}&lang={language_of(request)}")
                return problem("not-signed-in")
            return await handler(request)
        except WaitError as wait:
            return problem("too-many-logins", headers={"Retry-After": str(int(wait.after_s) + 1)})
        except passwords.PasswordError as error:
            return problem("password-file", str(error))
        except web.HTTPException as answer:
            if answer.status < 400:
                answer.headers.update(_HEADERS)
                raise
            return problem("not-found" if answer.status == 404 else "not-possible", f"{answer.status} {answer.reason}")
        except Exception as error:  # noqa: BLE001 (a mistake of ours on the page is told, and stays on the page)
            if name_of(error) != self._logged:
                self._logged = name_of(error)
                _log.exception("page failed", path=request.path)
            return problem("failed", name_of(error))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _host_name(request: web.Request) -> str:
    return urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""


def _same_origin(request: web.Request) -> bool:
    """Whether no other site made a browser send this. Programs that are no browsers send neither header."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("Host")
