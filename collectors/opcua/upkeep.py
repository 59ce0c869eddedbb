"""What is looked after while a session lives: nodes that the server does not give, machines that come later."""

from __future__ import annotations

import asyncio
from typing import Protocol

from asyncua import ua

from collectors.model import CollectorError
from collectors.opcua import tasks
from collectors.opcua.session import Session


class Kept(Protocol):
    """What upkeep asks of the collector. Each may raise LinkError, UaError, OSError, TimeoutError."""

    async def check_nodes(self, session: Session) -> None:
        """Find out which nodes the server has no longer."""

    async def retry_refused(self, session: Session) -> None:
        """Ask again for the nodes that the server did not give."""

    async def search_again(self, session: Session) -> None:
        """Where something was missing, look for it; subscribe anew where it is there now."""

    async def subscribe_anew(self, session: Session) -> None:
        """Begin with the state now."""


class Upkeep:
    """One task of a session. What fails is tried again at the next round: a lost link is noticed elsewhere."""

    def __init__(self, kept: Kept, session: Session, every_s: float, on_failed: tasks.OnFailed) -> None:
        self._kept, self._session, self._every_s = kept, session, every_s
        self._called = asyncio.Event()
        self._has_doubt = self._must_begin_anew = False
        self._task = tasks.start(self._run(), "opcua upkeep", on_failed)

    def check_nodes(self) -> None:
        """The server says that something is wrong: look at the nodes now."""
        self._has_doubt = True
        self._called.set()

    def begin_anew(self) -> None:
        """Something is lost that the server will not say again by itself: ask for the state now."""
        self._must_begin_anew = True
        self._called.set()

    async def stop(self) -> None:
        """Safe twice, and from within."""
        await tasks.stop(self._task)

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._called.wait()
            except TimeoutError:
                pass
            is_due = not self._called.is_set()
            self._called.clear()
            try:
                await self._round(is_due)
            except (CollectorError, OSError, TimeoutError, ua.UaError):
                continue

    async def _round(self, is_due: bool) -> None:
        kept, session = self._kept, self._session
        if self._must_begin_anew:
            self._must_begin_anew = False
            await kept.subscribe_anew(session)
        if self._has_doubt:
            self._has_doubt = False
            await kept.check_nodes(session)
        if is_due:
            await kept.retry_refused(session)
            await kept.search_again(session)
