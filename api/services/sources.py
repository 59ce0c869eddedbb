"""What figures are made from: everything of the county that stands in the register, and nothing of the stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Engine

from api.clock import Clock
from api.register.announcements import Announced, Announcements
from api.register.database import migrate, open_register, require_register
from api.schemas import Scope
from api.services.day_cache import DayBook, DayCache
from api.services.definitions import Definitions
from api.services.memory import Memory
from api.services.plans import Plans
from api.services.register_view import RegisterReader, RegisterView
from api.settings import Settings
from metrics.record import local_day
from metrics.rollup import Period

_NS = 1_000_000_000


class Sources(Protocol):
    """The part of a county that figures ask: the running service has it, and so has a command beside it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def announcements(self) -> Announcements: ...
    @property
    def register(self) -> RegisterReader: ...
    @property
    def days(self) -> DayCache: ...
    @property
    def definitions(self) -> Definitions: ...
    @property
    def plans(self) -> Plans: ...
    @property
    def memory(self) -> Memory: ...


@dataclass(frozen=True, slots=True)
class RegisterSources:
    """Sources of a command that works beside the running service, or without one."""

    settings: Settings
    clock: Clock
    engine: Engine
    announcements: Announcements
    register: RegisterReader
    days: DayCache
    definitions: Definitions
    plans: Plans
    memory: Memory

    @classmethod
    @contextmanager
    def opened(cls, settings: Settings, clock: Clock) -> Iterator[RegisterSources]:
        """Those of the settings, until the block ends. Raises RegisterMissingError."""
        require_register(settings.register_address)
        engine = open_register(settings.register_address)
        try:
            migrate(engine)
            yield cls(
                settings,
                clock,
                engine,
                Announcements(engine),
                RegisterReader(engine, clock),
                DayCache(engine, clock),
                Definitions(),
                Plans(settings.plans_dir, settings.plan),
                Memory(),
            )
        finally:
            engine.dispose()


@dataclass(frozen=True, slots=True)
class Known:
    """What the county knew at one time: now, or an instant of the past (`at_ns`)."""

    at_ns: int | None
    view: RegisterView
    days: DayBook
    announced: Announcements | Announced
    key: tuple[int, int, int]
    """Changes when register or announcements do; day states have tokens of their own."""


def known_now(sources: Sources) -> Known:
    """What is known now."""
    view = sources.register.view()
    return Known(None, view, sources.days, sources.announcements, (0, view.version, sources.announcements.version))


def known_at(sources: Sources, at_ns: int) -> Known:
    """What was known at a time, ns UTC: by when it was recorded, computed and announced."""

    def make() -> Known:
        announced = sources.announcements.as_known(at_ns)
        return Known(at_ns, sources.register.as_known(at_ns), sources.days.as_known(at_ns), announced, (at_ns, -1, -1))

    return sources.memory.once("view", at_ns, make)


@dataclass(frozen=True, slots=True)
class Question:
    """What a figure is asked about, with what is known to answer it."""

    sources: Sources
    known: Known
    scope: Scope
    period: Period
    now_s: int
    """The time it is answered for, s UTC: time after it has not passed yet."""
    look_back_days: int | None
    codes: frozenset[str]
    """Credit codes of the enterprises in scope."""
    object_id: int | None = None
    """The asset, where the scope is one."""

    @property
    def view(self) -> RegisterView:
        """The register that answers."""
        return self.known.view

    @property
    def days(self) -> DayBook:
        """The day states that answer."""
        return self.known.days

    @property
    def register_day(self) -> int:
        """The local day whose register counts: the period's last, or today while it is not over."""
        return min(self.period.to_day - 1, int(local_day(self.now_s)))
