"""A gateway in a switch cabinet, over a real outbox, whose clocks are in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from collectors.model import Batch, Device, Proof, Samples
from gateway import resuming
from gateway.clock import NS_PER_S, TimeLine
from gateway.config import PlantConfig
from gateway.dating import Dating
from gateway.intake import Intake
from gateway.keeper import Keeper
from gateway.outbox import Outbox, OutboxThread
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.watchdog import Progress
from gateway.wire import Announcement, Ingest, decode, records_of
from metrics.record import RECORD_COLUMNS, Flag, MachineState, local_day, refusals
from tests.gateway.driver import ENERGY, NOON_S, PARTS, STATE
from tests.gateway.scripted import device

NEVER_SET_S = 40.0
"""A clock without a battery, a little after the machine was switched on."""


class Cabinet:
    """A machine counts 10 Wh and a piece a second of true time, from noon on; the gateway reads it once a second."""

    def __init__(
        self,
        config: PlantConfig,
        folder: Path,
        *,
        wall_s: float | None = None,
        ntp: bool = False,
        sources: bool = False,
    ) -> None:
        self.config, self.folder, self.ntp = config, folder, ntp
        self._sources = sources
        """Whether the machine gives its own time, which is true time."""
        self.true_s = 0
        self.boots = 0
        self.first_s: int | None = None
        """True second of the first reading that was kept."""
        self._keep_first = False
        self.switch_on(wall_s)

    # The machine that the gateway runs on ---------------------------------------------------------

    def switch_on(self, wall_s: float | None = None) -> None:
        """Power comes. `wall_s`: what the system clock says, true time by default."""
        self.boots += 1
        self._monotonic_0 = NOON_S + self.true_s - 30
        self._wall_ahead = 0.0 if wall_s is None else wall_s - (NOON_S + self.true_s)
        self.start()

    def start(self) -> None:
        """The process starts."""
        self.clock = TimeLine(
            wall_ns=lambda: round((NOON_S + self.true_s + self._wall_ahead) * NS_PER_S),
            monotonic_ns=lambda: (NOON_S + self.true_s - self._monotonic_0) * NS_PER_S,
        )
        self.dating = Dating(self.clock, ntp=lambda: self.ntp)
        outbox = Outbox(self.folder / "outbox.sqlite3", "g-1")
        outbox.db.execute("PRAGMA synchronous=OFF")  # nobody cuts the power of the test
        self.thread = OutboxThread(outbox)
        resumed = resuming.go_on(outbox, self.config, self.clock, self.dating, f"boot-{self.boots}")
        self.windows = resumed.windows
        self.troubles = troubles = Troubles()
        self.uplink = Uplink(
            self.config.uplink,
            "g-1",
            self.thread,
            self.clock,
            troubles,
            presence=lambda: self.windows.presence(self.clock()),
            shed=dict,
        )
        self.intake = Intake(self.config, self.clock, self.thread, self.windows, troubles, found=lambda: None)
        self.keeper = Keeper(
            resumed, self.intake, self.thread, self.uplink, troubles, self.clock, self.dating, Progress(0.5)
        )
        self._device: Sequence[Device] = (device(),)

    def kill(self) -> None:
        """The process ends, whatever it was doing."""
        self.thread.stop()

    def restart(self) -> None:
        """The process is killed and started again."""
        self.kill()
        self.start()

    def cut_power(self, off_s: int, wall_s: float | None = None) -> None:
        """The cabinet is without power for a while; the machine goes on."""
        self.kill()
        self.true_s += off_s
        self.switch_on(wall_s)

    def set_wall(self, ahead_s: float) -> None:
        """Somebody, or NTP, sets the system clock: so far before true time."""
        self._wall_ahead = ahead_s

    def county_answers(self, ahead_s: float = 0.0) -> None:
        """The county tells its time, which is true time and `ahead_s`."""
        self.clock.county_ahead_ns = round((NOON_S + self.true_s + ahead_s) * NS_PER_S) - self.clock()

    # Life -----------------------------------------------------------------------------------------

    async def live(self, seconds: int) -> None:
        """Read once a second; everything read is in a checkpoint before the next second."""
        for _ in range(seconds):
            self.true_s += 1
            await self.read()
            await self.tick()

    async def read(self) -> None:
        """One reading, as a collector hands it over: on a clock that never jumps."""
        now_ns = self.clock.steady()
        values = [float(MachineState.RUNNING), self.true_s * 0.01, float(self.true_s)]
        if self.first_s is None:
            self.first_s = self.true_s
        source_ns = (NOON_S + self.true_s) * NS_PER_S if self._sources else 0
        samples = Samples.of([STATE, ENERGY, PARTS], values, now_ns, source_ns=source_ns)
        await self.intake.take("modbus", Batch([("m-1", samples)], [Proof("m-1", now_ns, 3.0)], self._device))
        self._device = ()

    async def tick(self) -> None:
        """What the runtime does a few times a second."""
        if (correction := self.dating.look()) is not None:
            self.keeper.correct(correction)
        await self.keeper.tick(self.clock())

    async def stand_still(self, seconds: int) -> None:
        """The process is stopped for a while: the machine goes on."""
        before_ns = self.clock()
        self.true_s += seconds
        self.windows.blind(before_ns, self.clock())

    @asynccontextmanager
    async def plugged_in(self) -> AsyncIterator[None]:
        """The line to the county is there while the block lasts: records and presence are sent as they can be."""
        await self.uplink.open()
        sending = [asyncio.create_task(work) for work in (self.uplink.run_ingest(), self.uplink.run_live())]
        try:
            yield
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            await self.uplink.close()

    # What came out --------------------------------------------------------------------------------

    async def close_short(self) -> None:
        """Close all windows."""
        await self.keeper.close_short(self.clock())

    async def end(self) -> list[dict[str, int]]:
        """Close all windows and stop; every record of the outbox in order of its making."""
        await self.close_short()
        outbox = self.thread.outbox
        assert outbox.undated() is None or not self.dating.is_known
        rows = []
        for (body,) in outbox.db.execute("SELECT body FROM batches ORDER BY ordinal"):
            message = decode(body, Ingest)
            records = records_of(message)
            assert refusals(records, len(message.devices)) == []
            rows += [{c.name: int(getattr(records, c.name)[i]) for c in RECORD_COLUMNS} for i in range(len(records))]
        self.announced = [
            msgspec.msgpack.decode(body, type=Announcement)
            for (body,) in outbox.db.execute("SELECT body FROM announcements")
        ]
        self.kill()
        return rows

    def check(self, rows: list[dict[str, int]]) -> None:
        """Nothing is lost, nothing doubled, and no window states more than its length."""
        assert self.first_s is not None
        assert sum(row["quantity"] for row in rows) == (self.true_s - self.first_s) * 10
        assert sum(row["parts"] for row in rows) == self.true_s - self.first_s
        keys = [(row["start"], row["part"]) for row in rows]
        assert len(keys) == len(set(keys))
        for row in rows:
            states = row["running"] + row["idle"] + row["fault"] + row["off"]
            assert row["connected"] <= row["observed"] <= row["length"]
            assert states <= row["length"]
            assert not row["flags"] & (Flag.COUNTER_RESET | Flag.COUNTER_REPLACED)
            if row["quantity_span"]:  # no record reaches into another local day
                end_s = row["start"] + row["length"] // 10
                assert local_day(row["start"]) == local_day(end_s - min(row["quantity_span"], 86_400))
