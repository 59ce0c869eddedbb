"""The links of a running gateway, each in a task of its own: started, changed and ended one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gateway.link_loop import CLOSE_TIMEOUT_S, LinkLoop
from gateway.links import Link

_END_TIMEOUT_S: Final = CLOSE_TIMEOUT_S + 1.0


class LinkChanges(NamedTuple):
    """Names of links that a new configuration touches."""

    started: list[str]
    changed: list[str]
    ended: list[str]


class LinkSet:
    """Owns one LinkLoop a link. `start` comes first, in the task group that owns the tasks."""

    def __init__(self, make_loop: Callable[[Link], LinkLoop]) -> None:
        self._make_loop = make_loop
        self._group: asyncio.TaskGroup | None = None
        self._loops: dict[str, tuple[LinkLoop, asyncio.Task[None]]] = {}

    def start(self, group: asyncio.TaskGroup, links: Sequence[Link]) -> None:
        """Start every link."""
        self._group = group
        for link in links:
            self._start(link)

    async def apply(self, links: Sequence[Link], changed: frozenset[str]) -> LinkChanges:
        """Go on with these links. `changed`: ids of entries that are new or different.

        A link that is in both and serves the same unchanged entries is not touched. Ended links are closed
        before others are opened: a serial line has one user.
        """
        fresh = {link.name: link for link in links}
        done = LinkChanges([], [], [])
        for name in [name for name in self._loops if name not in fresh]:
            _, task = self._loops.pop(name)
            task.cancel()
            await asyncio.wait([task], timeout=_END_TIMEOUT_S)
            done.ended.append(name)
        for name, link in fresh.items():
            if name not in self._loops:
                self._start(link)
                done.started.append(name)
                continue
            loop, _ = self._loops[name]
            if touched := (loop.entries ^ link.entries) | (changed & link.entries):
                loop.change(link, touched)
                done.changed.append(name)
        return done

    def retry(self, device: str = "") -> int:
        """Try again now what waits (see `LinkLoop.retry`); how many links and units that concerns."""
        return sum(loop.retry(device) for loop in self.loops)

    def end(self) -> None:
        """Cancel every link; their group waits for them."""
        for _, task in self._loops.values():
            task.cancel()

    @property
    def loops(self) -> list[LinkLoop]:
        """All links."""
        return [loop for loop, _ in self._loops.values()]

    def _start(self, link: Link) -> None:
        assert self._group is not None, "start comes first"
        loop = self._make_loop(link)
        self._loops[link.name] = loop, self._group.create_task(loop.run(), name=link.name)
