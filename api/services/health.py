"""Whether the service is well, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.schemas import Health
from api.store.aside import SetsAside
from api.store.port import EmbeddedStore

if TYPE_CHECKING:
    from api.runtime import County


def health(county: County) -> Health:
    """Alive and ready: the register answers. A store that is behind or down does not stop ingest, and is shown."""
    checks: dict[str, str] = {}
    ready = True
    try:
        with county.engine.connect() as connection:
            connection.execute(text("select 1"))
        checks["register"] = "ok"
    except SQLAlchemyError as error:
        checks["register"] = type(error).__name__
        ready = False
    behind = county.journal.position - county.applier.applied
    checks["store"] = county.applier.last_error or ("ok" if behind < 1000 else f"{behind} batches behind")
    if isinstance(county.store, EmbeddedStore) and county.store.notice:
        checks["store_damaged"] = county.store.notice
    if county.housekeeping.last_error:
        checks["housekeeping"] = county.housekeeping.last_error
    if isinstance(county.store, SetsAside) and county.store.set_aside:
        checks["store_set_aside"] = (
            f"{county.store.set_aside} 条记录被 InfluxDB 拒收，未计入，见 records that InfluxDB refuses, not counted: "
            f"{county.store.set_aside_where}；请查明原因后重写 find the cause, then write that file to it"
        )
    checks["rollup"] = county.rollup.last_error or "ok"
    return Health(alive=True, ready=ready, version=county.version, checks=checks)


def prometheus(county: County) -> str:
    """Counters in Prometheus' text format."""
    totals = county.journal.totals().values()
    silent = sum(county.live.silent(gateway) for gateway in county.live.gateways())
    values: list[tuple[str, str, str, float]] = [
        ("journal_position", "gauge", "Batches journalled since the beginning.", county.journal.position),
        ("refused_rows", "gauge", "Rows refused, over the journal's days.", sum(t.refused_rows for t in totals)),
        ("held_rows", "gauge", "Rows ahead of the clock, kept and not counted.", sum(t.held_rows for t in totals)),
        ("conflicts_total", "counter", "Batches with the key of another one.", sum(t.conflicts for t in totals)),
        ("duplicates_total", "counter", "Batches sent again.", sum(t.duplicates for t in totals)),
        ("rejected_bodies_total", "counter", "Bodies that were no message.", county.ingest.rejected),
        ("days_dirty", "gauge", "Days whose states wait to be computed.", county.rollup.dirty()),
        ("days_computed_total", "counter", "Days computed since the start.", county.rollup.computed),
        ("gateways_silent", "gauge", "Gateways that fell silent.", silent),
        ("live_streams", "gauge", "Open streams of presence.", county.live.subscribers),
    ]
    if county.applier.known:  # unknown is not zero
        applied = county.applier.applied
        values += [
            ("store_applied_position", "gauge", "Journal position that the interval store has.", applied),
            ("records_stored", "gauge", "Interval records in the store.", county.store.rows()),
        ]
    if isinstance(county.store, SetsAside):
        refused = county.store.set_aside
        values.append(("records_set_aside", "gauge", "Records refused by the store's engine, kept in a file.", refused))
    return "".join(
        f"# HELP plantpulse_{name} {words}\n# TYPE plantpulse_{name} {kind}\nplantpulse_{name} {value:g}\n"
        if value < 1e6
        else f"# HELP plantpulse_{name} {words}\n# TYPE plantpulse_{name} {kind}\nplantpulse_{name} {int(value)}\n"
        for name, kind, words, value in values
    )
