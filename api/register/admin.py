"""What the administrator does to the register from the command line, beside a running service or without one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast, get_args

from sqlalchemy import Engine

from api.credentials import issue
from api.register.csv_read import Known
from api.register.database import migrate, open_register
from api.register.importer import Imported, import_folder
from api.schemas import Role
from api.services.access import UserError, add_user
from api.services.plans import Plans
from api.settings import Settings

_GATEWAY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class AdminError(ValueError):
    """What cannot be done; the text says why, in Chinese and English."""


@contextmanager
def register_of(settings: Settings) -> Iterator[Engine]:
    """The register of the settings, migrated."""
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
    if role not in get_args(Role):
        raise AdminError(f"role={role}: 应为 expected one of {', '.join(get_args(Role))}")
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
    if not _GATEWAY.fullmatch(gateway):
        raise AdminError(f"gateway={gateway!r}: 应为 expected 1 to 64 letters, digits or - _ .")
    with register_of(settings) as engine:
        credential = issue(engine, gateway, now_ns)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.fchmod(handle, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(credential + "\n")
        except OSError as error:
            raise AdminError(
                f"{file}: 无法写入，凭证已签发，请重新执行 cannot be written, run again: {error}"
            ) from error
    return credential
