"""What the service counts, in Prometheus' text format. No names of enterprises, no gateway by name."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from api.services.health import faults
from api.store.aside import SetsAside
from api.store.port import StoreError

if TYPE_CHECKING:
    from api.runtime import County

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "plantpulse_"


def prometheus(county: County) -> bytes:
    """All metrics. What is not known now is left out: unknown is not zero."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(county))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, county: County) -> None:
        self._county = county

    def collect(self) -> Iterator[Metric]:
        for group in (self._service, self._journal, self._store, self._refused, self._days, self._gateways):
            try:
                yield from group()
            except (SQLAlchemyError, sqlite3.Error, StoreError, OSError):
                continue  # the part that fails is shown by `failing`, and by /healthz with the reason

    def _service(self) -> Iterator[Metric]:
        county = self._county
        info = InfoMetricFamily(f"{_PREFIX}build", "The service's version.")
        info.add_metric([], {"version": county.version})
        yield info
        failing = GaugeMetricFamily(f"{_PREFIX}failing", "1 for a part that fails now.", labels=["part"])
        found = faults(county)
        for part in ("register", "journal", "store", "rollup", "housekeeping"):
            failing.add_metric([part], float(part in found))
        yield failing
        yield _gauge("on_duty", "1 where this process applies the journal and computes days.", county.duty.holds())
        disk = shutil.disk_usage(county.settings.data_dir)
        yield _gauge("data_disk_free_bytes", "Free bytes where the data folder is.", disk.free)
        yield _gauge("data_disk_size_bytes", "All bytes where the data folder is.", disk.total)

    def _journal(self) -> Iterator[Metric]:
        journal = self._county.journal
        size = journal.size()
        yield _gauge("journal_position", "Batches journalled since the beginning.", journal.position)
        yield _gauge("journal_days", "Days of journal that are kept.", size.days)
        yield _gauge("journal_bytes", "Bytes of journal that are kept.", size.size_bytes)
        if size.oldest_ns is not None:
            yield _gauge("journal_age_seconds", "Since the oldest batch that is kept.", self._since_s(size.oldest_ns))
        if size.newest_ns is not None:
            yield _gauge("journal_silence_seconds", "Since the last batch came.", self._since_s(size.newest_ns))

    def _store(self) -> Iterator[Metric]:
        county = self._county
        if county.applier.known:
            applied = county.applier.applied
            yield _gauge("store_applied_position", "Journal position that the interval store has.", applied)
            yield _gauge("store_lag_batches", "Batches not applied yet.", county.journal.position - applied)
            waits_ns = county.journal.arrived_ns(applied)
            lag_s = 0.0 if waits_ns is None else self._since_s(waits_ns)
            yield _gauge("store_lag_seconds", "Since the oldest batch came that is not applied yet.", lag_s)
            yield _gauge("records_stored", "Interval records in the store.", county.store.rows())
        if isinstance(county.store, SetsAside):
            aside = county.store.set_aside
            yield _gauge("records_set_aside", "Records refused by the store's engine, kept in a file.", aside)

    def _refused(self) -> Iterator[Metric]:
        county = self._county
        totals = county.journal.totals().values()
        yield _gauge("refused_rows", "Rows refused, over the journal's days.", sum(t.refused_rows for t in totals))
        yield _gauge("held_rows", "Rows ahead of the clock, not counted.", sum(t.held_rows for t in totals))
        yield _counter("conflicts", "Batches with the key of another one.", sum(t.conflicts for t in totals))
        yield _counter("duplicates", "Batches sent again.", sum(t.duplicates for t in totals))
        yield _gauge(
            "too_late_rows", "Rows of final days, listed and not counted.", county.journal.kept.too_late_rows()
        )
        for name, words, found in (
            ("rejected_rows", "Rows rejected since the start.", county.ingest.counts.rows_by_reason()),
            ("rejected_bodies", "Messages rejected since the start.", county.ingest.counts.bodies_by_reason()),
        ):
            family = CounterMetricFamily(_PREFIX + name, words, labels=["reason"])
            for reason, count in sorted(found.items()):
                family.add_metric([reason], count)
            yield family

    def _days(self) -> Iterator[Metric]:
        rollup = self._county.rollup
        yield _gauge("days_dirty", "Days whose states wait to be computed.", rollup.dirty())
        yield _counter("days_computed", "Days computed since the start.", rollup.computed)

    def _gateways(self) -> Iterator[Metric]:
        live = self._county.live
        heard = live.gateways()
        yield _gauge("gateways_heard", "Gateways heard since the start.", len(heard))
        yield _gauge("gateways_silent", "Of them those that fell silent.", sum(map(live.silent, heard)))
        yield _gauge("live_streams", "Open streams of presence.", live.subscribers)
        epochs, now_s = self._county.ingest.epochs, self._county.clock.now_ns() // 1_000_000_000
        cloned = sum(epochs.alarm(gateway, now_s) for gateway in sorted(self._county.credentials.known()))
        yield _gauge("gateways_two_epochs", "Gateways of which two epochs deliver side by side.", cloned)

    def _since_s(self, at_ns: int) -> float:
        return max(0.0, (self._county.clock.now_ns() - at_ns) / 1e9)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, words, value=value)


def _counter(name: str, words: str, value: float) -> Metric:
    """Its sample is called `name` + `_total`."""
    return CounterMetricFamily(_PREFIX + name, words, value=value)
