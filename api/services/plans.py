"""Development plans: folders of tables, checked and loaded when the service starts."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Connection, Engine, delete, insert, select

from api.register.database import writing
from api.register.models import Industry, Zone
from api.register.models import Plan as PlanRow
from api.schemas import Declared, Plan, PlanIndicator

_TABLES: Final = ("indicators-2021-2025.csv", "baseline.csv", "industries.csv", "zones.csv")


class PlanError(ValueError):
    """A plan's folder that cannot be loaded; the text names the file and line."""


class _DeclaredRow(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: str
    note_zh: str
    note_en: str


class _PlanFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    id: str
    county_zh: str
    county_en: str
    name_zh: str
    name_en: str
    issued: str
    issuer_zh: str
    years: str
    declared: dict[str, _DeclaredRow]
    notes_zh: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Named:
    """An industry, zone or area of a plan. `parent` is the zone of an area."""

    id: str
    name_zh: str
    name_en: str
    level: Literal["industry", "zone", "area"]
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A plan as the service uses it. `declared` is by definition id."""

    plan: Plan
    county_zh: str
    county_en: str
    digest: str
    industries: dict[str, Named]
    zones: dict[str, Named]
    declared: dict[str, Declared]


def load_plan(folder: Path) -> LoadedPlan:
    """Read a plan's folder. Raises PlanError."""
    digest = hashlib.sha256()
    for name in ("plan.yaml", *_TABLES):
        path = folder / name
        if not path.is_file():
            raise PlanError(f"{path}: 缺少此文件 this file is missing")
        digest.update(path.read_bytes())
    try:
        header = _PlanFile.model_validate(yaml.safe_load((folder / "plan.yaml").read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise PlanError(f"{folder / 'plan.yaml'}: {error}") from error
    if header.id != folder.name:
        raise PlanError(f"{folder / 'plan.yaml'}: id: {header.id}, 应为 expected {folder.name}")
    baselines = {row["id"]: row for row in _read(folder / "baseline.csv")}
    declared: dict[str, Declared] = {}
    for definition, said in header.declared.items():
        row = baselines.get(said.baseline)
        if row is None:
            raise PlanError(f"{folder / 'plan.yaml'}: declared.{definition}: baseline.csv 无 has no {said.baseline}")
        declared[definition] = _declared(row, said.note_zh)
    rows = _read(folder / "indicators-2021-2025.csv")
    for unknown in header.notes_zh.keys() - {row["id"] for row in rows}:
        raise PlanError(f"{folder / 'plan.yaml'}: notes_zh.{unknown}: indicators-2021-2025.csv 无 has no such id")
    plan = Plan(
        id=header.id,
        name_zh=header.name_zh,
        name_en=header.name_en,
        issued=header.issued,
        years=header.years,
        indicators=[_indicator(row, header.notes_zh.get(row["id"], "")) for row in rows],
        baselines=list(declared.values()),
    )
    industries = {r["id"]: Named(r["id"], r["zh"], r["en"], "industry") for r in _read(folder / "industries.csv")}
    zones = {
        r["zone_id"]: Named(
            r["zone_id"], r["zh"], r["en"], cast(Literal["zone", "area"], r["level"]), r["parent"] or None
        )
        for r in _read(folder / "zones.csv")
    }
    return LoadedPlan(plan, header.county_zh, header.county_en, digest.hexdigest(), industries, zones, declared)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise PlanError(f"{path}:{line}: 列数不符 the number of cells differs from the heading")
    return rows


def _number(text: str) -> float | None:
    return float(text) if text else None


def _declared(row: dict[str, str], note_zh: str) -> Declared:
    return Declared(
        item_zh=row["item_zh"],
        value=float(row["value"]),
        unit=row["unit"],
        year=int(row["year"]),
        scope_zh=row["scope_zh"],
        note_zh=note_zh,
    )


def _indicator(row: dict[str, str], note_zh: str) -> PlanIndicator:
    return PlanIndicator(
        id=row["id"],
        area_zh=row["area_zh"],
        indicator_zh=row["indicator_zh"],
        indicator_en=row["indicator_en"],
        unit_zh=row["unit_zh"],
        base_year=int(row["base_year"]) if row["base_year"] else None,
        base_text=row["base_text"],
        base_value=_number(row["base_num"]),
        target_year=int(row["target_year"]) if row["target_year"] else None,
        target_text=row["target_text"],
        target_value=_number(row["target_num"]),
        target_comparator=row["target_cmp"],
        growth_text=row["growth_text"],
        direction=cast(Literal["up", "down"], row["direction"]),
        kind=row["kind"],
        source=row["source"],
        note=row["note"],
        note_zh=note_zh,
    )


class Plans:
    """All plans of the folder of plans; `current` is the one whose names and baselines apply."""

    def __init__(self, folder: Path, current: str) -> None:
        folders = sorted(p.parent for p in folder.glob("*/plan.yaml"))
        self._plans = {found.plan.id: found for found in map(load_plan, folders)}
        if current not in self._plans:
            raise PlanError(f"PLANTPULSE_PLAN={current}: 应为 expected one of {', '.join(self._plans)}")
        self.current = self._plans[current]

    def all(self) -> list[Plan]:
        """All plans, the newest first."""
        return sorted((p.plan for p in self._plans.values()), key=lambda p: p.issued, reverse=True)

    def get(self, plan_id: str) -> Plan | None:
        """One plan."""
        found = self._plans.get(plan_id)
        return None if found is None else found.plan

    def store(self, engine: Engine, now_ns: int) -> None:
        """Put plans into the register where their folder has changed."""
        with writing(engine) as connection:
            known: dict[str, str] = {i: d for i, d in connection.execute(select(PlanRow.id, PlanRow.digest))}  # noqa: C416
            for plan_id, found in self._plans.items():
                if known.get(plan_id) != found.digest:
                    _store(connection, found, now_ns)


def _store(connection: Connection, found: LoadedPlan, now_ns: int) -> None:
    plan_id = found.plan.id
    for model in (Industry, Zone):
        connection.execute(delete(model).where(model.plan_id == plan_id))
    connection.execute(delete(PlanRow).where(PlanRow.id == plan_id))
    connection.execute(
        insert(PlanRow).values(id=plan_id, digest=found.digest, loaded_ns=now_ns, content=found.plan.model_dump_json())
    )
    named: list[dict[str, Any]] = [
        {"plan_id": plan_id, "id": n.id, "name_zh": n.name_zh, "name_en": n.name_en} for n in found.industries.values()
    ]
    connection.execute(insert(Industry), named)
    zones: list[dict[str, Any]] = [
        {
            "plan_id": plan_id,
            "id": z.id,
            "level": z.level,
            "parent_id": z.parent,
            "name_zh": z.name_zh,
            "name_en": z.name_en,
        }
        for z in found.zones.values()
    ]
    connection.execute(insert(Zone), zones)
