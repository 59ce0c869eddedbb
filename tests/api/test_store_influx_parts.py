"""Addresses, names and lines, the file of refused lines, and which keys are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.store.influx_address import InfluxAddress
from api.store.influx_aside import SetAside
from api.store.influx_lines import label, lines_of, name_of
from api.store.influx_seen import SeenKeys, Stored
from api.store.open import open_store
from api.store.port import StoreError
from metrics.record import Records
from tests.api.county_fixtures import minutes


@pytest.mark.parametrize(
    ("address", "url", "bucket", "org"),
    [
        ("influxdb+http://h:8086/plant?org=county", "http://h:8086", "plant", "county"),
        ("influxdb+https://h/b", "https://h:8086", "b", ""),
        ("influxdb+http://[::1]:1/%E5%AE%81%20x?org=%E5%8E%BF", "http://[::1]:1", "宁 x", "县"),
    ],
)
def test_an_address_is_read(address: str, url: str, bucket: str, org: str) -> None:
    assert InfluxAddress.parse(address) == InfluxAddress(url, bucket, org)


@pytest.mark.parametrize(
    "address",
    [
        "influxdb+http://h:8086/",
        "influxdb+http://h:8086",
        "influxdb+http:///b",
        "influxdb+http://h:x/b",
        "influxdb+http://h:99999/b",
        "influxdb+http://h/a/b",
        "influxdb+http://h/b?organisation=x",
        "influxdb+ftp://h/b",
        "influxdb://h/b",
    ],
)
def test_an_address_that_is_none_is_refused_with_what_is_expected(address: str) -> None:
    with pytest.raises(ValueError, match=r"influxdb\+http://host:port/bucket"):
        open_store(address)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="PLANTPULSE_STORE_TOKEN_FILE") as refused:
        open_store("influxdb+http://me:secret@h/b")
    assert "secret" not in str(refused.value)


@given(st.text(min_size=1, max_size=30))
def test_any_name_comes_back_from_its_label_and_needs_no_escape(name: str) -> None:
    made = label(name)
    assert name_of(made) == name
    assert made.isprintable()
    assert not set(made) & set("\\,= '\"")


def test_a_readable_name_stays_as_it_is() -> None:
    assert label("cnc-cell/机床_1（甲）") == "cnc-cell/机床_1（甲）"


def test_lines_leave_out_what_no_record_of_the_batch_has() -> None:
    records = minutes(0, 1_795_000_020, 2, quantity=5)
    records.parts[1] = 7
    assert lines_of("g", ["a b"], records, 9, None).splitlines() == [
        f"record,device=a%20b,gateway=g,part=0 position=9i,length=600i,observed=600i,connected=600i,quantity=5i,"
        f"quantity_span=60i,parts={parts}i {at}"
        for parts, at in ((0, 1_795_000_020), (7, 1_795_000_080))
    ]
    copies = lines_of("g", ["a"], minutes(0, 1_795_000_020, 2, part=1, connected=0, observed=0), 9, np.array([0, 2]))
    assert [line.split(" ")[0] for line in copies.splitlines()] == [
        "record,device=a,gateway=g,part=1",
        "record_again,copy=2,device=a,gateway=g,part=1",
    ]
    assert lines_of("g", [], Records.empty(), 1, None) == ""


def test_refused_lines_are_kept_once_over_a_restart_and_a_torn_end_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "new" / "refused.lp"
    aside = SetAside(path)
    aside.keep("record,device=机床 x=1i 5".encode(), 422, "beyond retention")
    aside.keep(b"second x=1i 6", 422, "again")
    with path.open("ab") as file:
        file.write(b"# 422 torn")
    again = SetAside(path)
    assert again.count == 2
    again.keep("record,device=机床 x=1i 5".encode(), 400, "other words")
    again.keep(b"third x=1i 7", 400, "")
    assert path.read_text(encoding="utf-8").splitlines()[1::2] == [
        "record,device=机床 x=1i 5",
        "second x=1i 6",
        "third x=1i 7",
    ]
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="无法读取"):
        SetAside(tmp_path / "folder")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="检查磁盘"):
        SetAside(tmp_path / "file" / "x").keep(b"x", 400, "")


HOUR = 1_795_000_020 // 3600 * 3600


def test_copies_are_numbered_in_the_order_of_the_journal() -> None:
    asked: list[tuple[list[str], int, int]] = []

    def load(gateways: Sequence[str], first_s: int, before_s: int) -> Iterable[Stored]:
        asked.append((list(gateways), first_s, before_s))
        if "g" not in gateways or first_s != HOUR:
            return []
        return [Stored("g", "b", 0, [first_s, first_s]), Stored("g", "a", 2, [first_s])]

    seen = SeenKeys(load)
    assert seen.copies("g", ["a"], minutes(0, HOUR, 60)) is None
    twice = Records.concat([minutes(0, HOUR, 2), minutes(1, HOUR, 2), minutes(0, HOUR, 1), minutes(1, HOUR, 1, part=2)])
    copies = seen.copies("g", ["b", "a"], twice)
    assert copies is not None
    assert copies.tolist() == [2, 0, 1, 1, 3, 1]
    assert asked == [(["g"], HOUR, HOUR + 3600)]
    assert seen.copies("h", ["a"], minutes(0, HOUR + 3540, 2)) is None
    assert len(asked) == 3
    seen.forget()
    assert seen.copies("h", ["a"], minutes(0, HOUR + 3540, 2)) is None
    assert len(asked) == 5


def test_hours_beyond_the_limit_are_asked_for_again_but_never_while_they_are_being_written() -> None:
    stored: dict[int, list[int]] = {}
    asked: list[int] = []

    def load(_gateways: Sequence[str], first_s: int, _before_s: int) -> Iterable[Stored]:
        asked.append(first_s)
        return [Stored("g", "a", 0, stored.get(first_s, []))]

    seen = SeenKeys(load, max_cells=1)
    for _ in range(2):
        assert seen.copies("g", ["a"], minutes(0, HOUR, 60)) is None or asked == [HOUR]
    assert asked == [HOUR]
    stored[HOUR] = [HOUR + 60 * i for i in range(60)] * 2
    seen.settle()
    copies = seen.copies("g", ["a"], minutes(0, HOUR, 60))
    assert copies is not None
    assert set(copies.tolist()) == {2}
    assert asked == [HOUR, HOUR]


def test_a_device_outside_the_table_is_an_error_before_anything_is_written() -> None:
    seen = SeenKeys(lambda *_: [])
    with pytest.raises(IndexError):
        seen.copies("g", ["a"], minutes(3, HOUR, 1))


def test_many_gateways_are_asked_about_at_once() -> None:
    asked: list[tuple[int, int]] = []

    def load(gateways: Sequence[str], first_s: int, _before_s: int) -> Iterable[Stored]:
        asked.append((len(gateways), first_s))
        return [Stored(gateway, "a", 0, [first_s]) for gateway in gateways if gateway == "g7"]

    seen = SeenKeys(load)
    batches = [(f"g{i}", minutes(0, HOUR, 61)) for i in range(60)]
    seen.prepare(batches)
    assert asked == [(50, HOUR), (10, HOUR), (50, HOUR + 3600), (10, HOUR + 3600)]
    copied = [gateway for gateway, records in batches if seen.copies(gateway, ["a"], records) is not None]
    assert copied == ["g7"]
    assert len(asked) == 4
