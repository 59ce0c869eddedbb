"""What was computed is kept: by its key, up to a limit, once for all who ask at the same time."""

from __future__ import annotations

import threading

import pytest

from api.services.memory import LIMITS, Memory


def test_of_many_that_ask_at_once_one_computes_and_all_get_it() -> None:
    memory, calls, begun = Memory(), [], threading.Event()
    found: list[object] = []

    def make() -> object:
        calls.append(1)
        assert begun.wait(10)
        return object()

    threads = [threading.Thread(target=lambda: found.append(memory.once("figure", "k", make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join(10)
    assert len(calls) == 1
    assert len(found) == 8
    assert len({id(one) for one in found}) == 1


def test_a_failure_is_told_to_who_waits_and_not_kept() -> None:
    memory = Memory()
    with pytest.raises(ZeroDivisionError):
        memory.once("figure", "k", lambda: 1 // 0)
    assert memory.once("figure", "k", lambda: 7) == 7
    assert memory.made["figure"] == 1


def test_what_was_asked_for_longest_ago_is_given_up_first() -> None:
    memory = Memory()
    limit = LIMITS["result"]
    for key in range(limit):
        memory.once("result", key, lambda key=key: key)  # type: ignore[misc]
    memory.once("result", 0, lambda: -1)  # asked again: it is the newest now
    memory.once("result", "one more", lambda: 99)
    assert memory.once("result", 0, lambda: -1) == 0
    assert memory.once("result", 1, lambda: -1) == -1
