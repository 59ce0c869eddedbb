"""Loading a folder of register files: all or nothing, with what was believed before kept.

`import_folder` reads, checks against the register and writes in one transaction. A row whose values are already
believed is left alone, so the same folder twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select, update

from api.register import models as m
from api.register.audit import write_audit
from api.register.counters import raise_counter
from api.register.csv_check import KEYS, Facts, Key, check, key_of, unit_of
from api.register.csv_format import REGISTER_FILES
from api.register.csv_read import Known, RegisterImportError, read_folder
from api.register.database import writing


@dataclass(slots=True)
class Imported:
    """What an import did: rows by file."""

    new: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    unchanged: dict[str, int] = field(default_factory=dict)

    @property
    def total_changes(self) -> int:
        """Rows that were added or changed."""
        return sum(self.new.values()) + sum(self.changed.values())


@dataclass(slots=True)
class _Identities:
    """Identities of assets and meters, both ways; new ones are made as they are asked for."""

    connection: Connection
    by_key: dict[tuple[str, str, str], int]
    by_id: dict[int, tuple[str, str, str]]

    @classmethod
    def load(cls, connection: Connection) -> _Identities:
        o = m.RegisterObject
        found = connection.execute(select(o.id, o.credit_code, o.kind, o.number)).all()
        by_id = {i: (code, kind, number) for i, code, kind, number in found}
        return cls(connection, {key: i for i, key in by_id.items()}, by_id)

    def id(self, credit_code: str, kind: str, number: str) -> int:
        key = (credit_code, kind, number)
        if key not in self.by_key:
            made = self.connection.execute(
                insert(m.RegisterObject).values(credit_code=credit_code, kind=kind, number=number)
            ).inserted_primary_key
            assert made is not None
            self.by_key[key] = made[0]
            self.by_id[made[0]] = key
        return self.by_key[key]


_MODELS: Final[dict[str, type[m.Recorded]]] = {
    "enterprises.csv": m.Enterprise,
    "sites.csv": m.Site,
    "assets.csv": m.Asset,
    "meters.csv": m.Meter,
    "gateways.csv": m.Gateway,
    "bindings.csv": m.Binding,
    "reports.csv": m.Report,
    "groups.csv": m.ScopeGroup,
    "memberships.csv": m.Membership,
    "processes.csv": m.Process,
    "statistics.csv": m.Statistic,
}
_RENAMED: Final = {"valid_from": "valid_from_day", "valid_to": "valid_to_day"}
_RENAMED_BACK: Final = {new: old for old, new in _RENAMED.items()}


def _to_row(file: str, values: Mapping[str, Any], identities: _Identities) -> dict[str, Any]:
    """The table's columns of a file's row."""
    row = {_RENAMED.get(name, name): value for name, value in values.items()}
    if file == "assets.csv":
        row["object_id"] = identities.id(row.pop("credit_code"), "asset", row.pop("asset_number"))
    elif file == "meters.csv":
        code = row.pop("credit_code")
        row["object_id"] = identities.id(code, "meter", row.pop("meter_number"))
        parent = row.pop("parent")
        row["parent_id"] = None if parent is None else identities.id(code, "meter", parent)
        row["unit"] = unit_of(row["carrier"])
    elif file == "bindings.csv":
        row["object_id"] = identities.id(row.pop("credit_code"), row.pop("kind"), row.pop("number"))
    return row


def _from_row(file: str, row: Mapping[str, Any], identities: _Identities) -> dict[str, Any]:
    """The file's columns of a table's row."""
    values = {_RENAMED_BACK.get(name, name): value for name, value in row.items()}
    if file in ("assets.csv", "meters.csv", "bindings.csv"):
        code, kind, number = identities.by_id[values.pop("object_id")]
        values["credit_code"] = code
        if file == "bindings.csv":
            values |= {"kind": kind, "number": number}
        else:
            values[f"{kind}_number"] = number
    if file == "meters.csv":
        values.pop("unit")
        parent = values.pop("parent_id")
        values["parent"] = None if parent is None else identities.by_id[parent][2]
    return {c.name: values[c.name] for c in REGISTER_FILES[file]}


def _current(connection: Connection, identities: _Identities) -> tuple[Facts, dict[tuple[str, Key], int]]:
    """What the register believes now, in the files' columns, and the row that says it."""
    facts: Facts = {}
    row_ids: dict[tuple[str, Key], int] = {}
    for file, model in _MODELS.items():
        facts[file] = {}
        table = model.__table__  # type: ignore[attr-defined]
        for row in connection.execute(select(table).where(table.c.recorded_to_ns.is_(None))).mappings():
            values = {k: v for k, v in row.items() if not k.startswith("recorded_") and k != "row_id"}
            said = _from_row(file, values, identities)
            key = key_of(file, said)
            facts[file][key] = said
            row_ids[file, key] = row["row_id"]
    return facts, row_ids


def import_folder(engine: Engine, folder: Path, known: Known, now_ns: int, actor: str = "import") -> Imported:
    """Load a folder into the register. Raises RegisterImportError with every error; then nothing was changed."""
    found = read_folder(folder, known)
    result = Imported()
    with writing(engine) as connection:
        identities = _Identities.load(connection)
        facts, row_ids = _current(connection, identities)
        check(found, facts)
        if found.errors:
            raise RegisterImportError(found.errors)
        for file in KEYS:
            _apply(connection, file, found.rows[file], facts[file], row_ids, identities, now_ns, result)
        if result.total_changes:
            raise_counter(connection, "register")
            detail = "; ".join(
                f"{file}: {result.new[file]} new, {result.changed[file]} changed"
                for file in KEYS
                if result.new[file] or result.changed[file]
            )
            write_audit(connection, now_ns, actor, "register.import", str(folder.name), detail)
    return result


def _apply(
    connection: Connection,
    file: str,
    rows: list[Any],
    facts: dict[Key, Mapping[str, Any]],
    row_ids: dict[tuple[str, Key], int],
    identities: _Identities,
    now_ns: int,
    result: Imported,
) -> None:
    table = _MODELS[file].__table__  # type: ignore[attr-defined]
    fresh: list[dict[str, Any]] = []
    ended: list[int] = []
    result.new[file] = result.changed[file] = result.unchanged[file] = 0
    for row in rows:
        key = key_of(file, row.values)
        before = facts.get(key)
        if before is not None and dict(before) == dict(row.values):
            result.unchanged[file] += 1
            continue
        if before is not None:
            ended.append(row_ids[file, key])
            result.changed[file] += 1
        else:
            result.new[file] += 1
        fresh.append(_to_row(file, row.values, identities) | {"recorded_from_ns": now_ns, "recorded_to_ns": None})
    for row_id in ended:
        connection.execute(update(table).where(table.c.row_id == row_id).values(recorded_to_ns=now_ns))
    if fresh:
        connection.execute(insert(table), fresh)
