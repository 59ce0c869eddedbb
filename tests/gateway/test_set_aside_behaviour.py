"""What the county refused, as people see it: on the page, by command, after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import PlantConfig
from gateway.outbox import Outbox
from gateway.outbox.set_aside import refused
from gateway.page.render import moment
from gateway.wire import DeviceRef
from tests.api.county_fixtures import minutes
from tests.gateway.county_stub import CountyStub
from tests.gateway.refused import REASON, with_two_refused
from tests.gateway.test_page_behaviour import open_site
from tests.waiting import until

Make = Callable[..., PlantConfig]


async def test_refused_batches_are_listed_on_the_page_and_told_again_after_a_restart(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(county.url)
    keys = with_two_refused(config.gateway.data_dir)
    async with open_site(config, monkeypatch) as site:
        troubles = {t.code: t for t in site.gateway.troubles.listed()}
        assert f"{keys[0][0]}/{keys[0][1]}" in troubles["batch_set_aside"].zh
        assert "县级原话" in troubles["batch_set_aside"].zh
        summary = await site.json("/api/status")
        assert [(b["epoch"], b["sequence"], b["rows"], b["reason"]) for b in summary["set_aside"]] == [
            (*key, 1, REASON) for key in keys
        ]
        for language, words in (
            ("zh", ("已搁置的批次", "县级原话", "怎么办", moment(summary["set_aside"][0]["since_ns"]))),
            ("en", ("set aside", "The county&#39;s words", "Next step")),
        ):
            _, page = await site.get(f"/?lang={language}")
            for word in (*words, f"{keys[0][0]}/{keys[0][1]}", f"{keys[1][0]}/{keys[1][1]}", "&lt;b&gt;start"):
                assert word in page, word
            assert page.index(f"{keys[0][0]}/{keys[0][1]}</code></th>") < page.index(
                f"{keys[1][0]}/{keys[1][1]}</code>"
            )


async def test_the_trouble_is_over_when_the_batches_are_kept_no_longer(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(county.url)
    with_two_refused(config.gateway.data_dir, age_days=500)
    async with open_site(config, monkeypatch) as site:
        await until(lambda: site.gateway.intake.samples["modbus"] > 8)
        await site.gateway.keeper.close_short(site.gateway.clock())
        await until(lambda: site.gateway.uplink.depth.poisoned == 0)
        site.gateway.keeper.look_ahead_soon()
        await until(lambda: "batch_set_aside" not in {t.code for t in site.gateway.troubles.listed()})


async def test_without_refused_batches_the_page_has_no_such_list(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(plant(county.url), monkeypatch) as site:
        _, page = await site.get("/?lang=en")
        assert 'data-part="set-aside"' not in page
        assert "batch_set_aside" not in {t.code for t in site.gateway.troubles.listed()}


async def test_how_long_the_outbox_lasts_is_known_at_once_where_it_has_a_history(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(county.url, window_s=60)
    async with open_site(config, monkeypatch) as site:
        now_ns = site.gateway.clock()
    outbox = Outbox(config.gateway.data_dir / "outbox.sqlite3", "g-1")
    for k in range(5):
        outbox.commit([([DeviceRef("m-1")], minutes(k, k + 60, 1))], b"", now_ns - (5 - k) * 60 * 10**9)
    outbox.close()
    async with open_site(config, monkeypatch) as site:
        await until(lambda: site.gateway.keeper.days_to_full is not None)
        assert site.gateway.keeper.records_written == 0, "before any window closed"


def plant_file(folder: Path) -> Path:
    path = folder / "plant.yaml"
    (folder / "credential").write_text("x")
    path.write_text(
        "site: g-1\nuplink: {url: 'https://127.0.0.1:9', credential_file: credential}\n"
        "gateway: {data_dir: data}\n"
        "devices:\n  - {id: m-1, profile: eastron-sdm630, address: 'modbus-tcp://127.0.0.1:9', unit: 1}\n"
    )
    return path


async def command(*words: str) -> tuple[int, str]:
    done = await asyncio.to_thread(CliRunner().invoke, app, ["set-aside", *words])
    return done.exit_code, done.output


async def test_the_command_shows_the_rows_of_what_was_refused(tmp_path: Path) -> None:
    config = str(plant_file(tmp_path))
    assert (await command("--config", config))[0] == 0
    keys = with_two_refused(tmp_path / "data", rows=3)
    code, text = await command("--config", config)
    assert code == 0
    assert text.index(f"{keys[0][0]}/{keys[0][1]}") < text.index(f"{keys[1][0]}/{keys[1][1]}")
    assert REASON in text
    assert text.count("device=m-1") == text.count("device=m-2") == 3
    code, text = await command("--config", config, "--batch", f"{keys[1][0]}/{keys[1][1]}", "--json")
    (one,) = json.loads(text)
    assert (code, one["sequence"], one["rows"], one["reason"], one["readable"]) == (0, keys[1][1], 3, REASON, True)
    assert [row["device"] for row in one["content"]] == ["m-2"] * 3
    assert (await command("--config", config, "--batch", "1/1"))[0] == 1
    assert (await command("--config", config, "--batch", "first"))[0] == 2


def test_of_many_rows_the_newest_batches_rows_are_shown_and_a_broken_body_hides_no_other(tmp_path: Path) -> None:
    keys = with_two_refused(tmp_path, rows=3)
    latest, before = refused(tmp_path / "outbox.sqlite3", most_rows=4)
    assert latest.content is not None
    assert before.content is not None
    assert [len(latest.content["rows"]), len(before.content["rows"])] == [3, 1]
    outbox = Outbox(tmp_path / "outbox.sqlite3", "g-1")
    outbox.db.execute("UPDATE batches SET body = x'00' WHERE sequence = ?", (keys[0][1],))
    outbox.close()
    latest, before = refused(tmp_path / "outbox.sqlite3")
    assert (latest.content, latest.as_json()["readable"]) == (None, False)
    assert before.as_json()["content"][0]["device"] == "m-2"
