"""What the command `export` does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from api.clock import Clock
from api.export.files import Table, print_csv, print_json, write_file
from api.export.tables import device_days, figures_now, figures_of_set
from api.register.audit import write_audit
from api.register.database import writing
from api.services.periods import read_period
from api.services.publishing import ACTOR, local_reader
from api.services.sources import RegisterSources
from api.settings import Settings

_NS: Final = 1_000_000_000


class Asked(NamedTuple):
    """What is to be exported, and where to; `to` None: to standard output."""

    period: str | None
    set_id: int | None
    devices: bool
    enterprises: bool
    to: Path | None
    as_json: bool


def export(settings: Settings, clock: Clock, asked: Asked) -> dict[str, Any]:
    """Export, and note in the audit log what. Raises ProblemError, FigureSetError, OSError."""
    with RegisterSources.opened(settings, clock) as sources:
        period = read_period(asked.period, clock.now_ns() // _NS).id
        if asked.devices:
            table = device_days(sources, period)
        elif asked.set_id is not None:
            period, table = figures_of_set(sources, local_reader(clock), asked.set_id)
        else:
            table = figures_now(sources, local_reader(clock), period, enterprises=asked.enterprises)
        rows = _written(table, asked)
        told = {"what": "device-days" if asked.devices else "figures", "period": period, "rows": rows}
        if asked.to is not None:
            told["file"] = str(asked.to)
        action = f"{told['what']}.export"
        which = "" if asked.set_id is None else f"set {asked.set_id}, "
        with writing(sources.engine) as connection:
            write_audit(connection, clock.now_ns(), ACTOR, action, period, f"{which}{rows} rows: {asked.to or '-'}")
    return told


def _written(table: Table, asked: Asked) -> int:
    if asked.to is not None:
        return write_file(table, asked.to)
    return print_json(table, sys.stdout) if asked.as_json else print_csv(table, sys.stdout)
