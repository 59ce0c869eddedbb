"""How often an address may guess: failures are counted per address for a while, then it has to wait."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from api.clock import Clock

_IPV6_PREFIX: Final = 64
"""A subscriber of IPv6 has as many addresses as this leaves: they count as one."""


class Attempts:
    """Failures by address, in memory: at most `most` within `window_s`, `addresses` remembered.

    Where more addresses fail than are remembered, the one that failed longest ago is forgotten.
    """

    def __init__(self, clock: Clock, *, most: int = 10, window_s: float = 900.0, addresses: int = 10_000) -> None:
        self._clock, self._most, self._window_s, self._addresses = clock, most, window_s, addresses
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long an address has to wait before it may try again; 0: it may try now."""
        now_s = self._clock.monotonic_s()
        failed = [at for at in self._failed.get(_place(address), ()) if now_s - at < self._window_s]
        return self._window_s - (now_s - failed[-self._most]) if len(failed) >= self._most else 0.0

    def failed(self, address: str) -> bool:
        """Count a failure; True where it is the one after which the address has to wait."""
        place, now_s = _place(address), self._clock.monotonic_s()
        failed = [at for at in self._failed.pop(place, []) if now_s - at < self._window_s]
        self._failed[place] = [*failed, now_s][-self._most :]
        while len(self._failed) > self._addresses:
            self._failed.popitem(last=False)
        return len(failed) + 1 == self._most


def _place(address: str) -> str:
    try:
        read = ip_address(address)
    except ValueError:
        return address
    if isinstance(read, IPv6Address):
        return str(ip_network((read, _IPV6_PREFIX), strict=False))
    return address
