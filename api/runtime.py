"""The running county service: everything that it holds, opened in order and closed in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Engine

from api.applier import Applier
from api.attempts import Attempts
from api.clock import Clock
from api.credentials import Credentials
from api.final_days import FinalDays
from api.housekeeping import Housekeeping
from api.ingest import IngestService
from api.journal.files import FileJournal
from api.journal.port import Journal
from api.live import LivePresence
from api.rate_limit import RateLimit
from api.recovery import recover
from api.register.announcements import Announcements
from api.register.database import migrate, open_register
from api.rollup import Rollup
from api.services.access import Access
from api.services.day_cache import DayCache
from api.services.definitions import Definitions
from api.services.memory import Memory
from api.services.plans import Plans
from api.services.register_view import RegisterReader
from api.settings import Settings
from api.store.open import open_store
from api.store.port import EmbeddedStore, IntervalStore

_HOUSEKEEPING_S: Final = 3600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class County:
    """What routes and services work with."""

    settings: Settings
    clock: Clock
    version: str
    engine: Engine
    journal: Journal
    store: IntervalStore
    applier: Applier
    rollup: Rollup
    housekeeping: Housekeeping
    ingest: IngestService
    credentials: Credentials
    attempts: Attempts
    live: LivePresence
    announcements: Announcements
    access: Access
    register: RegisterReader
    days: DayCache
    definitions: Definitions
    plans: Plans
    memory: Memory

    @classmethod
    @asynccontextmanager
    async def running(cls, settings: Settings, clock: Clock, version: str) -> AsyncIterator[County]:
        """Open everything, run until the block ends, then write what waits and close."""
        async with AsyncExitStack() as stack:
            county = await asyncio.to_thread(_open, settings, clock, version, stack)
            county.applier.start()
            county.rollup.start()
            housekeeping = asyncio.create_task(_keep_house(county), name="housekeeping")
            log.info("county_running", version=version, data_dir=str(settings.data_dir))
            try:
                yield county
            finally:
                housekeeping.cancel()
                county.live.close()


def _open(settings: Settings, clock: Clock, version: str, stack: AsyncExitStack) -> County:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    definitions = Definitions()
    plans = Plans(settings.plans_dir, settings.plan)
    store = open_store(
        settings.store_address,
        folder=settings.data_dir / "store",
        token_file=settings.store_token_file,
        ca_file=settings.store_ca_file,
    )
    stack.callback(store.close)
    engine = open_register(settings.register_address)
    stack.callback(engine.dispose)
    migrate(engine)
    plans.store(engine, clock.now_ns())
    definitions.store(engine)
    journal = FileJournal(settings.journal_dir, clock, keep_days=settings.journal_days)
    stack.callback(journal.close)
    final = FinalDays(journal.kept, store.sealed_days if isinstance(store, EmbeddedStore) else tuple)
    if isinstance(store, EmbeddedStore):
        recover(store, journal, final)
    days = DayCache(engine, clock)
    rollup = Rollup(engine, store, clock, settings.today_refresh_s, store.applied, days.stale, final)
    rollup.hold_until(journal.position)
    stack.callback(rollup.close)
    applier = Applier(journal, store, rollup.mark, final.take_out)
    stack.callback(applier.close)
    housekeeping = Housekeeping(journal, store, applier, rollup, final, clock, settings.record_days)
    stack.callback(housekeeping.close)
    live = LivePresence(clock)
    limit = RateLimit(clock, settings.gateway_requests_per_s, settings.gateway_bytes_per_s)
    announcements = Announcements(engine)
    credentials = Credentials(engine, clock)
    stack.callback(credentials.close)
    return County(
        settings=settings,
        clock=clock,
        version=version,
        engine=engine,
        journal=journal,
        store=store,
        applier=applier,
        rollup=rollup,
        housekeeping=housekeeping,
        ingest=IngestService(journal, applier, credentials, live, announcements, clock, limit),
        credentials=credentials,
        attempts=Attempts(clock),
        live=live,
        announcements=announcements,
        access=Access(engine, clock, settings.session_hours),
        register=RegisterReader(engine, clock),
        days=days,
        definitions=definitions,
        plans=plans,
        memory=Memory(),
    )


async def _keep_house(county: County) -> None:
    while True:
        await asyncio.to_thread(county.housekeeping.run)
        await asyncio.sleep(_HOUSEKEEPING_S)
