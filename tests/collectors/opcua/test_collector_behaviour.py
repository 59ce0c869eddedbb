"""What a person can count on: proof that ends when it must, states in order, nothing old passed off as new."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from asyncua import ua

from collectors.model import LinkError, Quality
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.watch import Watch
from metrics.record import MachineState
from simulators.ledger import Ledger
from tests.collectors.opcua.plants import (
    PERIOD_S,
    VENDOR_NAMESPACES,
    collector,
    entry,
    fast_clock,
    machine,
    profile,
    serving,
    watching,
)
from tests.collectors.opcua.relay import cuttable
from tests.waiting import until

CNC_1, CNC_2, ROBOT = "cell/urn:test:cnc-1", "cell/urn:test:cnc-2", "cell/urn:test:robot-1"


async def test_the_first_values_are_the_state_now_and_the_next_keep_the_machine_s_time() -> None:
    clock = fast_clock()
    async with serving(machine("cnc-1"), now_s=clock) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.devices and len(s.values("cell", "energy_import")) >= 3)
        for tag in ("state", "energy_import", "power", "parts"):
            first, *later = seen.values("cell", tag)
            assert first[2] == 0, tag
            assert all(source_ns > 0 for _, _, source_ns in later), tag
        times = [source_ns for _, _, source_ns in seen.values("cell", "energy_import")[1:]]
        assert times == sorted(times)
        assert times[-1] <= clock() * 1e9


async def test_what_is_read_is_what_the_ledger_says_was_served() -> None:
    ledger = Ledger()
    cnc = machine("cnc-1")
    async with serving(cnc, ledger=ledger) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.devices and len(s.values("cell", "energy_import")) >= 5)
        cnc.hold()
        last = int(cnc.energy_kwh * 1000) / 1000
        await seen.until(lambda s: s.latest("cell", "energy_import") == last)
        served = ledger.as_dict()["cnc-1"]
        read = [value for value, _, _ in seen.values("cell", "energy_import")]
        assert read == [q for q in dict.fromkeys(served["quantity"]) if q >= read[0]]
        assert seen.latest("cell", "parts") == served["parts"][-1]
        assert MachineState(int(seen.latest("cell", "state"))).name.lower() == served["state"][-1]


async def test_a_machine_unplugged_is_proven_no_longer_and_its_neighbours_notice_nothing() -> None:
    async with (
        serving(machine("cnc-1"), machine("cnc-2"), machine("robot-1", "robot")) as plant,
        watching(collector(plant.address)) as seen,
    ):
        await seen.until(lambda s: len(s.samples) == 3)
        seen.forget()
        await plant.unplug("cnc-1")
        cut_ns = time.time_ns()
        await seen.until(lambda s: any(p.device == CNC_1 and p.lasts_s == 0 for p in s.proofs))
        assert time.time_ns() - cut_ns < 2e9
        assert [t.code for t in seen.troubles if t.subject == CNC_1] == ["opcua.all-nodes-bad"]
        for tag in ("state", "energy_import", "power", "parts"):
            value, quality, _ = seen.values(CNC_1, tag)[-1]
            assert value != value, "a bad value was passed on"
            assert quality == Quality.BAD
        seen.forget()
        later_ns = time.time_ns() + int(1e9)
        await seen.until(
            lambda s: all((p := s.latest_proof(d)) is not None and p.at_ns > later_ns for d in (CNC_2, ROBOT))
        )
        assert CNC_1 not in {p.device for p in seen.proofs}
        assert {s.quality.max() for s in seen.samples[CNC_2]} == {Quality.GOOD}
        await plant.plug("cnc-1")
        await seen.until(lambda s: (p := s.latest_proof(CNC_1)) is not None and p.lasts_s > 0)
        assert seen.troubles[-1].subject == CNC_1
        assert seen.troubles[-1].code == ""


async def test_a_machine_that_stands_still_stays_proven_by_keep_alives_alone() -> None:
    still = machine("cnc-1")
    async with serving(still) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.samples)
        still.hold()
        await asyncio.sleep(2 * PERIOD_S)
        seen.forget()
        began_ns = time.time_ns()
        await seen.until(lambda s: (p := s.latest_proof("cell")) is not None and p.at_ns > began_ns + 1.5e9)
        proofs_ns = [began_ns, *(p.at_ns for p in seen.proofs)]
        assert max(b - a for a, b in itertools.pairwise(proofs_ns)) < 1.5e9
        assert sum(len(s) for s in seen.samples.get("cell", [])) <= 4, "it should have said next to nothing"


async def test_one_bad_node_neither_ends_the_proof_nor_hides_the_rest() -> None:
    async with serving(machine("cnc-1")) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.samples)
        seen.forget()
        await plant.spoil("cnc-1", "PartsProducedInLifetime", ua.StatusCodes.BadSensorFailure)
        await seen.until(lambda s: any(q == Quality.BAD for _, q, _ in s.values("cell", "parts")))
        await seen.until(lambda s: len(s.values("cell", "energy_import")) >= 2)
        assert all(q == Quality.GOOD for _, q, _ in seen.values("cell", "energy_import"))
        assert seen.latest_proof("cell").lasts_s > 0
        assert not seen.troubles


async def test_uncertain_values_keep_their_value_and_say_so() -> None:
    still = machine("cnc-1")
    async with serving(still) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.samples)
        still.hold()
        await asyncio.sleep(2 * PERIOD_S)
        await plant.spoil("cnc-1", "AcActiveEnergyTotalImportHp", ua.StatusCodes.UncertainLastUsableValue)
        await plant.spoil("cnc-1", "Number", ua.StatusCodes.UncertainLastUsableValue)
        await seen.until(
            lambda s: (
                s.values("cell", "energy_import")[-1][1] == Quality.UNCERTAIN
                and s.values("cell", "state")[-1][1] == Quality.UNCERTAIN
            )
        )
        assert seen.latest("cell", "energy_import") == int(still.energy_kwh * 1000) / 1000


async def test_a_robot_s_state_is_derived_and_follows_it() -> None:
    ledger = Ledger()
    async with (
        serving(machine("robot-1", "robot"), ledger=ledger, period_s=0.05, now_s=fast_clock(100)) as plant,
        watching(collector(plant.address)) as seen,
    ):
        await seen.until(lambda s: "cell" in s.devices and len({v for v, _, _ in s.values("cell", "state")}) >= 2)
        states = {source_ns: value for value, _, source_ns in seen.values("cell", "state") if source_ns}
        page = ledger.as_dict()["robot-1"]
        for source_ns, value in states.items():
            # OPC UA cuts times to 100 ns, so the ledger's moment is the nearest one, not the equal one.
            apart_s, state = min(
                (abs(at_s - source_ns / 1e9), s) for at_s, s in zip(page["at_s"], page["state"], strict=True)
            )
            assert apart_s < 1e-5
            assert state == MachineState(int(value)).name.lower()


async def test_a_stopped_server_ends_every_proof_and_then_is_a_link_error() -> None:
    async with serving(machine("cnc-1"), machine("cnc-2")) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: len(s.samples) == 2)
        seen.forget()
        began = time.monotonic()
        await plant.stop()
        with pytest.raises(LinkError) as failure:
            await seen.until(lambda s: False)
        assert time.monotonic() - began < 3
        assert {d: seen.latest_proof(d).lasts_s for d in (CNC_1, CNC_2)} == {CNC_1: 0, CNC_2: 0}
        assert failure.value.next_zh
        assert failure.value.next_en


async def test_after_a_restart_of_the_server_the_same_collector_goes_on_with_the_state_now() -> None:
    source = machine("cnc-1")
    async with serving(source) as plant:
        port = int(plant.address.rpartition(":")[2])
        taken = collector(plant.address)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            await plant.stop()
            with pytest.raises(LinkError):
                await seen.until(lambda s: False)
            await taken.close()
            with pytest.raises(LinkError):
                await taken.connect()
            await taken.close()
            async with serving(source, port=port, vendor_namespaces=VENDOR_NAMESPACES):
                await taken.connect()
                seen.forget()
                await seen.until(lambda s: "cell" in s.samples)
                assert all(seen.values("cell", tag)[0][2] == 0 for tag in ("state", "energy_import", "parts"))
                assert seen.latest_proof("cell").lasts_s > 0
                await taken.close()


async def test_a_trouble_is_told_once_and_cleared_by_the_session_in_which_it_is_over() -> None:
    robot = machine("robot-1", "robot")
    async with serving(robot) as plant:
        port = int(plant.address.rpartition(":")[2])
        entries = [
            (entry(plant.address, entry_id="tools"), profile(classes=["cnc"])),
            (entry(plant.address, entry_id="arms"), profile(classes=["robot"])),
        ]
        taken = OpcuaCollector(entries, time.time_ns)
        async with watching(taken) as seen:
            await seen.until(lambda s: bool(s.troubles))
            assert [(t.subject, t.code) for t in seen.troubles] == [("tools", "opcua.no-machine-of-class")]
            await taken.connect()
            seen.forget()
            await seen.until(lambda s: "arms" in s.samples)
            assert not seen.troubles
            await plant.stop()
            await taken.close()
            async with serving(robot, machine("cnc-1"), port=port):
                await taken.connect()
                await seen.until(lambda s: "tools" in s.samples)
                assert [(t.subject, t.code) for t in seen.troubles] == [("tools", "")]
                await taken.close()


async def test_a_server_that_falls_silent_is_noticed_though_the_connection_stands() -> None:
    async with serving(machine("cnc-1")) as plant, cuttable(plant.address) as relay:
        taken = collector(relay.address)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            relay.mute = True
            began = time.monotonic()
            with pytest.raises(LinkError) as failure:
                await seen.until(lambda s: False)
            assert failure.value.code == "opcua.silent"
            assert time.monotonic() - began < 4
            assert seen.latest_proof("cell").lasts_s == 0
            closing = time.monotonic()
            await taken.close()
            assert time.monotonic() - closing < 2


async def test_a_reader_that_stalls_loses_the_oldest_and_is_told_how_many() -> None:
    async with serving(machine("cnc-1")) as plant, watching(taken := collector(plant.address, limit=12)) as seen:
        await seen.until(lambda s: "cell" in s.samples)
        before = seen.latest("cell", "energy_import")
        seen.forget()
        await until(lambda: taken.has_shed)
        await seen.until(lambda s: bool(s.shed))
        assert seen.shed["inbox_full"] > 0
        assert sum(len(s) for s in seen.samples["cell"]) <= 12
        assert seen.latest("cell", "energy_import") > before


async def test_no_session_is_left_behind_on_the_server() -> None:
    async with serving(machine("cnc-1")) as plant:
        taken = collector(plant.address)
        for _ in range(3):
            await taken.connect()
            await taken.read()
            await taken.close()
        await until(lambda: plant.sessions == 0)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_mistake_of_ours_is_raised_and_does_not_look_like_silence(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"publishing_s": 0.1, "sampling_s": 0.1, "keep_alive_s": 0.4, "mode": mode}
    async with serving(machine("cnc-1")) as plant:
        taken = collector(plant.address, subscription=settings)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            with monkeypatch.context() as patched:
                patched.setattr(Watch, "take", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    await seen.until(lambda s: False)
            await taken.close()
            seen.forget()
            await taken.connect()
            await seen.until(lambda s: "cell" in s.samples)
