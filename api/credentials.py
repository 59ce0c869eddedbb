"""Gateways' credentials: issued once, kept as a hash, looked up for every request."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from sqlalchemy import Engine, insert, select, update

from api.clock import Clock
from api.register.audit import write_audit
from api.register.database import writing
from api.register.models import GatewayCredential

_REFRESH_S: Final = 30.0
_MISS_REFRESH_S: Final = 1.0
_PREFIX: Final = "ppg_"


def digest_of(credential: str) -> str:
    """What is stored of a credential."""
    return hashlib.sha256(credential.encode()).hexdigest()


def issue(engine: Engine, gateway: str, now_ns: int, actor: str = "cli") -> str:
    """A new credential of a gateway; those before it stop to be valid. It is shown once."""
    credential = _PREFIX + secrets.token_urlsafe(32)
    with writing(engine) as connection:
        connection.execute(
            update(GatewayCredential)
            .where(GatewayCredential.gateway == gateway, GatewayCredential.revoked_ns.is_(None))
            .values(revoked_ns=now_ns)
        )
        connection.execute(
            insert(GatewayCredential).values(digest=digest_of(credential), gateway=gateway, issued_ns=now_ns)
        )
        write_audit(connection, now_ns, actor, "gateway.credential", gateway)
    return credential


class Credentials:
    """Valid credentials in memory, read again every 30 s, and (at most once a second) when one is not known."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._gateways: dict[str, str] = {}
        self._read_at_s = -_REFRESH_S

    def gateway(self, credential: str) -> str | None:
        """The gateway that a credential belongs to."""
        digest = digest_of(credential)
        age_s = self._clock.monotonic_s() - self._read_at_s
        if age_s >= _REFRESH_S or (age_s >= _MISS_REFRESH_S and digest not in self._gateways):
            self._read()
        return self._gateways.get(digest)

    def known(self) -> set[str]:
        """Gateways that have a valid credential."""
        return set(self._gateways.values())

    def _read(self) -> None:
        c = GatewayCredential
        with self._engine.connect() as connection:
            found = connection.execute(select(c.digest, c.gateway).where(c.revoked_ns.is_(None))).all()
        self._gateways = {digest: gateway for digest, gateway in found}  # noqa: C416 (rows, not tuples)
        self._read_at_s = self._clock.monotonic_s()
