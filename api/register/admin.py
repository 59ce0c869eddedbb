"""What the administrator does to the register from the command line, beside a running service or without one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast, get_args

from sqlalchemy import Engine, select

from api.clock import moment
from api.credentials import issue
from api.enrolment import make_code, revoke
from api.register.csv_read import Known
from api.register.database import migrate, open_register, require_register
from api.register.importer import Imported, import_folder
from api.register.models import EnrolmentCode, Gateway, GatewayCredential
from api.schemas import Role
from api.services.access import UserError, add_user
from api.services.plans import Plans
from api.settings import Settings

ROLES: Final[tuple[str, ...]] = get_args(Role)
"""What a user may be."""
_GATEWAY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class AdminError(ValueError):
    """What cannot be done; the text says why, in Chinese and English."""


@contextmanager
def register_of(settings: Settings, *, must_exist: bool = False) -> Iterator[Engine]:
    """The register of the settings, migrated; made where it is not there, unless it `must_exist`.

    Raises RegisterMissingError, sqlalchemy.exc.SQLAlchemyError.
    """
    if must_exist:
        require_register(settings.register_address)
    engine = open_register(settings.register_address)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def load_register(settings: Settings, folder: Path, now_ns: int) -> Imported:
    """Load a folder of CSV files. Raises RegisterImportError; then nothing was changed."""
    plan = Plans(settings.plans_dir, settings.plan).current
    known = Known(frozenset(plan.industries), frozenset(plan.zones))
    with register_of(settings) as engine:
        return import_folder(engine, folder, known, now_ns, "cli")


def set_user(
    settings: Settings, name: str, role: str, password_file: Path, enterprise: str | None, now_ns: int
) -> None:
    """Add a user or set it anew. Raises AdminError."""
    if role not in ROLES:
        raise AdminError(f"role={role}: 应为 expected one of {', '.join(ROLES)}")
    try:
        password = password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AdminError(f"{password_file}: 无法读取 cannot be read: {error}") from error
    with register_of(settings) as engine:
        try:
            add_user(engine, name, cast(Role, role), password, enterprise, now_ns)
        except UserError as error:
            raise AdminError(str(error)) from error


def issue_credential(settings: Settings, gateway: str, file: Path | None, now_ns: int) -> str:
    """Issue a gateway's credential, and write it to a file that only its owner reads. Raises AdminError."""
    _check_gateway(gateway)
    with register_of(settings) as engine:
        credential = issue(engine, gateway, now_ns)
    if file is not None:
        _write_secret(file, credential, "凭证已签发，请重新执行 issued already, run again")
    return credential


def make_enrolment_code(
    settings: Settings, gateway: str, hours: float, file: Path | None, now_ns: int
) -> tuple[str, bool]:
    """A one-time code for a gateway, also in a file that only its owner reads; whether the register names the gateway.

    Raises AdminError.
    """
    _check_gateway(gateway)
    g = Gateway
    with register_of(settings) as engine:
        with engine.connect() as connection:
            named = connection.execute(
                select(g.row_id).where(g.gateway == gateway, g.recorded_to_ns.is_(None)).limit(1)
            ).first()
        code = make_code(engine, gateway, now_ns, hours)
    if file is not None:
        _write_secret(file, code, "代码已生成，请重新执行 made already, run again")
    return code, named is not None


def revoke_credentials(settings: Settings, gateway: str, replaced_only: bool, now_ns: int) -> int:
    """End a gateway's credentials; how many there were. Raises AdminError where there was none."""
    _check_gateway(gateway)
    with register_of(settings, must_exist=True) as engine:
        ended = revoke(engine, gateway, now_ns, replaced_only=replaced_only)
    if not ended:
        raise AdminError(
            f"{gateway}: 没有有效的凭证；未用过的登记代码已作废。用 plantpulse-county gateway list 查看 "
            "no valid credential; codes that nobody used are withdrawn. See plantpulse-county gateway list"
        )
    return ended


def credentials_of(settings: Settings, now_ns: int) -> list[dict[str, Any]]:
    """Every gateway that has, or had, a credential or an open code. Times are RFC 3339 in UTC, null for never."""
    c, e = GatewayCredential, EnrolmentCode

    def time(at_ns: int | None) -> str | None:
        return None if at_ns is None else moment(at_ns).isoformat(timespec="seconds").replace("+00:00", "Z")

    with register_of(settings, must_exist=True) as engine, engine.connect() as connection:
        issued = connection.execute(select(c.__table__).order_by(c.gateway, c.issued_ns)).all()
        codes = connection.execute(
            select(e.gateway, e.expires_ns).where(e.used_ns.is_(None), e.withdrawn_ns.is_(None), e.expires_ns > now_ns)
        ).all()
    listed: dict[str, dict[str, Any]] = {
        name: {"gateway": name, "code_expires": None, "credentials": []}
        for name in sorted({row.gateway for row in [*issued, *codes]})
    }
    for row in issued:
        over = row.revoked_ns is not None
        state = "revoked" if over else "replaced" if row.hand_over_s is not None else "valid"
        listed[row.gateway]["credentials"].append(
            {
                "state": state,
                "hardware": row.hardware,
                "issued": time(row.issued_ns),
                "first_used": time(row.first_used_ns),
                "hand_over": time(None if row.hand_over_s is None else row.hand_over_s * 1_000_000_000),
                "revoked": time(row.revoked_ns),
            }
        )
    for row in codes:
        listed[row.gateway]["code_expires"] = time(row.expires_ns)
    return list(listed.values())


def _check_gateway(gateway: str) -> None:
    if not _GATEWAY.fullmatch(gateway):
        raise AdminError(f"gateway={gateway!r}: 应为 expected 1 to 64 letters, digits or - _ .")


def _write_secret(file: Path, secret: str, otherwise: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(handle, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(secret + "\n")
    except OSError as error:
        raise AdminError(f"{file}: 无法写入 cannot be written; {otherwise}: {error}") from error
