"""What can be exported: the figures of a period at every scope, and what each device did each day of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select

from api.clock import moment
from api.day_rows import read_content
from api.export.files import Column, Row, Table
from api.register.models import DeviceDay, FigureValue
from api.schemas import Figure, FigureSetSummary
from api.services.access import Reader
from api.services.figure_sets import MAX_SCOPES, FigureSetError, list_sets
from api.services.figures import definition_named, figure_of
from api.services.periods import day_id, read_period
from api.services.question import about, ask
from api.services.scopes import list_scopes, scope_text
from api.services.sources import Sources
from metrics.days import DAY_COLUMNS, NEVER
from metrics.record import TENTHS_PER_S, THOUSANDTHS

_NS: Final = 1_000_000_000

FIGURE_COLUMNS: Final = (
    Column("period", "统计期", "text"),
    Column("scope", "范围", "text"),
    Column("scope_name", "范围名称", "text"),
    Column("indicator", "指标", "text"),
    Column("indicator_name", "指标名称", "text"),
    Column("version", "口径版本", "integer"),
    Column("unit", "单位", "text"),
    Column("value", "数值", "number"),
    Column("lower", "下限", "number"),
    Column("upper", "上限", "number"),
    Column("coverage", "覆盖率", "number"),
    Column("numerator", "分子", "number"),
    Column("denominator", "分母", "number"),
    Column("status", "数据状态", "text"),
    Column("state", "发布状态", "text"),
    Column("revision", "修订号", "integer"),
    Column("computed_at", "计算时间", "text"),
    Column("digest", "摘要", "text"),
)

_ZH: Final = {
    "observed": "观测时间",
    "connected": "联网时间",
    "running": "运行",
    "idle": "待机",
    "fault": "故障",
    "off": "关机",
    "first_connected_s": "首次证实联网",
    "last_connected_s": "最后证实联网",
    "quantity": "计量",
    "quantity_idle": "其中待机",
    "quantity_estimated": "其中估算",
    "quantity_span_s": "计量覆盖时间",
    "first_reading": "首次读数",
    "first_reading_s": "首次读数时间",
    "last_reading": "末次读数",
    "last_reading_s": "末次读数时间",
    "parts": "件数",
    "good": "有效样本",
    "bad": "无效样本",
    "records": "记录",
    "supplements": "补充记录",
    "duplicates": "重复记录",
    "conflicts": "矛盾记录",
    "overlaps": "重叠窗口",
    "flags": "标志",
}
_MEASURES: Final = DAY_COLUMNS[2:]


def _device_day_column(name: str, unit: str) -> Column:
    match unit:
        case "0.1 s":
            return Column(f"{name}_s", _ZH[name], "number")
        case "0.001 of the unit":
            return Column(name, _ZH[name], "number")
        case "s, UTC":
            return Column(f"{name.removesuffix('_s')}_at", _ZH[name], "text")
        case _:
            return Column(name, _ZH[name], "integer")


DEVICE_DAY_COLUMNS: Final = (
    Column("day", "日期", "text"),
    Column("gateway", "网关", "text"),
    Column("device", "设备", "text"),
    Column("carrier", "计量对象", "text"),
    Column("unit", "单位", "text"),
    *(_device_day_column(column.name, column.unit) for column in _MEASURES),
    Column("digest", "日数据摘要", "text"),
)


def figures_now(sources: Sources, reader: Reader, period: str | None, *, enterprises: bool) -> Table:
    """Every figure of a period as it is now, for the county and its parts (if asked, for every enterprise).

    `state` is `published` where the figure that stands published has the same inputs, else `draft`.
    Raises ProblemError.
    """
    question = ask(sources, reader, None, period, None)
    standing = _standing(sources, reader, question.period.id)
    known: dict[tuple[str, str], str] = {}
    if standing is not None:
        v = FigureValue
        with sources.engine.connect() as connection:
            asked = select(v.definition_id, v.scope, v.digest).where(v.set_id == standing.id)
            known = {(row.definition_id, row.scope): row.digest for row in connection.execute(asked)}
    names = sorted({d.id for d in sources.definitions.all()})
    revision = 0 if standing is None else standing.events[-1].revision

    def rows() -> Iterator[Row]:
        for scope in list_scopes(sources, reader, 0, MAX_SCOPES).items:
            if scope.kind == "enterprise" and not enterprises:
                continue
            asked = about(question, scope)
            for name in names:
                figure = figure_of(asked, definition_named(asked, name))
                same = known.get((figure.definition.id, scope_text(scope))) == figure.digest
                yield _figure_row(figure, "published" if same else "draft", revision if same else 0)

    return Table(FIGURE_COLUMNS, rows())


def figures_of_set(sources: Sources, reader: Reader, set_id: int) -> tuple[str, Table]:
    """A set's figures as they were computed, under what the set is now, and its period. Raises FigureSetError."""
    found = [one for one in list_sets(sources, reader, None, 0, MAX_SCOPES).items if one.id == set_id]
    if not found:
        raise FigureSetError(f"{set_id}: 没有此套数 there is no such set")
    (summary,) = found
    revision = summary.events[-1].revision if summary.events else 0
    v = FigureValue

    def rows() -> Iterator[Row]:
        with sources.engine.connect() as connection:
            asked = select(v.content).where(v.set_id == set_id).order_by(v.scope, v.definition_id)
            for (content,) in connection.execute(asked):
                yield _figure_row(Figure.model_validate_json(content), summary.state, revision)

    return summary.period, Table(FIGURE_COLUMNS, rows())


def _standing(sources: Sources, reader: Reader, period_id: str) -> FigureSetSummary | None:
    listed = list_sets(sources, reader, period_id, 0, MAX_SCOPES).items
    return next((one for one in listed if one.state == "published"), None)


def _figure_row(figure: Figure, state: str, revision: int) -> Row:
    return (
        figure.period.id,
        scope_text(figure.scope),
        figure.scope.name_zh,
        figure.definition.id,
        figure.definition.name_zh,
        figure.definition.version,
        figure.unit,
        figure.value,
        figure.lower,
        figure.upper,
        figure.coverage,
        figure.numerator,
        figure.denominator,
        figure.status,
        state,
        revision,
        _time(figure.computed_at),
        figure.digest,
    )


def device_days(sources: Sources, period: str | None) -> Table:
    """What every device did on every local day of a period, by day, gateway and device. Raises ProblemError.

    Times in s, quantities in the unit that the device announced.
    """
    asked = read_period(period, sources.clock.now_ns() // _NS)
    d = DeviceDay

    def rows() -> Iterator[Row]:
        for day in range(asked.from_day, asked.to_day):
            with sources.engine.connect() as connection:
                found = connection.execute(
                    select(d.gateway, d.devices, d.content, d.digest).where(d.day == day).order_by(d.gateway)
                )
                for gateway, devices, content, digest in found:
                    yield from _device_rows(sources, day, gateway, json.loads(devices), content, digest)

    return Table(DEVICE_DAY_COLUMNS, rows())


def _device_rows(
    sources: Sources, day: int, gateway: str, devices: list[str], content: bytes, digest: str
) -> Iterator[Row]:
    states = read_content(content)
    columns = [[_shown(column.unit, value) for value in getattr(states, column.name).tolist()] for column in _MEASURES]
    date = day_id(day)
    for number, *measures in zip(states.device.tolist(), *columns, strict=True):
        said = sources.announcements.latest(gateway, devices[number])
        carrier, unit = ("", "") if said is None else (said.carrier, said.unit)
        yield (date, gateway, devices[number], carrier, unit, *measures, digest)


def _shown(unit: str, value: int) -> str | float | int | None:
    match unit:
        case "0.1 s":
            return value / TENTHS_PER_S
        case "0.001 of the unit":
            return None if value == NEVER else value / THOUSANDTHS
        case "s, UTC":
            return None if value == NEVER else _time(moment(value * _NS))
        case _:
            return value


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
