"""What the command `publish` does, and the lines that it prints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from api.clock import Clock
from api.schemas import FigureSetSummary, Session
from api.services.access import Reader
from api.services.figure_sets import list_sets, make_draft, publish, withdraw
from api.services.sources import RegisterSources
from api.settings import Settings

ACTOR: Final = "cli"
_LISTED: Final = 50


def say(
    settings: Settings,
    clock: Clock,
    *,
    draft: bool,
    set_id: int | None,
    withdrawn: int | None,
    period: str | None,
    note: str,
    enterprises: bool,
) -> list[str]:
    """Draft, publish, withdraw, or list. Raises FigureSetError and ProblemError."""
    reader = local_reader(clock)
    with RegisterSources.opened(settings, clock) as sources:
        if draft:
            made = make_draft(sources, reader, period, ACTOR, note, enterprises=enterprises)
            return [_line(one) for one in list_sets(sources, reader, None, 0, 1).items if one.id == made]
        if set_id is not None:
            revision = publish(sources, set_id, ACTOR, note)
            return [f"{set_id}: 已发布，修订 published, revision {revision}"]
        if withdrawn is not None:
            withdraw(sources, withdrawn, ACTOR, note)
            return [f"{withdrawn}: 已撤回 withdrawn"]
        listed = list_sets(sources, reader, period, 0, _LISTED).items
        return [_line(one) for one in listed] or ["没有任何套数 there are no sets"]


def _line(one: FigureSetSummary) -> str:
    return (
        f"{one.id}: {one.period}, {one.state}, {one.figures} 个指标值 figures, {one.changed} 个有变 changed, "
        f"as of {one.as_of:%Y-%m-%dT%H:%M:%SZ}, {one.digest[:16]} {one.note}".rstrip()
    )


def local_reader(clock: Clock) -> Reader:
    """The person at the service's own machine, who reads what a statistician reads."""
    expires_at = datetime.fromtimestamp(clock.now_ns() / 1e9, UTC) + timedelta(hours=1)
    return Reader(Session(username=ACTOR, role="statistician", enterprise=None, expires_at=expires_at), "")
