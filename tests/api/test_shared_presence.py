"""Presence that processes share goes on whatever befalls the thread that shares it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from api.live import LivePresence
from api.register.database import migrate, open_register
from api.shared.presence import SharedPresence
from gateway.wire import Live
from tests.api.county_fixtures import HandClock
from tests.api.postgres import new_database, postgres_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def test_a_message_that_cannot_be_written_ends_nobodys_presence(server: str) -> None:
    """What no engine can keep is refused when it is read; this is the thread's own defence."""
    engine = open_register(new_database(server))
    migrate(engine)
    looked = threading.Semaphore(0)
    here, there = LivePresence(HandClock()), LivePresence(HandClock())
    one, two = SharedPresence(engine, here, looked.release), SharedPresence(engine, there, looked.release)
    heard = threading.Event()
    there_heard = there.take_shared

    def take_shared(message: Live, age_s: float) -> None:
        there_heard(message, age_s)
        heard.set()

    there.take_shared = take_shared  # type: ignore[method-assign]
    here.take(Live("gw-1", 1 << 70, []))
    one.start()
    assert looked.acquire(timeout=20), "the first writing failed, the next one does not"
    two.start()
    here.take(Live("gw-2", 5, []))
    try:
        assert heard.wait(20)
        assert there.gateways().keys() == {"gw-2"}
    finally:
        for presence in (one, two):
            presence.close()
        engine.dispose()
