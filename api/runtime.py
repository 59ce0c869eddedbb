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
from api.day_rows import stated_days
from api.day_versions import drop_running
from api.epochs import EpochWatch
from api.final_days import FinalDays
from api.holds import held_days
from api.housekeeping import Housekeeping
from api.ingest import IngestService
from api.journal.open import open_journal
from api.journal.port import Journal
from api.live import LivePresence
from api.rate_limit import RateLimit
from api.recovery import recover, settle
from api.register.announcements import Announcements
from api.register.database import migrate, one_at_a_time, open_register
from api.rollup import Rollup
from api.running import service_lock
from api.services.access import Access
from api.services.day_cache import DayCache
from api.services.definitions import Definitions
from api.services.memory import Memory
from api.services.plans import Plans
from api.services.register_view import RegisterReader
from api.services.warm import WarmUp
from api.settings import Settings
from api.shared.duty import AlwaysOnDuty, Duty, SharedDuty
from api.shared.epochs import SharedEpochs
from api.shared.presence import SharedPresence
from api.store.open import open_store
from api.store.port import EmbeddedStore, IntervalStore, SharedStore

_HOUSEKEEPING_S: Final = 3600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class County:
    """What routes and services work with."""

    settings: Settings
    clock: Clock
    version: str
    engine: Engine
    duty: Duty
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
            if isinstance(county.duty, SharedDuty):
                county.duty.start()
            county.applier.start()
            county.rollup.start()
            housekeeping = asyncio.create_task(_keep_house(county), name="housekeeping")
            warm_up = WarmUp(county)
            warm_up.start()
            log.info("county_running", version=version, data_dir=str(settings.data_dir))
            try:
                yield county
            finally:
                housekeeping.cancel()
                county.live.close()
                await asyncio.to_thread(warm_up.close)


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
    stack.enter_context(service_lock(settings, engine))
    migrate(engine)
    with one_at_a_time(engine):
        plans.store(engine, clock.now_ns())
        definitions.store(engine)
    journal = open_journal(settings, engine, clock)
    stack.callback(journal.close)
    final = FinalDays(journal.kept, store.sealed_days if isinstance(store, EmbeddedStore) else tuple)
    if isinstance(store, EmbeddedStore):
        recover(store, journal, final, lambda: stated_days(engine))
    days = DayCache(engine, clock)
    live = LivePresence(clock)
    announcements = Announcements(engine)
    # only a store on a server can be written to by another process
    shared = settings.journal == "postgresql" and isinstance(store, SharedStore)
    duty: Duty = AlwaysOnDuty()
    if shared and isinstance(store, SharedStore):
        store.follow()
        duty = SharedDuty(engine, lambda: _take_over(store, rollup, journal), store.follow)
    rollup = Rollup(engine, store, clock, settings.today_refresh_s, store.applied, days.stale, final, duty)
    rollup.hold_until(journal.position)
    applier = Applier(
        journal, store, rollup.mark, final.take_out, duty, lambda applied: settle(applied, journal, final)
    )
    housekeeping = Housekeeping(
        journal,
        store,
        applier,
        rollup,
        final,
        clock,
        settings.record_days,
        duty,
        lambda: held_days(engine),
        lambda: drop_running(engine, clock.now_ns()),
    )
    if isinstance(duty, SharedDuty):
        stack.callback(duty.close)
        presence = SharedPresence(engine, live, announcements.catch_up)
        stack.callback(presence.close)
        presence.start()
    stack.callback(rollup.close)
    stack.callback(applier.close)
    stack.callback(housekeeping.close)
    credentials = Credentials(engine, clock)
    stack.callback(credentials.close)
    limit = RateLimit(clock, settings.gateway_requests_per_s, settings.gateway_bytes_per_s)
    epochs = SharedEpochs(engine) if shared else EpochWatch()
    return County(
        settings=settings,
        clock=clock,
        version=version,
        engine=engine,
        duty=duty,
        journal=journal,
        store=store,
        applier=applier,
        rollup=rollup,
        housekeeping=housekeeping,
        ingest=IngestService(
            journal, applier, credentials, live, announcements, clock, limit, epochs, rollup.announced
        ),
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


def _take_over(store: SharedStore, rollup: Rollup, journal: Journal) -> None:
    """Before this process derives in another one's stead."""
    store.take_over()
    rollup.hold_until(journal.position)


async def _keep_house(county: County) -> None:
    while True:
        await asyncio.to_thread(county.housekeeping.run)
        await asyncio.sleep(_HOUSEKEEPING_S)
