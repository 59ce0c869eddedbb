"""Sets of figures: drafts, what was published, and what changed from one revision to the next.

A set is computed from what was known at one instant, and kept as it was computed, with the digests of its inputs. It is
a draft until an event publishes it; an event may withdraw it again. Nothing of a set or an event is ever changed, so
that what was published can be read as of any time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, insert, select

from api.clock import moment
from api.problems import ProblemError
from api.register import models as m
from api.register.audit import write_audit
from api.register.database import writing
from api.schemas import (
    ChangeReason,
    Figure,
    FigureEvent,
    FigureSet,
    FigureSetList,
    FigureSetSummary,
    Page,
    Published,
    RevisedFigure,
    Scope,
    SetFigure,
)
from api.services.access import Reader
from api.services.changes import change_of
from api.services.figures import compute, definition_named
from api.services.perimeter import digest_of
from api.services.question import about, ask_at, in_period, read_time
from api.services.rates import RateResult
from api.services.scopes import list_scopes, read_scope, scope_text
from api.services.sources import Question, Sources

MAX_SCOPES: Final = 100_000
_REASONS: Final[dict[str, ChangeReason]] = {
    "definition": "definition",
    "register": "register",
    "reports": "register",
    "evidence": "register",
    "day-states": "late-data",
}
READS_DRAFTS: Final = ("statistician", "auditor")


class FigureSetError(ValueError):
    """A set that cannot be made, published or withdrawn; the text says why, in Chinese and English."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """The set that is published for a period, and since which event."""

    set_id: int
    as_of_ns: int
    revision: int
    at_ns: int
    note: str


def make_draft(
    sources: Sources, reader: Reader, period: str | None, actor: str, note: str, *, enterprises: bool = False
) -> int:
    """Compute every figure of a period for the county and its parts (and, if asked, for every enterprise).

    Returns the number of the set. Raises ProblemError for a period that is none.
    """
    now_ns = sources.clock.now_ns()
    question = ask_at(sources, reader, None, period, None, now_ns)
    with sources.engine.connect() as connection:
        standing = _standing(connection, question.period.id, now_ns)
    kinds = ("enterprise",) if not enterprises else ()
    scopes = [s for s in list_scopes(sources, reader, 0, MAX_SCOPES).items if s.kind not in kinds]
    names = sorted({d.id for d in sources.definitions.all()})
    before = None if standing is None else _asked_before(sources, reader, question, standing)
    rows: list[dict[str, Any]] = []
    for scope in scopes:
        asked = about(question, scope)
        published = {} if standing is None else _figures(sources.engine, standing.set_id, scope_text(scope))
        for name in names:
            figure, result = compute(asked, definition_named(asked, name))
            old = published.get(name)
            revised = None
            if old is not None and old.figure.digest != figure.digest:
                revised = _revised(before, scope, asked, old.figure, figure, isinstance(result, RateResult))
            rows.append(
                {
                    "definition_id": figure.definition.id,
                    "scope": scope_text(scope),
                    "definition_version": figure.definition.version,
                    "value": figure.value,
                    "digest": figure.digest,
                    "inputs": json.dumps(figure.inputs),
                    "content": figure.model_dump_json(),
                    "change": None if revised is None else revised.model_dump_json(),
                }
            )
    digest = digest_of(sorted([row["definition_id"], row["scope"], row["digest"]] for row in rows))
    with writing(sources.engine) as connection:
        made = connection.execute(
            insert(m.FigureSet).values(
                period_id=question.period.id,
                as_of_ns=now_ns,
                made_ns=sources.clock.now_ns(),
                actor=actor,
                note=note,
                digest=digest,
                compared_with=None if standing is None else standing.set_id,
            )
        ).inserted_primary_key
        assert made is not None
        connection.execute(insert(m.FigureValue), [row | {"set_id": made[0]} for row in rows])
        write_audit(
            connection, now_ns, actor, "figures.draft", str(made[0]), f"{question.period.id}: {len(rows)} figures"
        )
    return int(made[0])


def _asked_before(sources: Sources, reader: Reader, question: Question, standing: _Standing) -> Question:
    """The same question, as of when the published set was computed."""
    return in_period(ask_at(sources, reader, None, question.period.id, None, standing.as_of_ns), question.period)


def _revised(
    before: Question | None, scope: Scope, asked: Question, old: Figure, new: Figure, is_rate: bool
) -> RevisedFigure:
    """What changed, and why: by the digests of the inputs; of a rate also machine by machine."""
    kinds = sorted({*old.inputs, *new.inputs})
    reasons = sorted({_REASONS[kind] for kind in kinds if old.inputs.get(kind) != new.inputs.get(kind)})
    difference = None if old.value is None or new.value is None else new.value - old.value
    told = RevisedFigure(
        value_before=old.value, value_after=new.value, difference=difference, reasons=reasons or ["time"]
    )
    if not is_rate or before is None:
        return told
    earlier = about(before, scope)
    definition = earlier.sources.definitions.get(f"{old.definition.id}@{old.definition.version}")
    change = change_of(earlier, definition, asked, new.definition)
    return told.model_copy(
        update={
            "causes": change.causes,
            "machines": change.machines,
            "machines_total": change.machines_total,
        }
    )


def publish(sources: Sources, set_id: int, actor: str, note: str) -> int:
    """Publish a set as the next revision of its period's figures. Returns the revision. Raises FigureSetError.

    A draft that was compared with another set than the one that stands would tell the wrong changes: it is refused.
    """
    if not note.strip():
        raise FigureSetError("须写明说明 a publication needs a note")
    now_ns = sources.clock.now_ns()
    with writing(sources.engine) as connection:
        found = _set_row(connection, set_id)
        standing = _standing(connection, found.period_id, now_ns)
        if standing is not None and standing.set_id == set_id:
            raise FigureSetError(f"{set_id}: 已发布 is published already")
        republished = _events(connection, [set_id]).get(set_id)
        if standing is not None and found.compared_with != standing.set_id:
            raise FigureSetError(
                f"{set_id}: 草稿制作后已发布 {standing.set_id}，请重新制作草稿 "
                f"set {standing.set_id} was published since this draft was made: make a new one"
            )
        if standing is None and not republished and found.compared_with is not None:
            raise FigureSetError(
                f"{set_id}: 其对照的 {found.compared_with} 已撤回，请重新制作草稿 "
                f"set {found.compared_with}, which it was compared with, was withdrawn: make a new one"
            )
        revision = _next_revision(connection, found.period_id)
        _add_event(connection, "published", found, now_ns, actor, note.strip(), revision)
    return revision


def withdraw(sources: Sources, set_id: int, actor: str, note: str) -> None:
    """Withdraw what stands published; from then on the period has no published figures. Raises FigureSetError."""
    if not note.strip():
        raise FigureSetError("须写明理由 a withdrawal needs a reason")
    now_ns = sources.clock.now_ns()
    with writing(sources.engine) as connection:
        found = _set_row(connection, set_id)
        standing = _standing(connection, found.period_id, now_ns)
        if standing is None or standing.set_id != set_id:
            raise FigureSetError(f"{set_id}: 不是当前发布的 is not what stands published")
        _add_event(connection, "withdrawn", found, now_ns, actor, note.strip(), standing.revision)


def _add_event(
    connection: Connection, kind: str, found: Any, now_ns: int, actor: str, note: str, revision: int
) -> None:
    connection.execute(
        insert(m.FigureEvent).values(
            set_id=found.id,
            period_id=found.period_id,
            kind=kind,
            at_ns=now_ns,
            actor=actor,
            note=note,
            revision=revision,
        )
    )
    detail = f"{found.period_id}, revision {revision}, digest {found.digest}: {note}"
    write_audit(connection, now_ns, actor, f"figures.{kind}", str(found.id), detail)


def _set_row(connection: Connection, set_id: int) -> Any:
    s = m.FigureSet
    found = connection.execute(
        select(s.id, s.period_id, s.as_of_ns, s.digest, s.compared_with).where(s.id == set_id)
    ).one_or_none()
    if found is None:
        raise FigureSetError(f"{set_id}: 没有此套数 there is no such set")
    return found


def _next_revision(connection: Connection, period_id: str) -> int:
    e = m.FigureEvent
    newest = connection.execute(select(func.max(e.revision)).where(e.period_id == period_id)).scalar()
    return (newest or 0) + 1


def _standing(connection: Connection, period_id: str, at_ns: int) -> _Standing | None:
    """What stands published for a period at a time."""
    e, s = m.FigureEvent, m.FigureSet
    newest = connection.execute(
        select(e.kind, e.set_id, e.revision, e.at_ns, e.note, s.as_of_ns)
        .join(s, s.id == e.set_id)
        .where(e.period_id == period_id, e.at_ns <= at_ns)
        .order_by(e.at_ns.desc(), e.id.desc())
        .limit(1)
    ).one_or_none()
    if newest is None or newest.kind == "withdrawn":
        return None
    return _Standing(newest.set_id, newest.as_of_ns, newest.revision, newest.at_ns, newest.note)


def _figures(engine: Engine, set_id: int, scope: str) -> dict[str, SetFigure]:
    v = m.FigureValue
    with engine.connect() as connection:
        rows = connection.execute(
            select(v.definition_id, v.content, v.change)
            .where(v.set_id == set_id, v.scope == scope)
            .order_by(v.definition_id)
        ).all()
    return {
        name: SetFigure(
            figure=Figure.model_validate_json(content),
            revised=None if change is None else RevisedFigure.model_validate_json(change),
        )
        for name, content, change in rows
    }


def _events(connection: Connection, set_ids: Sequence[int]) -> dict[int, list[FigureEvent]]:
    e = m.FigureEvent
    found: dict[int, list[FigureEvent]] = {}
    rows = connection.execute(
        select(e.set_id, e.kind, e.at_ns, e.actor, e.note, e.revision).where(e.set_id.in_(set_ids)).order_by(e.id)
    )
    for set_id, kind, at_ns, actor, note, revision in rows:
        event = FigureEvent(kind=kind, at=moment(at_ns), actor=actor, note=note, revision=revision)
        found.setdefault(set_id, []).append(event)
    return found


def list_sets(sources: Sources, reader: Reader, period: str | None, offset: int, limit: int) -> FigureSetList:
    """Sets of all periods or of one, the newest first; drafts are for statisticians and auditors."""
    s, e, v = m.FigureSet, m.FigureEvent, m.FigureValue
    asked = select(s.id)
    if period is not None:
        asked = asked.where(s.period_id == period)
    if reader.role not in READS_DRAFTS:
        asked = asked.where(s.id.in_(select(e.set_id)))
    with sources.engine.connect() as connection:
        total = connection.execute(select(func.count()).select_from(asked.subquery())).scalar_one()
        ids = list(connection.execute(asked.order_by(s.id.desc()).offset(offset).limit(limit)).scalars())
        rows = connection.execute(
            select(s.id, s.period_id, s.as_of_ns, s.made_ns, s.actor, s.note, s.digest, s.compared_with)
            .where(s.id.in_(ids))
            .order_by(s.id.desc())
        ).all()
        numbers = {
            i: (figures, changed)
            for i, figures, changed in connection.execute(
                select(v.set_id, func.count(), func.count(v.change)).where(v.set_id.in_(ids)).group_by(v.set_id)
            )
        }
        events = _events(connection, ids)
        standing = {row.period_id: _standing(connection, row.period_id, sources.clock.now_ns()) for row in rows}
    items = []
    for row in rows:
        own, stands = events.get(row.id, []), standing[row.period_id]
        state = "draft" if not own else "withdrawn" if own[-1].kind == "withdrawn" else "superseded"
        items.append(
            FigureSetSummary(
                id=row.id,
                period=row.period_id,
                as_of=moment(row.as_of_ns),
                made_at=moment(row.made_ns),
                actor=row.actor,
                note=row.note,
                digest=row.digest,
                compared_with=row.compared_with,
                state="published" if stands is not None and stands.set_id == row.id else state,
                figures=numbers.get(row.id, (0, 0))[0],
                changed=numbers.get(row.id, (0, 0))[1],
                events=own,
            )
        )
    return FigureSetList(page=Page(offset=offset, limit=limit, total=total), items=items)


def get_set(sources: Sources, reader: Reader, set_id: int, scope: str | None) -> FigureSet:
    """A set with its figures of one scope. Raises the problems `not-found` and `forbidden`."""
    found = read_scope(sources, sources.register.view(), reader, scope)
    with sources.engine.connect() as connection:
        period = connection.execute(select(m.FigureSet.period_id).where(m.FigureSet.id == set_id)).scalar()
    listed = [] if period is None else list_sets(sources, reader, period, 0, MAX_SCOPES).items
    for summary in listed:
        if summary.id == set_id:
            figures = list(_figures(sources.engine, set_id, scope_text(found)).values())
            return FigureSet(summary=summary, scope=scope_text(found), figures=figures)
    raise ProblemError("not-found", f"figure set {set_id}")


def published(sources: Sources, reader: Reader, scope: str | None, period: str | None, as_of: str | None) -> Published:
    """Figures of one scope and period as they stood published at a time; default: now. Raises ProblemError."""
    at_ns = read_time(as_of)
    at_ns = sources.clock.now_ns() if at_ns is None else at_ns
    question = ask_at(sources, reader, scope, period, None, None)
    with sources.engine.connect() as connection:
        standing = _standing(connection, question.period.id, at_ns)
    text = scope_text(question.scope)
    figures = [] if standing is None else list(_figures(sources.engine, standing.set_id, text).values())
    revision = None if standing is None else standing.revision
    return Published(
        period=question.period.id,
        scope=text,
        as_of=moment(at_ns),
        set_id=None if standing is None else standing.set_id,
        revision=revision,
        published_at=None if standing is None else moment(standing.at_ns),
        note="" if standing is None else standing.note,
        figures=[
            one.model_copy(update={"figure": one.figure.model_copy(update={"revision": revision})}) for one in figures
        ],
    )
