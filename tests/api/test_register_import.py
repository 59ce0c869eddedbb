"""Loading the register from CSV files: errors with their place, all or nothing, the same twice, history kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from api.register import models as m
from api.register.admin import load_register, register_of
from api.register.csv_format import REGISTER_FILES
from api.register.csv_read import RegisterImportError
from tests.api.county_fixtures import NOW_S, OTHER, PLANT, register_files, settings_for, write_csv

NS = 1_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with register_of(settings_for(tmp_path / "county")) as opened:
        yield opened


def load(tmp_path: Path, files: dict[str, str], at_s: int = NOW_S) -> dict[str, int]:
    folder = write_csv(tmp_path / f"register-{at_s}-{abs(hash(str(files)))}", files)
    done = load_register(settings_for(tmp_path / "county"), folder, at_s * NS)
    return {file: done.new[file] + done.changed[file] for file in done.new if done.new[file] + done.changed[file]}


def count(engine: Engine, model: type[m.Base]) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(model)).scalar_one())


def test_a_folder_is_loaded_and_the_same_again_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    assert load(tmp_path, register_files()) == {
        "enterprises.csv": 2,
        "sites.csv": 2,
        "assets.csv": 6,
        "meters.csv": 2,
        "gateways.csv": 2,
        "bindings.csv": 5,
        "reports.csv": 1,
    }
    audits = count(engine, m.Audit)
    assert load(tmp_path, register_files(), NOW_S + 1) == {}
    assert (count(engine, m.Asset), count(engine, m.Binding), count(engine, m.Audit)) == (6, 5, audits)


def test_a_correction_keeps_what_was_believed_before(engine: Engine, tmp_path: Path) -> None:
    load(tmp_path, register_files())
    files = register_files()
    files["assets.csv"] = files["assets.csv"].replace("老车床,lathe,manual", "老车床,lathe,cnc")
    assert load(tmp_path, files, NOW_S + 60) == {"assets.csv": 1}
    with engine.connect() as connection:
        rows = connection.execute(
            select(m.Asset.object_id, m.Asset.control, m.Asset.recorded_from_ns, m.Asset.recorded_to_ns)
            .where(m.Asset.name_zh == "老车床")
            .order_by(m.Asset.row_id)
        ).all()
    assert [r[1:] for r in rows] == [("manual", NOW_S * NS, (NOW_S + 60) * NS), ("cnc", (NOW_S + 60) * NS, None)]
    assert len({r[0] for r in rows}) == 1


def test_rows_that_are_absent_are_left_alone(engine: Engine, tmp_path: Path) -> None:
    load(tmp_path, register_files())
    assert load(tmp_path, {"enterprises.csv": register_files()["enterprises.csv"]}, NOW_S + 1) == {}
    assert count(engine, m.Binding) == 5


def test_full_width_signs_and_a_byte_order_mark_are_put_right(engine: Engine, tmp_path: Path) -> None:
    files = register_files()
    files["enterprises.csv"] = "﻿" + files["enterprises.csv"].replace(PLANT, "９１３３０２２６ＭＡ２２５６３４００　")
    assert load(tmp_path, files)["enterprises.csv"] == 2


CASES = [
    ("enterprises.csv", PLANT, "91330226MA22563401", 2, "credit_code", "check sign should be 0"),
    ("enterprises.csv", PLANT, "91330226MA2256340", 2, "credit_code", "expected 18 signs, found 17"),
    ("enterprises.csv", PLANT, "91330226MA2256I400", 2, "credit_code", "sign 15"),
    ("enterprises.csv", "auto-moulds", "autos", 2, "industry_id", "an industry of the plan"),
    ("enterprises.csv", "nhedz-core", "nowhere", 2, "zone_id", "a zone of the plan"),
    ("enterprises.csv", "nhedz-core,yes", "nhedz-core,ja", 2, "register_confirmed", "yes or no"),
    ("enterprises.csv", "industry_id", "industry", 1, "industry", "unknown column"),
    ("enterprises.csv", "name_zh,", "", 1, "name_zh", "missing"),
    ("sites.csv", OTHER, "91110000600037341L", 3, "credit_code", "no such enterprise"),
    ("assets.csv", "cnc,cnc,yes", "cnc,nc,yes", 2, "control", "cnc, plc, robot, manual, none"),
    ("assets.csv", "A2,", "A1,", 3, "asset_number", "the same key as line 2"),
    ("assets.csv", "yes,s2", "yes,s1", 7, "site_id", "belongs to another enterprise"),
    ("assets.csv", "注塑机,", ",", 3, "name_zh", "must not be empty"),
    ("assets.csv", "注塑机,", "注塑机,,", 3, "", "expected 7 cells"),
    ("meters.csv", "sub,M1", "sub,", 3, "parent", "needs the meter that contains it"),
    ("meters.csv", "sub,M1", "sub,M9", 3, "parent", "no such meter"),
    ("meters.csv", "sub,M1", "sub,M2", 3, "parent", "contain one another"),
    ("meters.csv", "electricity,sub", "water,sub", 3, "parent", "another carrier"),
    ("meters.csv", "import,", "import,M2", 2, "parent", "only a sub meter"),
    ("bindings.csv", "gw-1,cnc-1", "gw-9,cnc-1", 2, "gateway", "no such gateway"),
    ("bindings.csv", "asset,A2", "asset,A9", 3, "number", "no such asset"),
    ("bindings.csv", "asset,A2", "asset,A1", 3, "valid_from", "overlaps another state binding of one object"),
    ("bindings.csv", "moulding-1", "cnc-1", 3, "valid_from", "the same key as line 2"),
    ("bindings.csv", "asset,A1,state,2026-01-01", "asset,A1,state,2026-02-30", 2, "valid_from", "a date"),
    ("bindings.csv", "asset,A1,state,", "asset,A1,State,", 2, "role", "state, quantity"),
    ("reports.csv", "2026-10", "2026-13", 2, "month", "a month YYYY-MM"),
    ("reports.csv", "46,", '"1,046",', 2, "value_added_wan", "a number"),
    ("reports.csv", "46,180.5", ",", 2, "value_added_wan", "must be given"),
]


@pytest.mark.parametrize(("file", "old", "new", "line", "column", "expected"), CASES)
def test_an_error_names_file_line_column_value_and_what_was_expected(
    engine: Engine, tmp_path: Path, file: str, old: str, new: str, line: int, column: str, expected: str
) -> None:
    files = register_files()
    assert old in files[file]
    files[file] = files[file].replace(old, new, 1)
    with pytest.raises(RegisterImportError) as caught:
        load(tmp_path, files)
    found = [e for e in caught.value.errors if (e.file, e.line, e.column) == (file, line, column)]
    assert any(expected in e.expected for e in found), str(caught.value)
    assert all(any("一" <= sign <= "鿿" for sign in e.expected) for e in found)
    assert count(engine, m.Enterprise) == count(engine, m.RegisterObject) == 0


def test_every_error_is_told_at_once(engine: Engine, tmp_path: Path) -> None:
    files = register_files()
    files["assets.csv"] = files["assets.csv"].replace(",cnc,yes", ",nc,yes").replace(",plc,yes", ",sps,yes")
    files["reports.csv"] = files["reports.csv"].replace("2026-10", "October")
    files["strange.csv"] = "a,b"
    with pytest.raises(RegisterImportError) as caught:
        load(tmp_path, files)
    places = {(e.file, e.line) for e in caught.value.errors}
    assert places >= {("assets.csv", 2), ("assets.csv", 3), ("assets.csv", 7), ("reports.csv", 2), ("strange.csv", 0)}


def test_a_file_in_another_encoding_is_refused(engine: Engine, tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "r", register_files())
    text = (folder / "enterprises.csv").read_text("utf-8")
    (folder / "enterprises.csv").write_bytes(text.encode("gb18030"))
    with pytest.raises(RegisterImportError, match="UTF-8"):
        load_register(settings_for(tmp_path / "county"), folder, 0)


def test_a_binding_may_follow_another_on_the_next_day(engine: Engine, tmp_path: Path) -> None:
    files = register_files()
    rows = f"""gateway,device,credit_code,kind,number,role,valid_from,valid_to
        gw-1,cnc-1,{PLANT},asset,A1,state,2026-01-01,2026-03-31
        gw-1,cnc-9,{PLANT},asset,A1,state,{{}},"""
    files["bindings.csv"] = rows.format("2026-04-01")
    assert load(tmp_path, files)["bindings.csv"] == 2
    files["bindings.csv"] = rows.format("2026-03-31")
    with pytest.raises(RegisterImportError, match="overlaps"):
        load(tmp_path, files, NOW_S + 1)


def test_every_column_is_documented() -> None:
    for file, columns in REGISTER_FILES.items():
        assert len({c.name for c in columns}) == len(columns), file
        assert all(c.meaning for c in columns), file
        assert all(bool(c.choices) == (c.kind == "choice") for c in columns), file
