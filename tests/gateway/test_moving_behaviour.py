"""A data folder that moves while its gateway has a backlog: nothing stays behind, nothing is sent twice."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import applied, data_folder, reload
from gateway.cli import app
from gateway.config import load
from gateway.doctor import machine, stored
from gateway.links import Link
from gateway.moving import NOTE, NotMovedError, leave_note, noted, take_over
from gateway.outbox import Outbox, OutboxError
from tests.gateway.county_stub import CountyStub
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, steady
from tests.gateway.test_outbox import batch, pending_only
from tests.gateway.test_reload_behaviour import PlantFile
from tests.gateway.test_starting_behaviour import started
from tests.waiting import until


class Site:
    """A plant's file whose one machine is scripted, so that it counts on while no gateway runs."""

    def __init__(self, file: PlantFile) -> None:
        self.file, self._machine = file, steady()
        self.collectors: list[ScriptedCollector] = []
        file.devices.append(
            {"id": "m-1", "profile": "eastron-sdm630", "address": "modbus-tcp://127.0.0.1:1", "unit": 1}
        )

    def move_to(self, folder: str) -> None:
        self.file.content["gateway"]["data_dir"] = folder
        self.file.save()

    def links(self, _: Any, clock: Callable[[], int]) -> list[Link]:
        self.collectors.append(ScriptedCollector(self._machine, clock))
        return [Link("modbus", self.collectors[-1])]

    def running(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
        return gateway_of(load(self.file.path), monkeypatch, self.links, **options)


@pytest.fixture
def site(tmp_path: Path, county: CountyStub) -> Site:
    return Site(PlantFile(tmp_path, county.url))


@pytest.mark.parametrize("seen", [True, False], ids=["edited while it runs", "edited just before the stop"])
async def test_the_backlog_goes_with_the_data_folder(
    site: Site, county: CountyStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, seen: bool
) -> None:
    monkeypatch.setattr(reload, "LOOK_S", 0.05 if seen else 3600.0)
    site.move_to("data")
    await county.stop()
    async with site.running(monkeypatch, close_short=True, drain_s=0.0) as (gateway, _):
        await until(lambda: site.collectors[0].acked >= 3)
        (tmp_path / "data/pki").mkdir()
        (tmp_path / "data/pki/own.pem").write_text("a certificate that plants have approved")
        site.move_to("elsewhere/data")
        if seen:
            await until(lambda: noted(tmp_path / "elsewhere/data"))
            said = CliRunner().invoke(app, ["check", "--config", str(site.file.path), "--diff", "--json"])
            changed = json.loads(said.stdout)["diff"]["restart"]["gateway.data_dir"]
            assert changed["before"] == str(tmp_path / "data")
    left = Outbox(tmp_path / "data/outbox.sqlite3", "g-1")
    epoch, waiting = left.epoch(), {p.body for p in pending_only(left)}
    left.close()
    assert waiting
    await county.start()
    async with site.running(monkeypatch, close_short=True) as (gateway, _):
        await county.until(lambda: waiting <= set(county.bodies.values()))
        assert gateway.thread.outbox.epoch() == epoch
        await until(lambda: site.collectors[-1].acked)
    assert county.doubled == []
    rows = sorted((row["start"], row["part"], row["reading"], row["quantity"]) for row in county.rows.values())
    readings = [reading - quantity for _, _, reading, quantity in rows if reading >= 0]
    assert readings[1:] == [reading for _, _, reading, _ in rows if reading >= 0][:-1], "counted on without a hole"
    assert (tmp_path / "elsewhere/data/pki/own.pem").read_text().startswith("a certificate")
    assert not (tmp_path / "elsewhere/data" / NOTE).exists()
    assert not (tmp_path / "data/outbox.sqlite3").exists()


async def test_a_change_that_is_taken_back_moves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reload, "LOOK_S", 0.05)
    site.move_to("data")
    async with site.running(monkeypatch):
        for folder in ("one", "two"):
            site.move_to(folder)
            await until(lambda: noted(tmp_path / folder) == tmp_path / "data")  # noqa: B023 (awaited at once)
        assert noted(tmp_path / "one") is None
        site.move_to("data")
        await until(lambda: noted(tmp_path / "two") is None)


async def test_a_folder_that_cannot_be_written_is_told_before_the_restart(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reload, "LOOK_S", 0.05)
    site.move_to("data")
    (tmp_path / "taken").write_text("no folder")
    async with site.running(monkeypatch) as (gateway, _):
        site.move_to("taken/data")
        await until(lambda: "data_folder_not_usable" in {t.code for t in gateway.troubles.listed()})
        site.move_to("data")
        await until(lambda: not gateway.troubles.listed())


async def test_a_folder_that_holds_an_outbox_already_is_told_before_the_restart(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reload, "LOOK_S", 0.05)
    site.move_to("data")
    filled(tmp_path / "other")
    async with site.running(monkeypatch) as (gateway, _):
        site.move_to("other")
        await until(lambda: "data_folder_taken" in {t.code for t in gateway.troubles.listed()})
        site.move_to("empty")
        await until(lambda: {t.code for t in gateway.troubles.listed()} == {"restart_needed"})
        site.move_to("data")
        await until(lambda: not gateway.troubles.listed())


async def test_while_the_old_folder_is_away_no_empty_outbox_is_begun(
    site: Site, county: CountyStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: list[dict[str, str]]
) -> None:
    monkeypatch.setattr(data_folder, "DISK_RETRY_S", 0.05)
    site.move_to("data")
    box = Outbox(tmp_path / "data/outbox.sqlite3", "g-1")
    box.commit([batch(1)], b"damaged", 1)
    (waiting,) = (p.body for p in pending_only(box))
    box.close()
    leave_note(tmp_path / "new", tmp_path / "data")
    shutil.move(tmp_path / "data", tmp_path / "unplugged")
    site.move_to("new")
    async with started(load(site.file.path), site.links):
        await until(lambda: len(county.live) >= 2)
        assert "data_folder_not_moved" in {line.get("code") for line in log}
        assert not (tmp_path / "new/outbox.sqlite3").exists()
        shutil.move(tmp_path / "unplugged", tmp_path / "data")
        await county.until(lambda: waiting in county.bodies.values())


class CutError(OSError):
    """The power went."""


@contextmanager
def cut_at(step: int, monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[None]:
    """What is done inside is cut off at the `step`th call of these functions of `os`."""
    calls = itertools.count(1)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if next(calls) == step:
                raise CutError("cut")
            return real(*given, **named)

        return call

    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield


@pytest.mark.parametrize("cut", range(1, 14))
def test_whatever_interrupts_a_move_the_next_start_goes_on_and_there_is_one_outbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    box = Outbox(old / "outbox.sqlite3", "g-1")
    for start in range(5):
        box.commit([batch(start, rows=50)], b"checkpoint", 1)
    bodies, epoch = [p.body for p in pending_only(box)], box.epoch()
    box.close()
    (old / "pki").mkdir()
    (old / "pki/own.pem").write_text("a certificate")
    leave_note(new, old)
    with cut_at(cut, monkeypatch, "replace", "fsync", "open"), suppress(NotMovedError):
        take_over(new, lambda _: nullcontext(), lambda: None)
    both = [folder for folder in (old, new) if (folder / "outbox.sqlite3").exists()]
    assert len(both) <= 1, "two gateways never send one backlog"
    take_over(new, lambda _: nullcontext(), lambda: None)
    moved = Outbox(new / "outbox.sqlite3", "g-1")
    assert ([p.body for p in pending_only(moved)], moved.epoch(), moved.checkpoint()) == (bodies, epoch, b"checkpoint")
    moved.close()
    assert (new / "pki/own.pem").read_text() == "a certificate"
    assert not (old / "outbox.sqlite3").exists()
    assert noted(new) is None


def test_two_folders_that_both_hold_an_outbox_are_left_as_they_are(tmp_path: Path) -> None:
    for name in ("old", "new"):
        Outbox(tmp_path / name / "outbox.sqlite3", "g-1").close()
    leave_note(tmp_path / "new", tmp_path / "old")
    with pytest.raises(NotMovedError, match="both folders hold an outbox"):
        take_over(tmp_path / "new", lambda _: nullcontext(), lambda: None)
    assert (tmp_path / "old/outbox.sqlite3").exists()


def test_a_folder_that_another_gateway_still_uses_is_not_moved(tmp_path: Path) -> None:
    Outbox(tmp_path / "old/outbox.sqlite3", "g-1").close()
    leave_note(tmp_path / "new", tmp_path / "old")
    with data_folder.only_one(tmp_path / "old"), pytest.raises(OutboxError, match="another gateway process"):
        take_over(tmp_path / "new", data_folder.only_one, lambda: None)
    assert noted(tmp_path / "new") == tmp_path / "old"


def moves(old: Path, new: Path) -> None:
    leave_note(new, old)
    start(new)


def start(folder: Path) -> None:
    with data_folder.only_one(folder):
        take_over(folder, data_folder.only_one, lambda: None)


def filled(folder: Path) -> int:
    """An outbox in a folder, with one batch that waits; returns its epoch."""
    box = Outbox(folder / "outbox.sqlite3", "g-1")
    box.commit([batch(1)], b"checkpoint", 1)
    box.close()
    return box_of(folder)


def box_of(folder: Path) -> int:
    """The epoch of the outbox in a folder, whose one batch still waits."""
    box = Outbox(folder / "outbox.sqlite3", "g-1")
    epoch = box.epoch()
    assert len(pending_only(box)) == 1
    box.close()
    return epoch


def test_a_mount_point_with_nothing_on_it_is_no_empty_backlog(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    epoch = filled(old)
    unmounted = old.rename(tmp_path / "unmounted")
    old.mkdir()
    with pytest.raises(NotMovedError, match="no outbox in the old folder"):
        moves(old, new)
    assert noted(new) == old
    assert not (new / "outbox.sqlite3").exists()
    shutil.rmtree(old)
    unmounted.rename(old)
    start(new)
    assert box_of(new) == epoch


def test_a_file_that_names_an_earlier_folder_again_while_no_gateway_runs_finds_the_backlog(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    epoch = filled(one)
    moves(one, two)
    moves(two, three)
    start(one)
    assert box_of(one) == epoch
    start(two)
    assert box_of(two) == epoch
    assert [f.name for f in (one, three) if (f / "outbox.sqlite3").exists()] == []


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_move_that_was_interrupted_can_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    epoch = filled(old)
    leave_note(new, old)
    with cut_at(cut, monkeypatch, "replace", "fsync", "unlink"), suppress(NotMovedError):
        start(new)
    start(old)
    assert box_of(old) == epoch
    assert not (new / "outbox.sqlite3").exists()
    assert noted(old) is None


def test_a_new_disk_that_is_too_small_is_told_before_anything_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    epoch = filled(old)
    (old / "starts.json").write_text("[]")
    free = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(NotMovedError, match="are free on the new disk"):
        moves(old, new)
    assert {path.name for path in new.iterdir()} == {"lock", NOTE}
    assert box_of(old) == epoch


def test_batches_that_were_set_aside_are_listed_before_the_restart_too(site: Site, tmp_path: Path) -> None:
    box = Outbox(tmp_path / "data/outbox.sqlite3", "g-1")
    box.commit([batch(1, rows=1)], b"checkpoint", 1)
    (waiting,) = pending_only(box)
    box.refuse(waiting.ordinal, 2, "not this one")
    box.close()
    leave_note(tmp_path / "elsewhere", tmp_path / "data")
    site.move_to("elsewhere")
    said = CliRunner().invoke(app, ["set-aside", "--config", str(site.file.path)])
    assert "not this one" in said.stdout


def test_check_diff_compares_with_what_ran_last_and_not_with_what_an_earlier_folder_remembers(
    site: Site, tmp_path: Path
) -> None:
    site.move_to("one")
    filled(tmp_path / "one")
    applied.save(applied.describe(load(site.file.path), 1), tmp_path / "one")
    moves(tmp_path / "one", tmp_path / "two")
    site.file.content["gateway"]["window_s"] = 60
    site.move_to("two")
    applied.save(applied.describe(load(site.file.path), 2), tmp_path / "two")
    site.move_to("one")
    said = CliRunner().invoke(app, ["check", "--config", str(site.file.path), "--diff", "--json"])
    assert set(json.loads(said.stdout)["diff"]["restart"]) == {"gateway.data_dir"}


def test_what_waits_is_seen_from_outside_before_the_restart_that_moves_it(site: Site, tmp_path: Path) -> None:
    filled(tmp_path / "data")
    leave_note(tmp_path / "elsewhere", tmp_path / "data")
    site.move_to("elsewhere")
    plant = load(site.file.path)
    assert stored.outbox(plant, 4).values["unsent_batches"] == 1
    with data_folder.only_one(tmp_path / "data"):
        assert machine.process(plant.gateway.data_dir).verdict == "ok"
        assert machine.holder(plant.gateway.data_dir / "lock") is None
    assert "the data follows" in machine.disk_space(plant.gateway.model_copy(update={"reserve_mb": 1 << 30})).next_en
