"""Checks across rows and files: keys, references, meter trees, overlapping bindings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from api.register.csv_format import CARRIER_UNITS
from api.register.csv_read import Folder, Row, RowError

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "enterprises.csv": ("credit_code",),
    "sites.csv": ("site_id",),
    "assets.csv": ("credit_code", "asset_number"),
    "meters.csv": ("credit_code", "meter_number"),
    "gateways.csv": ("gateway",),
    "bindings.csv": ("gateway", "device", "role", "valid_from"),
    "reports.csv": ("credit_code", "month"),
    "groups.csv": ("kind", "group_id"),
    "memberships.csv": ("credit_code", "kind", "group_id", "valid_from"),
    "processes.csv": ("credit_code", "process_number"),
    "statistics.csv": ("indicator", "year"),
}
_NO_END: Final = 2**31

Key = tuple[Any, ...]
Facts = dict[str, dict[Key, Mapping[str, Any]]]
"""Values by file and key: what the register holds, in the files' own columns."""


@dataclass(slots=True)
class _Merged:
    """The register as it would be: facts by file and key, and the row that says each new one."""

    facts: Facts
    rows: dict[tuple[str, Key], Row] = field(default_factory=dict)


def key_of(file: str, values: Mapping[str, Any]) -> Key:
    """The key of a row."""
    return tuple(values[c] for c in KEYS[file])


def check(folder: Folder, current: Facts) -> None:
    """Add the errors of rows that do not fit one another, or what the register already holds."""
    errors = folder.errors
    merged = _Merged({file: dict(current.get(file, {})) for file in KEYS})
    for file, rows in folder.rows.items():
        for row in rows:
            key = key_of(file, row.values)
            first = merged.rows.get((file, key))
            if first is not None:
                errors.append(row.error(KEYS[file][-1], f"与第 {first.line} 行重复 the same key as line {first.line}"))
                continue
            merged.rows[file, key] = row
            merged.facts[file][key] = row.values
    for (file, _), row in merged.rows.items():
        errors.extend(_references(file, row, merged.facts))
    errors.extend(_meter_trees(merged))
    errors.extend(_bindings(merged))
    errors.extend(_parks(merged))
    errors.sort(key=lambda e: (list(KEYS).index(e.file) if e.file in KEYS else -1, e.line))


def _references(file: str, row: Row, facts: Facts) -> Iterable[RowError]:
    v = row.values
    code = v.get("credit_code")
    if file != "enterprises.csv" and code is not None and (code,) not in facts["enterprises.csv"]:
        yield row.error("credit_code", "企业不在 enterprises.csv 或台账中 no such enterprise")
        return
    site = v.get("site_id")
    if file in ("assets.csv", "meters.csv", "gateways.csv") and site is not None:
        found = facts["sites.csv"].get((site,))
        if found is None:
            yield row.error("site_id", "场所不在 sites.csv 或台账中 no such site")
        elif code is not None and found["credit_code"] != code:
            yield row.error("site_id", "场所属于另一企业 the site belongs to another enterprise")
    until = v.get("valid_to")
    if until is not None and until < v["valid_from"]:
        yield row.error("valid_to", "应不早于 valid_from expected not before valid_from")
    if file == "bindings.csv":
        if (v["gateway"],) not in facts["gateways.csv"]:
            yield row.error("gateway", "网关不在 gateways.csv 或台账中 no such gateway")
        if (code, v["number"]) not in facts[f"{v['kind']}s.csv"]:
            yield row.error("number", f"该企业没有此编号 the enterprise has no such {v['kind']}")
    if file == "memberships.csv" and (v["kind"], v["group_id"]) not in facts["groups.csv"]:
        yield row.error("group_id", "不在 groups.csv 或台账中 no such chain or park")
    if file == "assets.csv" and v["original_value_wan"] is not None and v["original_value_wan"] < 0:
        yield row.error("original_value_wan", "不能为负 expected 0 or more")
    if file == "reports.csv" and v["value_added_wan"] is None and v["output_wan"] is None:
        yield row.error("value_added_wan", "增加值与产值至少填一项 value added or output must be given")


def _meter_trees(merged: _Merged) -> Iterable[RowError]:
    meters = merged.facts["meters.csv"]
    for (file, key), row in merged.rows.items():
        if file != "meters.csv":
            continue
        code, number = key
        parent = row.values["parent"]
        if row.values["meter_role"] == "sub":
            if parent is None:
                yield row.error("parent", "分表须写明上级表 a sub meter needs the meter that contains it")
                continue
        elif parent is not None:
            yield row.error("parent", "只有分表有上级表 only a sub meter has a parent")
            continue
        if parent is None:
            continue
        above = meters.get((code, parent))
        if above is None:
            yield row.error("parent", "该企业没有此表 the enterprise has no such meter")
        elif above["carrier"] != row.values["carrier"]:
            yield row.error("parent", "上级表的能源品种不同 the parent counts another carrier")
        else:
            seen = {number}
            while parent is not None:
                if parent in seen:
                    yield row.error("parent", "上级关系成环 the meters contain one another")
                    break
                seen.add(parent)
                parent = meters.get((code, parent), {}).get("parent")


def _bindings(merged: _Merged) -> Iterable[RowError]:
    """Two bindings of one object and role, or of one device and role, must not overlap."""
    groups: dict[tuple[Any, ...], list[tuple[int, int, Key]]] = {}
    for key, v in merged.facts["bindings.csv"].items():
        until = _NO_END if v["valid_to"] is None else v["valid_to"]
        span = (v["valid_from"], until, key)
        groups.setdefault(("object", v["credit_code"], v["kind"], v["number"], v["role"]), []).append(span)
        groups.setdefault(("device", v["gateway"], v["device"], v["role"]), []).append(span)
    for group, spans in groups.items():
        for (_, until, one), (since, _, other) in pairwise(sorted(spans)):
            if since <= until:
                row = merged.rows.get(("bindings.csv", other)) or merged.rows.get(("bindings.csv", one))
                if row is not None:
                    what = "该设备或表" if group[0] == "object" else "该网关设备"
                    yield row.error(
                        "valid_from",
                        f"{what}同一时间已有 {group[-1]} 绑定 overlaps another {group[-1]} binding of one {group[0]}",
                    )


def _parks(merged: _Merged) -> Iterable[RowError]:
    """An enterprise lies in one park at a time; chains may overlap."""
    spans: dict[str, list[tuple[int, int, Key]]] = {}
    for key, v in merged.facts["memberships.csv"].items():
        if v["kind"] == "park":
            until = _NO_END if v["valid_to"] is None else v["valid_to"]
            spans.setdefault(v["credit_code"], []).append((v["valid_from"], until, key))
    for held in spans.values():
        for (_, until, one), (since, _, other) in pairwise(sorted(held)):
            if since <= until:
                row = merged.rows.get(("memberships.csv", other)) or merged.rows.get(("memberships.csv", one))
                if row is not None:
                    yield row.error(
                        "valid_from", "该企业同一时间已属另一园区 the enterprise is in another park at that time"
                    )


def unit_of(carrier: str) -> str:
    """The register's unit of a carrier."""
    return CARRIER_UNITS[carrier]
