"""Whether the service is well: alive is who answers; ready is who takes records and serves pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.schemas import Health
from api.shared.duty import SharedDuty
from api.store.aside import SetsAside
from api.store.port import EmbeddedStore

if TYPE_CHECKING:
    from api.runtime import County

_BEHIND: Final = 1000
_DRIVER: Final = re.compile(r":?\s*\((psycopg|sqlite3)\..*", re.DOTALL)
"""What a database driver said names its address: that is for the log, for everybody may ask whether we are well."""


def faults(county: County) -> dict[str, str]:
    """What fails now, by part: `register`, `journal`, `store`, `rollup`, `housekeeping`."""
    found: dict[str, str] = {}
    try:
        with county.engine.connect() as connection:
            connection.execute(text("select 1"))
    except SQLAlchemyError as error:
        found["register"] = type(error).__name__
    told = {
        "journal": county.journal.last_error,
        "store": county.applier.last_error,
        "rollup": county.rollup.last_error,
        "housekeeping": county.housekeeping.last_error,
    }
    return found | {part: _DRIVER.sub("", said) for part, said in told.items() if said}


def health(county: County) -> Health:
    """Ready: the register answers and the journal could be written.

    A store that is behind or down does not stop ingest, and is shown.
    """
    found = faults(county)
    checks = {part: found.get(part, "ok") for part in ("register", "journal", "store", "rollup")}
    if "housekeeping" in found:
        checks["housekeeping"] = found["housekeeping"]
    if "store" not in found and "register" not in found and county.applier.known:
        behind = county.journal.position - county.applier.applied
        if behind >= _BEHIND:
            checks["store"] = f"{behind} 批待入库 batches behind"
    if isinstance(county.duty, SharedDuty):
        checks["duty"] = "here 本进程入库" if county.duty.holds() else "elsewhere 由其他进程入库"
    if isinstance(county.store, EmbeddedStore) and county.store.notice:
        checks["store_damaged"] = county.store.notice
    if isinstance(county.store, SetsAside) and county.store.set_aside:
        checks["store_set_aside"] = (
            f"{county.store.set_aside} 条记录被 InfluxDB 拒收，未计入，见 records that InfluxDB refuses, not counted: "
            f"{county.store.set_aside_where}；请查明原因后重写 find the cause, then write that file to it"
        )
    ready = not found.keys() & {"register", "journal"}
    return Health(alive=True, ready=ready, version=county.version, checks=checks)
