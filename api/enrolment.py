"""How a gateway comes by its credential, changes it, loses it, and hands its place to other hardware.

A gateway is a *place* in a plant: its name is part of every record's key and of every binding, and it stays when the
hardware changes. What changes is the credential. The one of replaced hardware lives on with a hand-over time: what was
recorded before it is still taken, nothing newer.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from api.credentials import Grant, add_credential, digest_of
from api.problems import ProblemError
from api.register.audit import write_audit
from api.register.database import writing
from api.register.models import EnrolmentCode, GatewayCredential
from gateway.wire import Enroll
from metrics.record import MAX_WINDOW_S, MIN_WINDOW_S

NS_PER_S: Final = 1_000_000_000
DEFAULT_HOURS: Final = 72.0
KEPT_S: Final = 90 * 86_400
"""How long a code that is over is remembered, so that a person hears that it is over and not that it never was."""
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter that is mistaken for a digit on the phone."""
_SIGNS: Final = 16
_GROUP: Final = 4
_LOOKS_ALIKE: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_MAX_HARDWARE: Final = 200


def make_code(engine: Engine, gateway: str, now_ns: int, hours: float = DEFAULT_HOURS, actor: str = "cli") -> str:
    """A one-time code for a gateway, as `XXXX-XXXX-XXXX-XXXX`; codes before it that nobody used are over."""
    signs = "".join(secrets.choice(_ALPHABET) for _ in range(_SIGNS))
    c = EnrolmentCode
    with writing(engine) as connection:
        connection.execute(delete(c).where(c.expires_ns < now_ns - KEPT_S * NS_PER_S))
        _withdraw_codes(connection, gateway, now_ns)
        expires_ns = now_ns + int(hours * 3600) * NS_PER_S
        connection.execute(
            insert(c).values(digest=digest_of(signs), gateway=gateway, issued_ns=now_ns, expires_ns=expires_ns)
        )
        write_audit(connection, now_ns, actor, "gateway.code", gateway, f"hours: {hours:g}")
    return "-".join(signs[i : i + _GROUP] for i in range(0, _SIGNS, _GROUP))


def redeem(engine: Engine, message: Enroll, now_ns: int) -> tuple[str, str, int]:
    """Take a code: (gateway, its credential, hand-over in s UTC or 0).

    Raises ProblemError `code-unknown`, `code-used`, `code-expired`, `gateway-enrolled`, `bad-message`; then the code
    is as good as before.
    """
    _check(message)
    with writing(engine) as connection:
        code = _find_code(connection, message.code)
        if code is None:
            raise ProblemError("code-unknown")
        if code.used_ns is not None or code.withdrawn_ns is not None:
            raise ProblemError("code-used")
        if code.expires_ns <= now_ns:
            raise ProblemError("code-expired")
        gateway: str = code.gateway
        hand_over_s = _make_room(connection, gateway, message, now_ns)
        credential = add_credential(connection, gateway, now_ns, hardware=message.hardware)
        c = EnrolmentCode
        connection.execute(update(c).where(c.digest == code.digest).values(used_ns=now_ns))
        action = "gateway.replace" if message.replace else "gateway.enroll"
        detail = f"hardware: {message.hardware}; hand-over: {hand_over_s}" if hand_over_s else message.hardware
        write_audit(connection, now_ns, gateway, action, gateway, detail)
    return gateway, credential, hand_over_s


def rotate(engine: Engine, grant: Grant, now_ns: int) -> str:
    """A new credential for one that is valid, which stays so until the new one is used.

    Raises ProblemError `gateway-replaced` for replaced hardware, `gateway-revoked` where it was revoked meanwhile.
    """
    c = GatewayCredential
    with writing(engine) as connection:
        now = connection.execute(select(c.revoked_ns, c.hand_over_s).where(c.digest == grant.digest)).one_or_none()
        if now is None or now.revoked_ns is not None:
            raise ProblemError("gateway-revoked")
        if now.hand_over_s is not None:
            raise ProblemError("gateway-replaced")
        # whoever asks with it uses it, though that may not be written yet
        _end_unused(connection, grant.gateway, now_ns, but=grant.digest)
        credential = add_credential(connection, grant.gateway, now_ns, hardware=grant.hardware)
        write_audit(connection, now_ns, grant.gateway, "gateway.rotate", grant.gateway)
    return credential


def revoke(engine: Engine, gateway: str, now_ns: int, *, replaced_only: bool = False, actor: str = "cli") -> int:
    """End a gateway's credentials and codes, or only those of replaced hardware; how many credentials were ended."""
    c = GatewayCredential
    which = [c.gateway == gateway, c.revoked_ns.is_(None)]
    if replaced_only:
        which.append(c.hand_over_s.is_not(None))
    with writing(engine) as connection:
        ended: int = connection.execute(update(c).where(*which).values(revoked_ns=now_ns)).rowcount
        if not replaced_only:
            _withdraw_codes(connection, gateway, now_ns)
        detail = f"{'replaced hardware; ' if replaced_only else ''}ended: {ended}"
        write_audit(connection, now_ns, actor, "gateway.revoke", gateway, detail)
    return ended


def _check(message: Enroll) -> None:
    if not MIN_WINDOW_S <= message.window_s <= MAX_WINDOW_S or MAX_WINDOW_S % message.window_s:
        raise ProblemError("bad-message", f"window_s {message.window_s}: expected a divisor of {MAX_WINDOW_S}")
    if len(message.hardware) > _MAX_HARDWARE or not (message.hardware == "" or message.hardware.isprintable()):
        raise ProblemError("bad-message", f"hardware: expected at most {_MAX_HARDWARE} printable signs")


def _find_code(connection: Connection, given: str) -> Row[tuple[EnrolmentCode]] | None:
    """The row of a code. Every row is compared, each in constant time: how long it takes tells nothing of them."""
    digest = digest_of(given.upper().translate(_LOOKS_ALIKE))
    found = None
    for row in connection.execute(select(EnrolmentCode.__table__)):
        if hmac.compare_digest(row.digest, digest):
            found = row
    return found


def _make_room(connection: Connection, gateway: str, message: Enroll, now_ns: int) -> int:
    """Prepare the credentials that a new one follows; the hand-over in s UTC, 0 where nobody hands over."""
    c = GatewayCredential
    current = [c.gateway == gateway, c.revoked_ns.is_(None), c.hand_over_s.is_(None)]
    if message.replace:
        hand_over_s = (now_ns // NS_PER_S // message.window_s + 1) * message.window_s
        replaced = connection.execute(update(c).where(*current).values(hand_over_s=hand_over_s)).rowcount
        return hand_over_s if replaced else 0
    used = connection.execute(select(c.hardware).where(*current, c.first_used_ns.is_not(None))).scalars()
    foreign = [name for name in used if name and message.hardware and name != message.hardware]
    if foreign:
        raise ProblemError("gateway-enrolled", f"{gateway}: {foreign[0]}")
    _end_unused(connection, gateway, now_ns)
    return 0


def _end_unused(connection: Connection, gateway: str, now_ns: int, but: str = "") -> None:
    """A new credential follows: one that was never used is not needed any more, `but` for that of a digest."""
    c = GatewayCredential
    connection.execute(
        update(c)
        .where(
            c.gateway == gateway,
            c.digest != but,
            c.revoked_ns.is_(None),
            c.first_used_ns.is_(None),
            c.hand_over_s.is_(None),
        )
        .values(revoked_ns=now_ns)
    )


def _withdraw_codes(connection: Connection, gateway: str, now_ns: int) -> None:
    c = EnrolmentCode
    connection.execute(
        update(c).where(c.gateway == gateway, c.used_ns.is_(None), c.withdrawn_ns.is_(None)).values(withdrawn_ns=now_ns)
    )
