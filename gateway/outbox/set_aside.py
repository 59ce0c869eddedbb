"""What the county refused for ever, row by row, read from an outbox's file while its gateway may be running."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway import decoded
from gateway.outbox.batches import BatchState, SetAside
from gateway.outbox.view import reading
from gateway.wire import WireError

MAX_BATCHES: Final = 20
MAX_ROWS: Final = 1000
"""Of all batches together; the newest batches come first."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A batch that was set aside, with what stands in it."""

    batch: SetAside
    content: dict[str, Any] | None
    """As `gateway.decoded.batch` tells it, its rows up to the limit; None where it cannot be read."""

    def as_json(self) -> dict[str, Any]:
        """For `--json` and the bundle."""
        content = self.content or {}
        return {
            **self.batch._asdict(),
            "readable": self.content is not None,
            "content": content.get("rows", []),
            "gaps": content.get("gaps", []),
        }


def refused(path: Path, only: tuple[int, int] | None = None, most_rows: int = MAX_ROWS) -> list[Refused]:
    """The latest batches that were set aside, newest first; `only`: the (epoch, sequence) of one.

    Raises OSError where there is no outbox, sqlite3.Error.
    """
    found = []
    with closing(reading(path)) as db:
        rows = db.execute(
            "SELECT epoch, sequence, rows, settled_ns, reason, body FROM batches WHERE state = ? "
            "ORDER BY settled_ns DESC, ordinal DESC",
            (BatchState.POISONED,),
        )
        for *told, body in rows:
            one = SetAside(*told)
            if only is not None and (one.epoch, one.sequence) != only:
                continue
            content = _content(body, most_rows)
            most_rows -= 0 if content is None else len(content["rows"])
            found.append(Refused(one, content))
            if len(found) == MAX_BATCHES:
                break
    return found


def _content(body: bytes, most_rows: int) -> dict[str, Any] | None:
    try:
        content = decoded.batch(body)
    except (WireError, ValueError):
        return None
    return {**content, "rows": content["rows"][:most_rows]}
