"""What every collector keeps, whatever its protocol: one suite, joined by handing over a plant.

A protocol's test module subclasses `CollectorContract` with a name that starts with `Test` and
implements `make_plant`. The tests read real simulators over real sockets, so they wait for
conditions with a deadline and assert on the times that the samples and proofs carry.

    class TestModbusContract(CollectorContract):
        @asynccontextmanager
        async def make_plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
            async with ... as simulator:
                yield ModbusPlant(simulator, tmp_path)
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from collectors.base import Collector
from collectors.model import Batch, Device, LinkError, Proof, Quality

CANCEL_ENDS_WITHIN_S = 2.0
PATIENCE_S = 10.0
"""How long a test waits for something that must come; only a failing test waits so long."""


class Plant(ABC):
    """One link with at least two machines behind it, in the hand of the test.

    Set the simulator's and the profiles' period to 0.2 s or so: the tests wait for real samples.
    """

    devices: tuple[str, ...]
    """Device ids that the collector must find, at least two; `devices[0]` is the one unplugged."""
    settles_s: float = 1.0
    """After an unplugging, how long a proof already under way may still come in."""
    longest_gap_s: float = 2.0
    """While `devices[0]` is silent, the longest permitted pause between two samples of another device."""

    @abstractmethod
    def make_collector(self) -> Collector:
        """A fresh collector of the link, with all devices of the plant; its clock is `now_ns`."""

    @abstractmethod
    def make_dead_collector(self) -> Collector:
        """One whose address nobody listens at (a closed port)."""

    @abstractmethod
    def make_hanging_collector(self, port: int) -> Collector:
        """One whose address 127.0.0.1:port accepts the connection and never says a word."""

    @abstractmethod
    async def unplug(self, device: str) -> None:
        """Cut one machine off; the link and the other machines stay."""

    @abstractmethod
    async def plug(self, device: str) -> None:
        """The machine is back."""

    @abstractmethod
    async def cut(self) -> None:
        """End the whole link: the server or broker goes away."""

    @abstractmethod
    async def overload(self, collector: Collector) -> None:
        """While nobody calls `read`, bring more than the collector can hold, or let more time pass
        than it may, so that it must shed something."""

    @abstractmethod
    def writes(self) -> int:
        """How many writes, calls or commands the machines have received so far."""


def now_ns() -> int:
    """The clock of the contract's collectors: real time, for real sockets."""
    return time.time_ns()


class Log:
    """What a collector has handed over since one call of `Watch.until`."""

    def __init__(self, known: dict[str, Device]) -> None:
        self.batches: list[Batch] = []
        self.devices = known
        self.proofs: list[Proof] = []
        self.unannounced: set[str] = set()
        self.shed: dict[str, int] = {}
        self.good = 0
        self._times: dict[str, list[int]] = {}

    def add(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.devices.update({device.id: device for device in batch.devices})
        self.proofs.extend(batch.proofs)
        for reason, count in batch.shed.items():
            self.shed[reason] = self.shed.get(reason, 0) + count
        named = {device for device, _ in batch.samples} | {proof.device for proof in batch.proofs}
        self.unannounced |= named - set(self.devices)
        for device, samples in batch.samples:
            self.good += int(np.count_nonzero(samples.quality == Quality.GOOD))
            fresh = samples.received_ns[samples.quality != Quality.BAD]
            self._times.setdefault(device, []).extend(fresh.tolist())

    def sample_times_ns(self, device: str) -> list[int]:
        return sorted(self._times.get(device, ()))

    def latest_sample_ns(self, device: str) -> int:
        return max(self._times.get(device, ()), default=0)

    def has_samples_of(self, *devices: str) -> bool:
        return all(self._times.get(device) for device in devices)

    def has_proof_of(self, *devices: str) -> bool:
        return all(any(p.device == device and p.lasts_s > 0 for p in self.proofs) for device in devices)

    def latest_proof_ns(self, *devices: str) -> int:
        """The latest proof of the device whose latest is the oldest. A lasting proof (Sparkplug: birth
        to death) comes once, so samples speak for such a device too."""
        return min(
            max(
                max((p.at_ns for p in self.proofs if p.device == device and p.lasts_s > 0), default=0),
                self.latest_sample_ns(device) if self.lasting(device) == float("inf") else 0,
            )
            for device in devices
        )

    def lasting(self, device: str) -> float:
        return max((p.lasts_s for p in self.proofs if p.device == device), default=0.0)


class Watch:
    """A collector together with what it has announced, over all its batches."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self._known: dict[str, Device] = {}

    async def until(self, enough: Callable[[Log], bool]) -> Log:
        """Read and acknowledge batches until there is enough; fails after `PATIENCE_S`."""
        log = Log(self._known)
        async with asyncio.timeout(PATIENCE_S):
            while not enough(log):
                batch = await self.collector.read()
                log.add(batch)
                if batch.ack is not None:
                    batch.ack()
        return log


class CollectorContract(ABC):
    """The suite. Subclass it once for each protocol."""

    @abstractmethod
    def make_plant(self, tmp_path: Path) -> AbstractAsyncContextManager[Plant]:
        """A running plant; everything it started ends with the context."""

    @pytest.fixture
    async def plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        async with self.make_plant(tmp_path) as plant:
            yield plant

    @pytest.fixture
    async def watch(self, plant: Plant) -> AsyncIterator[Watch]:
        watch = Watch(plant.make_collector())
        try:
            yield watch
        finally:
            await watch.collector.close()

    async def test_link_is_named_without_credentials(self, watch: Watch) -> None:
        assert "://" in watch.collector.link
        assert "@" not in watch.collector.link
        assert watch.collector.reconnect_s > 0

    async def test_a_dead_address_is_a_link_error_and_close_is_safe_twice_after_it(self, plant: Plant) -> None:
        collector = plant.make_dead_collector()
        with pytest.raises(LinkError) as failure:
            async with asyncio.timeout(PATIENCE_S):
                await collector.connect()
        assert failure.value.zh
        assert failure.value.en
        await _ends_in_time(collector.close())
        await _ends_in_time(collector.close())

    async def test_close_is_safe_twice_before_and_after_a_connection(self, watch: Watch) -> None:
        await _ends_in_time(watch.collector.close())
        await watch.collector.connect()
        await watch.collector.read()
        await _ends_in_time(watch.collector.close())
        await _ends_in_time(watch.collector.close())

    async def test_the_same_object_connects_again_after_close(self, plant: Plant, watch: Watch) -> None:
        await watch.collector.connect()
        await watch.until(lambda log: log.has_samples_of(*plant.devices))
        await watch.collector.close()
        await watch.collector.connect()
        await watch.until(lambda log: log.has_samples_of(*plant.devices))

    async def test_cancelling_a_hanging_connect_ends_in_time(self, plant: Plant) -> None:
        async with _mute_server() as port:
            collector = plant.make_hanging_collector(port)

            async def connect_and_read() -> None:
                # Where the protocol has no handshake, connecting succeeds and the first read hangs.
                await collector.connect()
                while True:
                    await collector.read()

            await _cancelled_in_time(connect_and_read())
            await _ends_in_time(collector.close())

    async def test_cancelling_a_read_ends_in_time_and_the_next_read_goes_on(self, plant: Plant, watch: Watch) -> None:
        await watch.collector.connect()
        await watch.until(lambda log: log.has_samples_of(*plant.devices))

        async def read_for_ever() -> None:
            while True:
                await watch.collector.read()

        await _cancelled_in_time(read_for_ever())
        await watch.until(lambda log: log.has_samples_of(*plant.devices))

    async def test_cancelling_close_ends_in_time_and_close_can_be_called_again(self, watch: Watch) -> None:
        await watch.collector.connect()
        await watch.collector.read()
        closing = asyncio.ensure_future(watch.collector.close())
        await asyncio.sleep(0)
        closing.cancel()
        started = time.monotonic()
        with suppress(asyncio.CancelledError):
            await closing
        assert time.monotonic() - started < CANCEL_ENDS_WITHIN_S
        await _ends_in_time(watch.collector.close())

    async def test_devices_are_announced_before_their_first_samples_and_proofs(
        self, plant: Plant, watch: Watch
    ) -> None:
        await watch.collector.connect()
        log = await watch.until(lambda log: log.has_samples_of(*plant.devices))
        assert not log.unannounced
        assert set(plant.devices) <= set(log.devices)
        for device in log.devices.values():
            assert device.liveness_s > 0
            assert device.id == device.entry or device.id.startswith(f"{device.entry}/")
            assert "@" not in device.address
            roles = [tag.role for tag in device.tags if tag.role != "gauge"]
            assert len(roles) == len(set(roles)), "more than one tag of a role"

    async def test_samples_carry_quality_and_received_time_and_bad_is_nan(self, plant: Plant, watch: Watch) -> None:
        before_ns = now_ns()
        await watch.collector.connect()
        log = await watch.until(lambda log: log.has_samples_of(*plant.devices))
        after_ns = now_ns()
        assert log.good > 0
        for batch in log.batches:
            for device_id, samples in batch.samples:
                n = len(samples)
                assert n > 0
                for column in (samples.tag, samples.value, samples.quality, samples.source_ns, samples.received_ns):
                    assert column.shape == (n,)
                assert samples.tag.dtype == np.uint16
                assert samples.value.dtype == np.float64
                assert int(samples.tag.max()) < len(log.devices[device_id].tags)
                bad = samples.quality == Quality.BAD
                assert np.array_equal(np.isnan(samples.value), bad)
                assert before_ns <= int(samples.received_ns.min())
                assert int(samples.received_ns.max()) <= after_ns
                assert np.all(samples.source_ns >= 0)

    async def test_source_times_are_the_device_s_own_or_none(self, plant: Plant, watch: Watch) -> None:
        """A protocol without time gives 0; one with time gives the device's, of now and not of its start."""
        await watch.collector.connect()
        await watch.until(lambda log: log.has_samples_of(*plant.devices))
        log = await watch.until(lambda log: log.has_samples_of(*plant.devices))
        for batch in log.batches:
            for _, samples in batch.samples:
                given = samples.source_ns != 0
                apart_ns = np.abs(samples.source_ns[given] - samples.received_ns[given])
                assert (apart_ns < 600 * 10**9).all()

    async def test_proofs_come_while_alive_and_end_when_unplugged(self, plant: Plant, watch: Watch) -> None:
        await watch.collector.connect()
        log = await watch.until(lambda log: log.has_proof_of(*plant.devices))
        gone, others = plant.devices[0], plant.devices[1:]
        lasting = log.lasting(gone)
        await plant.unplug(gone)
        settled_ns = now_ns() + int(plant.settles_s * 1e9)
        later_ns = settled_ns + int(1.0 * 1e9)
        log = await watch.until(lambda log: log.latest_proof_ns(*others) > later_ns)
        fresh = [p for p in log.proofs if p.device == gone and p.lasts_s > 0 and p.at_ns > settled_ns]
        assert not fresh, "a machine that is unplugged was proven connected"
        if lasting == float("inf"):
            assert any(p.device == gone and p.lasts_s == 0 for p in log.proofs), "a lasting proof was not withdrawn"
        await plant.plug(gone)
        back_ns = now_ns()
        await watch.until(lambda log: log.latest_proof_ns(gone) > back_ns)

    async def test_one_silent_device_never_delays_another(self, plant: Plant, watch: Watch) -> None:
        await watch.collector.connect()
        await watch.until(lambda log: log.has_samples_of(*plant.devices))
        await plant.unplug(plant.devices[0])
        cut_ns = now_ns()
        watched_ns = cut_ns + int(2.5 * 1e9)
        others = plant.devices[1:]
        log = await watch.until(lambda log: all(log.latest_sample_ns(d) > watched_ns for d in others))
        for device in others:
            times = np.array([cut_ns, *log.sample_times_ns(device)], np.int64)
            assert np.diff(times).max() / 1e9 <= plant.longest_gap_s, device

    async def test_a_lost_link_is_a_link_error_and_close_is_safe_after_it(self, plant: Plant, watch: Watch) -> None:
        await watch.collector.connect()
        await watch.until(lambda log: log.has_samples_of(*plant.devices))
        await plant.cut()
        with pytest.raises(LinkError):
            await watch.until(lambda log: False)
        await _ends_in_time(watch.collector.close())
        await _ends_in_time(watch.collector.close())

    async def test_what_is_shed_is_counted(self, plant: Plant, watch: Watch) -> None:
        await watch.collector.connect()
        await watch.until(lambda log: log.has_samples_of(*plant.devices))
        await plant.overload(watch.collector)
        log = await watch.until(lambda log: sum(log.shed.values()) > 0)
        assert all(reason and count > 0 for reason, count in log.shed.items())

    async def test_nothing_is_written_to_a_machine(self, plant: Plant, watch: Watch) -> None:
        await watch.collector.connect()
        await watch.until(lambda log: log.has_samples_of(*plant.devices))
        await plant.unplug(plant.devices[0])
        await watch.until(lambda log: log.has_samples_of(*plant.devices[1:]))
        await plant.plug(plant.devices[0])
        await watch.until(lambda log: log.has_samples_of(*plant.devices))
        await watch.collector.close()
        assert plant.writes() == 0


async def _ends_in_time(call: Awaitable[None]) -> None:
    async with asyncio.timeout(CANCEL_ENDS_WITHIN_S):
        await call


async def _cancelled_in_time(call: Awaitable[None], after_s: float = 0.2) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.wait({task}, timeout=after_s)
    if task.done():
        await task
    task.cancel()
    started = time.monotonic()
    with suppress(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < CANCEL_ENDS_WITHIN_S


@asynccontextmanager
async def _mute_server() -> AsyncIterator[int]:
    """Accepts connections, reads what comes, and says nothing."""
    writers: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError):
            while await reader.read(4096):
                pass

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        for writer in writers:
            with suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()
