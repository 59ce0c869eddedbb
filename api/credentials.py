"""Gateways' credentials: issued once, kept as a hash, looked up for every request."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from api.clock import Clock
from api.problems import ProblemError
from api.register.audit import write_audit
from api.register.database import writing
from api.register.models import GatewayCredential

_REFRESH_S: Final = 10.0
"""A credential that another process revoked is good for at most this long."""
_MISS_REFRESH_S: Final = 1.0
_WAIT_S: Final = 1.0
"""A request waits so long for the register to be read; then what was known before counts."""
_PREFIX: Final = "ppg_"

log = structlog.get_logger(__name__)


def digest_of(secret: str) -> str:
    """What is stored of a credential, or of a one-time code."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_credential(connection: Connection, gateway: str, now_ns: int, *, hardware: str = "") -> str:
    """A new credential of a gateway, in a transaction of the caller's. It is shown once."""
    credential = _PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        insert(GatewayCredential).values(
            digest=digest_of(credential), gateway=gateway, issued_ns=now_ns, hardware=hardware
        )
    )
    return credential


def issue(engine: Engine, gateway: str, now_ns: int, actor: str = "cli") -> str:
    """A new credential of a gateway; those before it stop to be valid, but for those of replaced hardware."""
    c = GatewayCredential
    with writing(engine) as connection:
        connection.execute(
            update(c)
            .where(c.gateway == gateway, c.revoked_ns.is_(None), c.hand_over_s.is_(None))
            .values(revoked_ns=now_ns)
        )
        credential = add_credential(connection, gateway, now_ns)
        write_audit(connection, now_ns, actor, "gateway.credential", gateway)
    return credential


def first_use(engine: Engine, digest: str, now_ns: int) -> None:
    """A credential was used for the first time: those that it follows end. Doing it twice changes nothing."""
    c = GatewayCredential
    with writing(engine) as connection:
        row = connection.execute(
            select(c.gateway, c.issued_ns, c.hand_over_s).where(c.digest == digest, c.first_used_ns.is_(None))
        ).one_or_none()
        if row is None:
            return
        connection.execute(update(c).where(c.digest == digest).values(first_used_ns=now_ns))
        if row.hand_over_s is not None:
            return
        ended = connection.execute(
            update(c)
            .where(
                c.gateway == row.gateway,
                c.digest != digest,
                c.issued_ns <= row.issued_ns,
                c.revoked_ns.is_(None),
                c.hand_over_s.is_(None),
            )
            .values(revoked_ns=now_ns)
        ).rowcount
        write_audit(connection, now_ns, row.gateway, "gateway.credential-used", row.gateway, f"ended: {ended}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential stands for, whether it is still good or not."""

    digest: str
    gateway: str
    issued_ns: int
    revoked: bool
    used: bool
    hand_over_s: int | None
    """Rows that start from here on are not taken: other hardware took over. None: nobody did."""
    hardware: str


class Credentials:
    """All credentials in memory, read again every 10 s, and (at most once a second) when one is not known.

    The register is read beside the event loop. While it is away, what was known before counts.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._grants: dict[str, Grant] = {}
        self._digests: dict[str, list[str]] = {}
        """Of each gateway, the latest first."""
        self._read_at_s = self._tried_at_s = -_REFRESH_S
        self._reading: Future[None] | None = None
        self.error = ""
        """Why the register could not be read at the last try; blank where it could."""
        # the register may be busy, or away, for seconds: whoever waits for it is not the event loop
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="credentials-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="credentials")

    def close(self) -> None:
        """Write what waits."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._writer.shutdown(wait=True)

    def grant(self, credential: str) -> Grant | None:
        """What a credential stands for as far as is known, revoked ones included; None for one that is not."""
        found = self._grants.get(digest_of(credential))
        if found is not None and not found.revoked and not found.used:
            found = self._use(found)
        return found

    async def valid(self, credential: str) -> Grant:
        """What a valid credential stands for.

        Raises ProblemError `gateway-unknown`, `gateway-revoked`; `busy` where it is not known and the register is away.
        """
        if credential and self._is_due(digest_of(credential)):
            if self._reading is None or self._reading.done():
                self._reading = self._reader.submit(self._try_to_read)
            await asyncio.wait({asyncio.wrap_future(self._reading)}, timeout=_WAIT_S)
        found = self.grant(credential) if credential else None
        if found is None and credential and (self.error or (self._reading is not None and not self._reading.done())):
            raise ProblemError("busy", "the register does not answer", {"retry-after": str(round(_REFRESH_S))})
        if found is None or found.revoked:
            code, detail = ("gateway-unknown", "") if found is None else ("gateway-revoked", found.gateway)
            raise ProblemError(code, detail, {"www-authenticate": "Bearer"})
        return found

    def _is_due(self, digest: str) -> bool:
        """Whether the register is to be read before a credential is judged."""
        now_s = self._clock.monotonic_s()
        age_s = now_s - self._read_at_s
        if age_s >= _REFRESH_S:
            return not self.error or now_s - self._tried_at_s >= _MISS_REFRESH_S
        return age_s >= _MISS_REFRESH_S and digest not in self._grants

    def _try_to_read(self) -> None:
        try:
            self.read()
            self.error = ""
        except SQLAlchemyError as error:
            if not self.error:
                log.error("credentials_not_read", error=str(error))
            self._tried_at_s = self._clock.monotonic_s()
            self.error = type(error).__name__

    def of(self, gateway: str) -> list[Grant]:
        """All that a gateway ever had, the latest first."""
        return [self._grants[digest] for digest in self._digests.get(gateway, ())]

    def known(self) -> set[str]:
        """Gateways that have a valid credential."""
        return {g.gateway for g in list(self._grants.values()) if not g.revoked}

    def read(self) -> None:
        """Read the register now."""
        c = GatewayCredential
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(
                    c.digest, c.gateway, c.issued_ns, c.revoked_ns, c.first_used_ns, c.hand_over_s, c.hardware
                ).order_by(c.issued_ns.desc())
            ).all()
        digests: dict[str, list[str]] = {}
        for r in rows:
            digests.setdefault(r.gateway, []).append(r.digest)
        grants = {
            r.digest: Grant(
                r.digest,
                r.gateway,
                r.issued_ns,
                r.revoked_ns is not None,
                r.first_used_ns is not None,
                r.hand_over_s,
                r.hardware,
            )
            for r in rows
        }
        # one after the other: `of` runs on other threads and must find the grant of every digest
        self._grants = grants
        self._digests = digests
        self._read_at_s = self._clock.monotonic_s()

    def _use(self, grant: Grant) -> Grant:
        """Take note of a first use: at once in memory, then in the register."""
        grant = self._grants[grant.digest] = replace(grant, used=True)
        if grant.hand_over_s is None:
            for other in self.of(grant.gateway):
                follows = other.digest != grant.digest and other.issued_ns <= grant.issued_ns
                if follows and other.hand_over_s is None:
                    self._grants[other.digest] = replace(other, revoked=True)
        self._writer.submit(self._write_use, grant.digest, self._clock.now_ns())
        return grant

    def _write_use(self, digest: str, now_ns: int) -> None:
        try:
            first_use(self._engine, digest, now_ns)
        except SQLAlchemyError as error:  # the next request after a refresh tries again
            log.error("credential_use_not_written", error=str(error))
