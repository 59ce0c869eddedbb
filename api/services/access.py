"""Who may read what: signing in, sessions on the server's side, roles."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass
from functools import cache
from typing import Final, cast

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Engine, delete, insert, select, update

from api.clock import Clock, moment
from api.problems import ProblemError
from api.register.audit import write_audit
from api.register.database import writing
from api.register.models import SessionRow, User
from api.schemas import Role, Session

MAX_FAILURES: Final = 5
LOCK_S: Final = 15 * 60
MIN_PASSWORD: Final = 10
_NS: Final = 1_000_000_000
_CACHE_S: Final = 5.0


class UserError(ValueError):
    """A user that cannot be made; the text says why, in Chinese and English."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Someone who is signed in."""

    session: Session
    token_digest: str

    @property
    def role(self) -> Role:
        """The reader's role."""
        return self.session.role

    @property
    def enterprise(self) -> str | None:
        """The only enterprise that the reader sees; None: all."""
        return self.session.enterprise

    def may_see(self, credit_code: str) -> bool:
        """Whether an enterprise's data may be shown."""
        return self.session.enterprise is None or self.session.enterprise == credit_code


def add_user(
    engine: Engine, username: str, role: Role, password: str, enterprise: str | None, now_ns: int, actor: str = "cli"
) -> None:
    """Make a user, or give one a new password and role. Raises UserError."""
    if not 0 < len(username) <= 64 or not username.isprintable():
        raise UserError("用户名应为 1–64 字 a user name has 1 to 64 signs")
    if len(password) < MIN_PASSWORD:
        raise UserError(f"密码至少 {MIN_PASSWORD} 位 a password has at least {MIN_PASSWORD} signs")
    if (role == "enterprise") != (enterprise is not None):
        raise UserError("企业角色（且仅该角色）须写明企业代码 the role enterprise, and only it, needs an enterprise")
    values = {
        "role": role,
        "credit_code": enterprise,
        "password_hash": PasswordHasher().hash(password),
        "failures": 0,
        "locked_until_ns": 0,
    }
    with writing(engine) as connection:
        done = connection.execute(update(User).where(User.username == username).values(**values))
        if done.rowcount == 0:
            connection.execute(insert(User).values(username=username, created_ns=now_ns, **values))
        connection.execute(delete(SessionRow).where(SessionRow.username == username))
        write_audit(connection, now_ns, actor, "user.set", username, f"role {role}")


class Access:
    """Sessions of the portal's readers."""

    def __init__(self, engine: Engine, clock: Clock, session_hours: float) -> None:
        self._engine = engine
        self._clock = clock
        self._session_ns = int(session_hours * 3600 * _NS)
        self._hasher = PasswordHasher()
        self._cache: dict[str, tuple[float, Reader | None]] = {}
        self._lock = threading.Lock()

    def sign_in(self, username: str, password: str) -> tuple[str, Session]:
        """A session's token, and who it is. Raises ProblemError `wrong-password` or `locked-out`."""
        now_ns = self._clock.now_ns()
        with self._engine.connect() as connection:
            user = connection.execute(
                select(User.role, User.credit_code, User.password_hash, User.locked_until_ns).where(
                    User.username == username
                )
            ).one_or_none()
        if user is not None and user.locked_until_ns > now_ns:
            raise ProblemError("locked-out", headers={"retry-after": str((user.locked_until_ns - now_ns) // _NS + 1)})
        # a name that is not known is checked too, so that the answer takes as long
        good = self._verify(_nobody() if user is None else user.password_hash, password) and user is not None
        if not good or user is None:
            self._failed(username, now_ns)
            raise ProblemError("wrong-password")
        token = secrets.token_urlsafe(32)
        expires_ns = now_ns + self._session_ns
        with writing(self._engine) as connection:
            connection.execute(delete(SessionRow).where(SessionRow.expires_ns <= now_ns))
            connection.execute(
                insert(SessionRow).values(digest=_digest(token), username=username, expires_ns=expires_ns)
            )
            connection.execute(update(User).where(User.username == username).values(failures=0, locked_until_ns=0))
            write_audit(connection, now_ns, username, "session.sign-in", username)
        session = Session(
            username=username,
            role=cast(Role, user.role),
            enterprise=user.credit_code,
            expires_at=moment(expires_ns),
        )
        return token, session

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def _failed(self, username: str, now_ns: int) -> None:
        with writing(self._engine) as connection:
            failures = connection.execute(
                select(User.failures).where(User.username == username).with_for_update()
            ).scalar()
            if failures is None:
                return
            failures += 1
            locked = failures >= MAX_FAILURES
            connection.execute(
                update(User)
                .where(User.username == username)
                .values(failures=0 if locked else failures, locked_until_ns=now_ns + LOCK_S * _NS if locked else 0)
            )
            write_audit(connection, now_ns, username, "session.locked" if locked else "session.failed", username)

    def reader(self, token: str) -> Reader | None:
        """Who a token belongs to; None when it is not valid (any more)."""
        return self._reader(_digest(token)) if token else None

    def remembers(self, token: str) -> bool:
        """Whether `reader` answers without asking the database."""
        with self._lock:
            cached = self._cache.get(_digest(token))
        return not token or (cached is not None and self._clock.monotonic_s() - cached[0] < _CACHE_S)

    def still_valid(self, reader: Reader) -> bool:
        """Whether a reader is still signed in."""
        return self._reader(reader.token_digest) is not None

    def _reader(self, digest: str) -> Reader | None:
        now_s = self._clock.monotonic_s()
        now_ns = self._clock.now_ns()
        with self._lock:
            cached = self._cache.get(digest)
        if cached is not None and now_s - cached[0] < _CACHE_S:
            found = cached[1]
        else:
            found = self._load(digest)
            with self._lock:
                if len(self._cache) > 10_000:
                    self._cache.clear()
                self._cache[digest] = (now_s, found)
        return None if found is None or found.session.expires_at <= moment(now_ns) else found

    def _load(self, digest: str) -> Reader | None:
        with self._engine.connect() as connection:
            row = connection.execute(
                select(SessionRow.expires_ns, User.username, User.role, User.credit_code)
                .join(User, User.username == SessionRow.username)
                .where(SessionRow.digest == digest)
            ).one_or_none()
        if row is None:
            return None
        session = Session(
            username=row.username,
            role=cast(Role, row.role),
            enterprise=row.credit_code,
            expires_at=moment(row.expires_ns),
        )
        return Reader(session, digest)

    def sign_out(self, token: str) -> None:
        """End a session."""
        digest = _digest(token)
        with writing(self._engine) as connection:
            connection.execute(delete(SessionRow).where(SessionRow.digest == digest))
        with self._lock:
            self._cache.pop(digest, None)


@cache
def _nobody() -> str:
    """The hash of a password that nobody has."""
    return PasswordHasher().hash(secrets.token_urlsafe(16))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
