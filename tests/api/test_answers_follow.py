"""Answers follow what they are made of: kept as long as it stays, made again when it changes, whole in themselves."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api.schemas import Session
from api.services.access import Reader
from api.services.figures import list_figures
from api.services.gaps import GapFinder
from api.services.question import ask
from api.services.register_view import BindingFact
from api.services.sources import RegisterSources
from gateway.wire import Announce, Announcement
from metrics.record import DAY_S, Records, local_day_start_s
from tests.api.county_fixtures import PLANT, TODAY, CountyUnderTest, minutes, register_files

SCOPES = ("county", "zone:nhedz", "industry:auto-moulds", f"enterprise:{PLANT}")
PERIODS = ("2026-11-18", "2026-11", "2026-Q4", "2026", "2026-01..2026-11")
DEVICES = ["cnc-1", "moulding-1", "clamp-1", "main-1"]
WINDOW_S = 900
READER = Reader(Session(username="", role="viewer", enterprise=None, expires_at=datetime(2030, 1, 1, tzinfo=UTC)), "")


async def told(county: CountyUnderTest) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Every figure at some scopes and periods; each opened says the same of itself."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for scope, period in itertools.product(SCOPES, PERIODS):
        for figure in (await county.get("/indicators", scope=scope, period=period, ids="all"))["figures"]:
            name = figure["definition"]["id"]
            found[name, scope, period] = figure
            if name in ("networking-rate", "cnc-rate", "metered-energy", "running-share"):
                opened = await county.get(f"/indicators/{name}/explain", scope=scope, period=period)
                assert opened["figure"] == figure
    return found


async def send(county: CountyUnderTest, day: int, first: int, count: int) -> None:
    start_s = local_day_start_s(day) + first * WINDOW_S
    records = [minutes(k, start_s, count, window_s=WINDOW_S, running=4000, quantity=700) for k in range(len(DEVICES))]
    epoch = 1000 + county.county.journal.position
    await county.gateway(epoch=epoch).send(DEVICES, Records.concat(records))
    await county.settle()


def told_anew(county: CountyUnderTest) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The same by a command beside the service, which has nothing in memory yet."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    with RegisterSources.opened(county.settings, county.clock) as sources:
        for scope, period in itertools.product(SCOPES, PERIODS):
            for figure in list_figures(sources, READER, scope, period, None, ids=["all"]).figures:
                found[figure.definition.id, scope, period] = figure.model_dump(mode="json")
    return found


def without_time(figures: dict[tuple[str, str, str], dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {key: figure | {"computed_at": ""} for key, figure in figures.items()}


async def test_every_answer_follows_each_change_and_is_what_a_county_without_a_memory_says(
    plant: CountyUnderTest,
) -> None:
    await plant.sign_in()
    before = await told(plant)
    for day, first, count in (
        (TODAY - 1, 0, 96),
        (TODAY, 0, 20),
        (TODAY, 20, 8),
        (TODAY - 40, 3, 5),
        (TODAY - 1, 0, 0),
    ):
        if count:
            await send(plant, day, first, count)
        else:
            plant.clock.advance(DAY_S)  # a new day begins
            await plant.sign_in(name="tomorrow")
        after = await told(plant)
        moved = ("2026-Q4", "2026") if day == TODAY - 40 else ("2026-11", "2026-Q4", "2026")
        for scope, period in itertools.product(SCOPES, moved):
            key = ("metered-energy", scope, period)
            assert (after[key]["digest"] != before[key]["digest"]) or not count, key
            assert (after[key]["value"] != before[key]["value"]) == bool(count), key
        assert without_time(after) == without_time(told_anew(plant))
        before = after


async def test_a_figure_of_the_register_alone_is_kept_while_day_states_change(
    plant: CountyUnderTest, tmp_path: Path
) -> None:
    await plant.sign_in()
    asked: dict[str, Any] = {"period": "2026-11", "ids": ["cnc-rate", "networking-rate-declared", "networking-rate"]}

    async def digests() -> dict[str, tuple[str, str]]:
        found = (await plant.get("/indicators", **asked))["figures"]
        return {f["definition"]["id"]: (f["computed_at"], f["digest"]) for f in found}

    before = await digests()
    plant.clock.advance(300)
    await send(plant, TODAY, 0, 8)
    after = await digests()
    assert {name for name in before if before[name] != after[name]} == {"networking-rate"}
    files = register_files()
    files["assets.csv"] = files["assets.csv"].replace("A3,老车床,lathe,manual", "A3,老车床,lathe,cnc")
    plant.load(tmp_path / "changed", files)
    assert (await digests())["cnc-rate"][1] != after["cnc-rate"][1]


async def test_a_figure_of_the_register_alone_is_provisional_until_its_period_is_over(plant: CountyUnderTest) -> None:
    await plant.sign_in()
    asked: dict[str, Any] = {"period": "2026-11-18", "ids": ["cnc-rate"]}
    (during,) = (await plant.get("/indicators", **asked))["figures"]
    plant.clock.advance(DAY_S)
    await plant.sign_in(name="tomorrow")
    (over,) = (await plant.get("/indicators", **asked))["figures"]
    assert (during["status"], during["period"]["complete"]) == ("provisional", False)
    assert (over["status"], over["period"]["complete"]) == ("ok", True)
    assert during["digest"] == over["digest"]


async def test_what_a_device_announces_and_an_enterprise_reports_leaves_what_was_summed(
    plant: CountyUnderTest, tmp_path: Path
) -> None:
    await send(plant, TODAY - 1, 0, 96)
    await plant.sign_in()
    asked: dict[str, Any] = {"period": "2026", "ids": ["networking-rate", "metered-energy", "energy-intensity-level"]}

    async def told_by_name() -> dict[str, dict[str, Any]]:
        return {f["definition"]["id"]: f for f in (await plant.get("/indicators", **asked))["figures"]}

    before, made = await told_by_name(), plant.county.memory.made.copy()
    gateway = plant.gateway()
    said = Announcement(1, 1, "cnc-1", "x", "p", "machine", "self-identified")
    assert (await gateway.post("announce", Announce(gateway.name, gateway.epoch, [said]))).status_code == 200
    announced = await told_by_name()
    assert announced["networking-rate"]["by_evidence"] != before["networking-rate"]["by_evidence"]
    files = register_files()
    files["reports.csv"] = files["reports.csv"].replace("2026-10,46,", "2026-11,46,")
    plant.load(tmp_path / "reported", files)
    reported = await told_by_name()
    assert reported["energy-intensity-level"]["value"] != announced["energy-intensity-level"]["value"]
    assert plant.county.memory.made["states"] == made["states"]
    moved = f"gw-1,cnc-1,{PLANT},asset,A1,state"
    files["bindings.csv"] = files["bindings.csv"].replace(moved, moved.replace("A1", "A4"))
    plant.load(tmp_path / "bound", files)
    opened = await plant.get("/indicators/networking-rate/explain", period="2026")
    assert {row["number"]: row["counted"] for row in opened["rows"]}["A4"] == "numerator"
    assert plant.county.memory.made["states"] > made["states"]


async def test_gaps_are_what_no_device_bound_was_watched_in(plant: CountyUnderTest) -> None:
    """Of a device, of one bound for a time, and of two at once: there a gap is where both were unwatched."""
    gateway = plant.gateway()
    at_s = local_day_start_s(TODAY - 3)
    halves = [minutes(k, at_s + k * DAY_S // 4, 48, window_s=WINDOW_S) for k in (0, 1)]
    whole = minutes(0, at_s + DAY_S, 96, window_s=WINDOW_S)
    await gateway.send(["a", "b"], Records.concat([*halves, whole]))
    await plant.settle()
    await plant.sign_in()
    question = ask(plant.county, READER, None, "2026-11", None)

    def gaps(*bound: tuple[str, int, int | None]) -> list[tuple[datetime, datetime]]:
        finder = GapFinder(plant.county, question, (TODAY - 4, TODAY + 1))
        bindings = [BindingFact(1, "gw-1", name, "state", first, last) for name, first, last in bound]
        finder.look(bindings)
        return finder.gaps(bindings)

    def span(first_s: int, last_s: int) -> tuple[datetime, datetime]:
        return datetime.fromtimestamp(first_s, UTC), datetime.fromtimestamp(last_s, UTC)

    now_s = question.now_s
    after = span(at_s + 2 * DAY_S, now_s)
    before = at_s - DAY_S
    assert gaps(("a", 0, None)) == [after, span(before, at_s), span(at_s + DAY_S // 2, at_s + DAY_S)]
    assert gaps(("b", TODAY - 3, TODAY - 3)) == [
        span(at_s, at_s + DAY_S // 4),
        span(at_s + DAY_S * 3 // 4, at_s + DAY_S),
    ]
    assert gaps(("a", 0, None), ("b", 0, None)) == [
        after,
        span(before, at_s),
        span(at_s + DAY_S * 3 // 4, at_s + DAY_S),
    ]
    assert gaps(("a", 0, TODAY - 4), ("b", TODAY - 3, TODAY - 2)) == [
        span(before, at_s + DAY_S // 4),
        span(at_s + DAY_S * 3 // 4, at_s + 2 * DAY_S),
    ]
    assert gaps(("nobody", TODAY, None)) == [span(local_day_start_s(TODAY), now_s)]
    assert gaps() == []
