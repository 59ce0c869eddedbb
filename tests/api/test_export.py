"""plantpulse-county export: every figure and every device's day, as people and as programs read them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select
from typer.testing import CliRunner

from api.cli import app
from api.export.files import Column, Table, guarded, print_csv, print_json, write_file, write_parquet
from api.export.tables import DEVICE_DAY_COLUMNS, FIGURE_COLUMNS
from api.register.admin import register_of
from api.register.models import Audit
from api.server import ServeError
from gateway.wire import Announce, Announcement
from metrics.record import local_day_start_s
from tests.api.county_fixtures import (
    NOW_S,
    PLANT,
    TODAY,
    CountyUnderTest,
    minutes,
    register_files,
    running_county,
    settings_for,
)

NS = 1_000_000_000
DAY = "2026-11-17"
"""The day before TODAY."""


async def worked(county: CountyUnderTest, folder: Path) -> None:
    """Yesterday in one plant: an hour of a machine, and of a meter."""
    files = register_files()
    files["groups.csv"] = "kind,group_id,name_zh\nchain,moulds,=1+1 模具"
    files["memberships.csv"] = f"credit_code,kind,group_id\n{PLANT},chain,moulds"
    county.load(folder / "register", files)
    gateway = county.gateway()
    start_s = local_day_start_s(TODAY - 1)
    said = Announcement(
        *(1, (start_s - 60) * NS, "main-1", "modbus-tcp://10.0.0.9:502", "meter-a", "meter-electricity", "native"),
        carrier="electricity",
        unit="kWh",
        direction="import",
    )
    await gateway.post("announce", Announce("gw-1", gateway.epoch, [said]))
    await gateway.send(["cnc-1"], minutes(0, start_s, 60, running=300))
    await gateway.send(["main-1"], minutes(0, start_s, 60, quantity=25))
    await county.settle()


@pytest.fixture
async def county(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "county"))
    monkeypatch.setattr("api.clock.time.time_ns", lambda: (NOW_S + 600) * NS)
    async with running_county(tmp_path / "county") as running:
        await worked(running, tmp_path)
        yield running


async def call(*arguments: str, code: int = 0) -> Any:
    """The command in a thread of its own, beside the service that runs."""
    done = await asyncio.to_thread(CliRunner().invoke, app, ["export", *arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def read_csv(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    return [dict(zip((heading.split(" ")[-1] for heading in rows[0]), row, strict=True)) for row in rows[1:]]


async def test_every_figure_of_a_period_at_every_scope_beside_the_running_service(county: CountyUnderTest) -> None:
    rows = read_csv((await call("--period", DAY)).stdout)
    await county.sign_in()
    shown = (await county.get("/indicators", scope="county", period=DAY, ids="all"))["figures"]
    own = {row["indicator"]: row for row in rows if row["scope"] == "county"}
    assert own.keys() == {figure["definition"]["id"] for figure in shown}
    for figure in shown:
        row = own[figure["definition"]["id"]]
        for key in ("value", "lower", "upper", "coverage", "numerator", "denominator"):
            assert row[key] == ("" if figure[key] is None else repr(float(figure[key]))), (row["indicator"], key)
        assert (row["digest"], row["status"]) == (figure["digest"], figure["status"])
        assert (row["version"], row["period"], row["state"]) == (str(figure["definition"]["version"]), DAY, "draft")
    scopes = {row["scope"] for row in rows}
    assert {"county", "zone:nhedz", "industry:auto-moulds", "chain:moulds"} <= scopes
    assert not any(scope.startswith("enterprise:") for scope in scopes)
    assert {row["scope_name"] for row in rows if row["scope"] == "chain:moulds"} == {"'=1+1 模具"}, "no formula"
    with_enterprises = read_csv((await call("--period", DAY, "--enterprises")).stdout)
    assert {row["scope"] for row in with_enterprises} - scopes > {f"enterprise:{PLANT}"}


async def test_what_stands_published_is_told_apart_from_what_has_changed_since(county: CountyUnderTest) -> None:
    def publish(*arguments: str) -> None:
        done = CliRunner().invoke(app, ["publish", *arguments])
        assert done.exit_code == 0, done.output

    await asyncio.to_thread(publish, "--draft", "--period", DAY)
    before = json.loads((await call("--set", "1", "--json")).stdout)
    assert {(row["state"], row["revision"]) for row in before} == {("draft", 0)}
    await asyncio.to_thread(publish, "--set", "1", "--note", "快报")
    now = json.loads((await call("--period", DAY, "--json")).stdout)
    assert {(row["state"], row["revision"]) for row in now} == {("published", 1)}
    assert sorted(row["digest"] for row in now) == sorted(row["digest"] for row in before)

    late = county.gateway(epoch=7)
    await late.send(["moulding-1"], minutes(0, local_day_start_s(TODAY - 1), 30))
    await county.settle()
    changed = json.loads((await call("--period", DAY, "--json")).stdout)
    states = {row["indicator"]: (row["state"], row["value"]) for row in changed if row["scope"] == "county"}
    assert states["networking-rate"] == ("draft", 0.4)
    assert states["cnc-rate"][0] == "published", "what hangs on the register alone is as it was"
    kept = json.loads((await call("--set", "1", "--json")).stdout)
    assert {(row["state"], row["revision"], row["period"]) for row in kept} == {("published", 1, DAY)}
    assert next(r["value"] for r in kept if (r["indicator"], r["scope"]) == ("networking-rate", "county")) == 0.2


async def test_device_days_in_every_format_say_the_same(county: CountyUnderTest, tmp_path: Path) -> None:
    files = {end: tmp_path / f"days.{end}" for end in ("csv", "json", "parquet")}
    for path in files.values():
        told = json.loads((await call("--device-days", "--period", "2026-11", "--to", str(path), "--json")).stdout)
        assert told == {"what": "device-days", "period": "2026-11", "rows": 2, "file": str(path)}
    listed = json.loads(files["json"].read_text("utf-8"))
    machine, meter = listed
    assert (machine["day"], machine["gateway"], machine["device"]) == (DAY, "gw-1", "cnc-1")
    assert (machine["connected_s"], machine["running_s"], machine["last_reading"]) == (3600.0, 1800.0, None)
    assert machine["first_connected_at"] == "2026-11-16T16:00:00Z"
    assert (meter["device"], meter["carrier"], meter["unit"], meter["quantity"]) == (
        "main-1",
        "electricity",
        "kWh",
        1.5,
    )
    assert [c.key for c in DEVICE_DAY_COLUMNS] == list(machine)
    for row, typed in zip(read_csv(files["csv"].read_text("utf-8")), listed, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in typed.items()}
    with duckdb.connect() as db:
        found = db.execute(f"select * from read_parquet('{files['parquet']}')")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert rows == [{key: value or (None if value == "" else value) for key, value in row.items()} for row in listed]


async def test_an_export_stands_in_the_audit_log(county: CountyUnderTest, tmp_path: Path) -> None:
    await call("--period", DAY, "--to", str(tmp_path / "figures.csv"))
    with register_of(county.settings) as engine, engine.connect() as connection:
        a = Audit
        action, subject, detail = connection.execute(
            select(a.action, a.subject, a.detail).order_by(a.id.desc()).limit(1)
        ).one()
    assert (action, subject) == ("figures.export", DAY)
    assert detail.endswith(f"rows: {tmp_path / 'figures.csv'}")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--period", "october"], 2, "--period"),
        (["--to", "figures.xls"], 2, ".parquet"),
        (["--set", "1", "--device-days"], 2, "--set"),
        (["--enterprises", "--device-days"], 2, "--enterprises"),
        (["--set", "7"], 1, "there is no such set"),
        (["--to", "no/such/folder/figures.csv"], 1, "check folder, rights and disk"),
    ],
)
def test_what_cannot_be_exported_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "county"))
    monkeypatch.chdir(tmp_path)
    with register_of(settings_for(tmp_path / "county")):
        done = CliRunner().invoke(app, ["export", *arguments])
    assert (done.exit_code, words in done.output) == (code, True), done.output


@pytest.mark.parametrize("end", ["csv", "json", "parquet"])
def test_a_file_that_was_there_stays_until_the_new_one_is_whole(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"figures.{end}"
    path.write_text("before")

    def broken() -> Any:
        yield ("a", 1.0, 1)
        raise ServeError("half-way")

    with pytest.raises(ServeError):
        write_file(Table(COLUMNS, broken()), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


COLUMNS = (Column("name", "名称", "text"), Column("value", "数值", "number"), Column("count", "个数", "integer"))
ROWS = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-(2**62), 2**62),
    ),
    max_size=5,
)


@given(ROWS)
@example([("=cmd|' /C calc'!A0", -1.5, -3), ("-1", 1e-9, 0), ("", None, 1)])
def test_whatever_the_cells_hold_numbers_stay_exact_and_no_text_begins_a_formula(rows: list[Any]) -> None:
    out = io.StringIO(newline="")
    assert print_csv(Table(COLUMNS, rows), out) == len(rows)
    (heading, *read) = list(csv.reader(io.StringIO(out.getvalue().removeprefix("\ufeff"), newline="")))
    assert heading == ["名称 name", "数值 value", "个数 count"]
    for (name, value, count), cells in zip(rows, read, strict=True):
        assert cells[0] == guarded(name)
        assert cells[0][:1] not in ("=", "+", "-", "@", "\t", "\r")
        assert cells[0].removeprefix("'") == name.removeprefix("'")
        assert (float(cells[1]) if cells[1] else None, int(cells[2])) == (value, count)
        assert "e" not in cells[1]
    out = io.StringIO()
    print_json(Table(COLUMNS, rows), out)
    assert [tuple(row.values()) for row in json.loads(out.getvalue())] == rows


def test_a_parquet_file_of_many_rows_keeps_types_whatever_comes_first(tmp_path: Path) -> None:
    rows = [("", None, 0)] * 60_000 + [("冲床", 0.1, 2**40)]
    path = tmp_path / "it's.parquet"
    assert write_parquet(Table(COLUMNS, rows), path) == 60_001
    with duckdb.connect() as db:
        made = db.read_parquet(str(path))
        assert [str(kind) for kind in made.types] == ["VARCHAR", "DOUBLE", "BIGINT"]
        assert made.filter("count > 0 or name is not null or value is not null").fetchall() == [("冲床", 0.1, 2**40)]


def test_nothing_to_export_is_a_table_without_rows(tmp_path: Path) -> None:
    for end in ("csv", "json", "parquet"):
        assert write_file(Table(FIGURE_COLUMNS, []), tmp_path / f"none.{end}") == 0
    assert json.loads((tmp_path / "none.json").read_text()) == []
