"""After a lost link: what the server kept comes late and once, what it did not keep is a gap, and nothing leaks."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest
from asyncua import ua

from collectors.model import LinkError, Quality
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.factory import access_to
from collectors.opcua.ladder import Rung
from simulators.ledger import Ledger
from simulators.opcua_security import POLICIES, Security
from simulators.opcua_server import OpcuaMachines
from simulators.opcua_subscriptions import MAKES, NO_LIMITS
from tests.collectors.opcua.plants import (
    VENDOR_NAMESPACES,
    Seen,
    collector,
    machine,
    profile,
    serving,
    watching,
)
from tests.collectors.opcua.relay import Relay, cuttable
from tests.collectors.opcua.secured import EVERYTHING, PASSWORD, USER, approve, collector_of, entry_of, secured
from tests.waiting import until


def served_since(ledger: Ledger, first: float) -> list[float]:
    """Every counter value that the server had from this one on."""
    return [kwh for kwh in dict.fromkeys(ledger.as_dict()["cnc-1"]["quantity"]) if kwh >= first]


def read(seen: Seen) -> list[float]:
    return [value for value, quality, _ in seen.values("cell", "energy_import") if quality != Quality.BAD]


async def swallow_one(plant: OpcuaMachines, relay: Relay) -> None:
    """Let the server say something that does not arrive: it believes that it was heard."""
    before = plant.subscriptions.published
    relay.mute = True
    await until(lambda: plant.subscriptions.published > before)


async def cut_for(plant: OpcuaMachines, relay: Relay, seen: Seen, seconds: float) -> list[LinkError]:
    """Pull the cable, put it back, read until values come that were made after that."""
    await swallow_one(plant, relay)
    relay.cut()
    relay.mute = False
    mending = asyncio.get_running_loop().call_later(seconds, relay.mend)
    try:
        before = len(read(seen))
        errors = await seen.through(lambda s: not relay.is_cut and len(read(s)) > before, seconds + 20)
        return errors + await seen.through(lambda s: (p := s.latest_proof("cell")) is not None and p.lasts_s > 0, 20)
    finally:
        mending.cancel()


async def test_a_cut_loses_nothing_where_the_server_keeps_queues() -> None:
    ledger, source = Ledger(), machine("cnc-1")
    async with serving(source, ledger=ledger) as plant, cuttable(plant.address) as relay:
        taken = collector(relay.address)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.devices and len(read(s)) >= 3)
            errors = await cut_for(plant, relay, seen, 2.5)
            assert [error.code for error in errors][:1] == ["opcua.silent"]
            assert taken.rung is Rung.REACTIVATED
            assert len(plant.sessions_asked_at_s) == 1
            source.hold()
            last = int(source.energy_kwh * 1000) / 1000
            await seen.until(lambda s: s.latest("cell", "energy_import") == last)
            assert read(seen) == served_since(ledger, read(seen)[0])
            times = [source_ns for _, _, source_ns in seen.values("cell", "energy_import")][1:]
            assert times == sorted(set(times)), "what comes late keeps its own time, and comes once"
            assert min(times) > 0


async def test_what_comes_late_is_no_proof_of_the_present() -> None:
    async with (
        serving(machine("cnc-1")) as plant,
        cuttable(plant.address) as relay,
        watching(collector(relay.address)) as seen,
    ):
        await seen.until(lambda s: "cell" in s.samples)
        seen.forget()
        cut_ns = time.time_ns()
        await cut_for(plant, relay, seen, 2.0)
        ends = [p.at_ns for p in seen.proofs if p.lasts_s == 0]
        assert ends, "the proof was not withdrawn"
        mended_ns = cut_ns + 2_000_000_000
        assert not [p for p in seen.proofs if p.lasts_s > 0 and ends[0] <= p.at_ns < mended_ns]


async def test_a_subscription_is_transferred_to_a_new_session_where_the_server_forgot_the_old_one() -> None:
    ledger, source = Ledger(), machine("cnc-1")
    async with serving(source, ledger=ledger) as plant, cuttable(plant.address) as relay:
        taken = collector(relay.address)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.devices and len(read(s)) >= 3)
            await swallow_one(plant, relay)
            plant.forget_sessions()
            relay.drop()
            relay.mute = False
            before = len(read(seen))
            await seen.through(lambda s: len(read(s)) > before + 2)
            assert taken.rung is Rung.TRANSFERRED
            assert plant.subscriptions.transfers == 1
            source.hold()
            last = int(source.energy_kwh * 1000) / 1000
            await seen.until(lambda s: s.latest("cell", "energy_import") == last)
            assert read(seen) == served_since(ledger, read(seen)[0])


async def test_a_server_without_transfer_is_subscribed_to_anew_with_the_state_now() -> None:
    async with serving(machine("cnc-1"), limits=MAKES["s7-1500"]) as plant, cuttable(plant.address) as relay:
        taken = collector(relay.address)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            plant.forget_sessions()
            relay.drop()
            with pytest.raises(LinkError):
                await seen.until(lambda s: False)
            seen.forget()
            await taken.close()
            await seen.through(lambda s: "cell" in s.samples)
            assert taken.rung is Rung.ANEW
            assert plant.subscriptions.transfers == 0
            assert all(seen.values("cell", tag)[0][2] == 0 for tag in ("state", "energy_import", "parts"))


async def test_an_expired_session_is_followed_by_one_new_session() -> None:
    async with serving(machine("cnc-1")) as plant:
        taken = collector(plant.address)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            await plant.expire_sessions()
            seen.forget()
            await seen.through(lambda s: (p := s.latest_proof("cell")) is not None and p.lasts_s > 0)
            assert taken.rung is Rung.ANEW
            assert len(plant.sessions_asked_at_s) == 2


async def test_a_restarted_server_with_other_namespace_indices_is_read_by_their_names() -> None:
    source = machine("cnc-1")
    taken = None
    async with serving(source) as plant:
        port = int(plant.address.rpartition(":")[2])
        taken = collector(plant.address)
        await taken.connect()
        seen = Seen(taken)
        await seen.until(lambda s: "cell" in s.samples)
    seen.forget()
    async with serving(source, port=port, vendor_namespaces=VENDOR_NAMESPACES):
        await seen.through(lambda s: "cell" in s.samples)
        assert taken.rung is Rung.ANEW
        assert not [t for t in seen.troubles if t.code]
        await taken.close()


async def test_a_server_that_is_silent_for_good_gets_a_new_session_in_the_end() -> None:
    """Connected, the session alive, and no subscription publishes: what does not help is not tried twice."""
    async with serving(machine("cnc-1")) as plant:
        taken = collector(plant.address)
        rungs = []
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            plant.faults.is_silent = True
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(LinkError) as failure:
                    await seen.until(lambda s: False)
                assert failure.value.code == "opcua.silent"
                assert time.monotonic() - began < 4
                await taken.close()
                await taken.connect()
                rungs.append(taken.rung)
            assert rungs == [Rung.REACTIVATED, Rung.ANEW]
            assert len(plant.sessions_asked_at_s) == 2
            plant.faults.is_silent = False
            seen.forget()
            await seen.until(lambda s: (p := s.latest_proof("cell")) is not None and p.lasts_s > 0)
            await until(lambda: plant.sessions == 1)


async def test_a_publication_that_did_not_arrive_is_asked_for_again() -> None:
    ledger, source = Ledger(), machine("cnc-1")
    async with serving(source, ledger=ledger) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.devices and len(read(s)) >= 2)
        plant.faults.swallows = 2
        await until(lambda: plant.subscriptions.republished == 2)
        source.hold()
        last = int(source.energy_kwh * 1000) / 1000
        await seen.until(lambda s: s.latest("cell", "energy_import") == last)
        assert read(seen) == served_since(ledger, read(seen)[0])
        assert not seen.shed


async def test_a_publication_that_is_lost_for_good_is_counted_and_the_state_asked_for_anew() -> None:
    async with serving(machine("cnc-1")) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.devices and len(read(s)) >= 2)
        plant.faults.loses = 1
        await seen.until(lambda s: s.shed.get("publications_lost") == 1)
        unknown = [source_ns for _, quality, source_ns in seen.values("cell", "state") if quality == Quality.BAD]
        assert unknown, "a hole in what was published is a hole in the record"
        seen.forget()
        await seen.until(lambda s: "cell" in s.samples and len(read(s)) >= 3)
        assert seen.values("cell", "state")[0][1:] == (Quality.GOOD, 0)
        assert len(plant.sessions_asked_at_s) == 1
        assert len(plant.subscriptions.subscriptions) == 1


async def test_a_subscription_that_nobody_reads_is_given_back() -> None:
    """An attempt that broke off after the server had made its subscription leaves one in the session."""
    async with serving(machine("cnc-1")) as plant:
        taken = collector(plant.address)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            assert taken._session is not None
            request = ua.CreateSubscriptionRequest()
            request.Parameters.RequestedPublishingInterval = 100
            request.Parameters.RequestedMaxKeepAliveCount = 3
            request.Parameters.RequestedLifetimeCount = 600
            await taken._session.client.uaclient._send_request(request)
            assert len(plant.subscriptions.subscriptions) == 2
            await until(lambda: len(plant.subscriptions.subscriptions) == 1)
            seen.forget()
            await seen.until(lambda s: "cell" in s.samples)


async def test_sessions_do_not_pile_up_over_many_lost_links() -> None:
    async with serving(machine("cnc-1"), period_s=0.02) as plant, cuttable(plant.address) as relay:
        await _many_lost_links(plant, relay, 20)


@pytest.mark.long
async def test_sessions_do_not_pile_up_over_a_thousand_reconnects() -> None:
    async with serving(machine("cnc-1"), period_s=0.02) as plant, cuttable(plant.address) as relay:
        await _many_lost_links(plant, relay, 1_000)


async def _many_lost_links(plant: OpcuaMachines, relay: Relay, times: int) -> None:
    quick = {"publishing_s": 0.05, "sampling_s": 0.05, "keep_alive_s": 0.2}
    taken = collector(relay.address, subscription=quick)
    tasks_before = len(asyncio.all_tasks())
    async with watching(taken) as seen:
        for number in range(times):
            await seen.through(lambda s: "cell" in s.samples)
            if number % 4 == 3:
                plant.forget_sessions()  # every fourth time a new session is needed
            if number % 10 == 9:
                await taken.close()
                await taken.connect()
            else:
                relay.drop()
                with pytest.raises(LinkError):
                    await seen.until(lambda s: False)
            seen.forget()
            assert plant.sessions <= 2
    await until(lambda: plant.sessions == 0)
    await until(lambda: len(plant.subscriptions.items) == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks_before + 2)


async def test_an_encrypted_session_with_a_login_is_taken_up_again_without_another_one(tmp_path: Path) -> None:
    security = Security(policies=POLICIES, anonymous=False, users={USER: PASSWORD})
    (tmp_path / "password").write_text(PASSWORD, encoding="utf-8")
    (tmp_path / "password").chmod(0o600)
    async with secured(security) as plant, cuttable(plant.address) as relay:
        await approve(relay.address, tmp_path)
        given = entry_of(relay.address, username=USER, password_file=tmp_path / "password")
        taken = OpcuaCollector([(given, profile())], time.time_ns, access=access_to([given], tmp_path))
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            for _ in range(2):
                relay.drop()
                seen.forget()
                await seen.through(lambda s: "cell" in s.samples)
                assert taken.rung is Rung.REACTIVATED
            assert len(plant.sessions_asked_at_s) == 1


async def test_a_server_whose_certificate_changed_during_a_cut_is_not_taken_up_again(tmp_path: Path) -> None:
    async with secured(Security(policies=EVERYTHING)) as plant:
        port = int(plant.address.rpartition(":")[2])
        await approve(plant.address, tmp_path)
        taken = collector_of(plant.address, tmp_path)
        await taken.connect()
        seen = Seen(taken)
        await seen.until(lambda s: "cell" in s.samples)
    with pytest.raises(LinkError):
        await seen.until(lambda s: False)
    await taken.close()
    async with secured(Security(policies=EVERYTHING), port=port) as other:
        codes = []
        for _ in range(2):
            with pytest.raises(LinkError) as failure:
                await taken.connect()
            codes.append(failure.value.code)
            await taken.close()
        assert codes[-1] == "opcua.certificate-changed"
        assert other.sessions == 0


async def test_what_is_polled_is_polled_again_after_a_lost_link() -> None:
    limits = replace(NO_LIMITS, most_items=3)
    async with serving(machine("cnc-1"), limits=limits) as plant, cuttable(plant.address) as relay:
        taken = collector(relay.address)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples and all(tag_values(s).values()))
            assert len(plant.subscriptions.items) == 3
            relay.drop()
            with pytest.raises(LinkError):
                await seen.until(lambda s: False)
            await taken.close()
            seen.forget()
            await seen.through(lambda s: "cell" in s.samples and all(tag_values(s).values()))
            assert taken.rung is Rung.REACTIVATED


def tag_values(seen: Seen) -> dict[str, int]:
    return {tag.name: len(seen.values("cell", tag.name)) for tag in seen.devices["cell"].tags}


async def test_a_session_that_could_not_be_used_is_taken_up_by_the_next_attempt() -> None:
    """A link that dies between opening and subscribing, again and again, costs the server one session."""
    async with serving(machine("cnc-1")) as plant, cuttable(plant.address) as relay:
        taken = collector(relay.address)
        plant.faults.answers_after_s = 0.5  # what it offers is asked for between the session and the subscription
        opening = asyncio.ensure_future(taken.connect())
        await until(lambda: plant.sessions == 1)
        relay.drop()
        with pytest.raises(LinkError):
            await opening
        plant.faults.answers_after_s = 0.0
        await taken.close()
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            assert plant.sessions <= 1


@pytest.mark.long
async def test_a_cut_of_30_s_loses_nothing_where_the_server_keeps_queues() -> None:
    ledger, source = Ledger(), machine("cnc-1")
    settings = profile().subscription.model_dump() | {"publishing_s": 0.5, "sampling_s": 0.5, "keep_alive_s": 2.0}
    async with serving(source, ledger=ledger, period_s=0.5) as plant, cuttable(plant.address) as relay:
        taken = collector(relay.address, subscription=settings, liveness_s=6)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.devices and len(read(s)) >= 3)
            await cut_for(plant, relay, seen, 30.0)
            assert taken.rung is Rung.REACTIVATED
            source.hold()
            last = int(source.energy_kwh * 1000) / 1000
            await seen.until(lambda s: s.latest("cell", "energy_import") == last)
            assert read(seen) == served_since(ledger, read(seen)[0])
            times = [source_ns for _, _, source_ns in seen.values("cell", "energy_import")][1:]
            assert max(b - a for a, b in itertools.pairwise(times)) < 60e9, "machine time runs 30 times as fast"


async def test_one_attempt_asks_for_one_session_at_most_and_the_next_is_5_s_later() -> None:
    async with serving(machine("cnc-1")) as plant, cuttable(plant.address) as relay:
        taken = collector(relay.address)
        assert taken.reconnect_s == 5.0, "the runner's pause, to which it adds jitter"
        await taken.connect()
        plant.forget_sessions()
        plant.faults.refuses_sessions = True
        relay.drop()
        with pytest.raises(LinkError):
            await Seen(taken).until(lambda s: False)
        await taken.close()
        for attempt in range(1, 5):
            with pytest.raises(LinkError):
                await taken.connect()
            await taken.close()
            assert len(plant.sessions_asked_at_s) == 1 + attempt
        plant.faults.refuses_sessions = False
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            assert len(plant.sessions_asked_at_s) == 6
