"""What was computed is kept, by what it was computed from: a question that is repeated computes nothing."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

LIMITS: Final = {
    "view": 4,
    "perimeter": 24,
    "states": 48,
    "meters": 64,
    "plants": 64,
    "result": 8,
    "figure": 20_000,
    "watched": 512,
    "rates": 64,
}
"""How many results of each kind are kept, those asked for longest ago given up first."""


class Memory:
    """Results by kind and key. Of readers that ask the same at once one computes, and the others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, OrderedDict[Hashable, Future[Any]]] = {kind: OrderedDict() for kind in LIMITS}
        self.made: Counter[str] = Counter()
        """How many results of each kind were computed."""

    def once(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """The result of `make` under a key, made if it is not there. What it raises is not kept."""
        held = self._held[kind]
        with self._lock:
            found = held.get(key)
            mine = found is None
            if found is None:
                found = held[key] = Future()
                while len(held) > LIMITS[kind]:
                    held.popitem(last=False)
            else:
                held.move_to_end(key)
        if mine:
            try:
                found.set_result(make())
                self.made[kind] += 1
            except BaseException as error:
                with self._lock:
                    held.pop(key, None)
                found.set_exception(error)
                raise
        return cast(T, found.result())
