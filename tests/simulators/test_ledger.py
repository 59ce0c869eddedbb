"""The ledger remembers what was served, first and last values above all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulators import ledger as module
from simulators.ledger import Ledger


def test_rows_keep_what_was_served_and_null_where_nothing_was(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.served("m-1", 10.0, state="running", quantity=4.5, parts=7)
    ledger.served("m-1", 11.0, quantity=4.6)
    ledger.linked("m-2", 12.0, up=False)
    ledger.linked("m-2", 12.5, up=False)
    ledger.dump(tmp_path / "sub" / "ledger.json")
    pages = json.loads((tmp_path / "sub" / "ledger.json").read_text(encoding="utf-8"))
    assert pages["m-1"]["state"] == ["running", None]
    assert pages["m-1"]["quantity"] == [4.5, 4.6]
    assert pages["m-1"]["parts"] == [7, None]
    assert pages["m-1"]["at_s"] == [10.0, 11.0]
    assert pages["m-2"]["links"] == [[12.0, False]]
    assert (ledger.devices(), ledger.count("m-1"), ledger.count("m-2")) == (["m-1", "m-2"], 2, 0)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["ledger.json"]


def test_a_state_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="running"):
        Ledger().served("m-1", 1.0, state="dancing")


def test_a_full_page_drops_old_rows_counts_them_and_keeps_the_first_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 100)
    ledger = Ledger()
    for i in range(1000):
        ledger.served("m-1", float(i), quantity=float(i))
    page = ledger.as_dict()["m-1"]
    assert len(page["at_s"]) <= 101
    assert (page["quantity"][0], page["quantity"][-1]) == (0.0, 999.0)
    assert page["dropped"] + len(page["at_s"]) == page["served"] == 1000
