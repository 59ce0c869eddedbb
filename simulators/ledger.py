"""What the simulated machines served: the truth that the county's sums are compared with.

Every protocol simulator writes here what it put on its socket, under the machine's id, at the moment
it did. The ledger knows nothing of gateways; it says what could have been seen, not what was.
"""

from __future__ import annotations

import json
import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

STATES: Final = ("unknown", "running", "idle", "fault", "off")
MAX_ROWS: Final = 200_000
"""Rows kept per device (two days at one a second); older ones go, counted in `dropped`."""

_NAN: Final = float("nan")
_NO_PARTS: Final = -1


@dataclass(slots=True)
class _Page:
    """One device's rows as columns, and the totals that outlive dropped rows."""

    at_s: array[float] = field(default_factory=lambda: array("d"))
    state: array[int] = field(default_factory=lambda: array("b"))
    quantity: array[float] = field(default_factory=lambda: array("d"))
    parts: array[int] = field(default_factory=lambda: array("q"))
    links: list[tuple[float, bool]] = field(default_factory=list)
    dropped: int = 0
    served: int = 0

    def trim(self) -> None:
        if len(self.at_s) <= MAX_ROWS:
            return
        excess = MAX_ROWS // 10
        for column in (self.at_s, self.state, self.quantity, self.parts):
            del column[1 : 1 + excess]  # the first row stays: sums start there
        self.dropped += excess


class Ledger:
    """What was served, per device id. Times in s UTC, quantities in the device's unit (kWh or m³)."""

    def __init__(self) -> None:
        self._pages: dict[str, _Page] = {}

    def served(
        self,
        device: str,
        at_s: float,
        *,
        state: str | None = None,
        quantity: float | None = None,
        parts: int | None = None,
    ) -> None:
        """Note what `device` served at `at_s`; what was not part of the message stays None.

        Raises ValueError for a state that is not one of STATES.
        """
        if state is not None and state not in STATES:
            raise ValueError(f"state {state!r}: one of {', '.join(STATES)}")
        page = self._pages.setdefault(device, _Page())
        page.served += 1
        page.at_s.append(at_s)
        page.state.append(-1 if state is None else STATES.index(state))
        page.quantity.append(_NAN if quantity is None else quantity)
        page.parts.append(_NO_PARTS if parts is None else parts)
        page.trim()

    def linked(self, device: str, at_s: float, up: bool) -> None:
        """Note that `device` was plugged in (`up`) or cut off at `at_s`; what is already so is not noted again."""
        links = self._pages.setdefault(device, _Page()).links
        if not links or links[-1][1] != up:
            links.append((at_s, up))

    def devices(self) -> list[str]:
        """Every device that served something or was plugged, sorted."""
        return sorted(self._pages)

    def count(self, device: str) -> int:
        """Messages or replies that `device` served."""
        page = self._pages.get(device)
        return page.served if page else 0

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: per device the rows as columns, null where nothing was served."""
        return {
            device: {
                "served": page.served,
                "dropped": page.dropped,
                "at_s": list(page.at_s),
                "state": [None if s < 0 else STATES[s] for s in page.state],
                "quantity": [None if q != q else q for q in page.quantity],
                "parts": [None if p < 0 else p for p in page.parts],
                "links": [[at_s, up] for at_s, up in page.links],
            }
            for device, page in sorted(self._pages.items())
        }

    def dump(self, path: Path) -> None:
        """Write everything as JSON to `path`, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_text(json.dumps(self.as_dict(), separators=(",", ":")), encoding="utf-8")
        os.replace(unfinished, path)
