"""All devices' open windows: samples and proofs go in, interval records and presence come out."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from collectors.model import Device, Proof, Samples
from gateway.account import Account
from gateway.clock import NS_PER_S
from gateway.row import Row
from gateway.spans import OPEN_END
from gateway.wire import MAX_ROWS, DevicePresence, DeviceRef, StateName
from metrics.record import RECORD_COLUMNS, Flag, MachineState, Records

GRACE_NS: Final = 2 * NS_PER_S
"""A window closes this long after its end."""
MAX_DEVICES_PER_ENTRY: Final = 1000
NO_FLAGS: Final = Flag(0)
STATE_NAMES: Final[dict[int, StateName]] = {
    MachineState.UNKNOWN: "unknown",
    MachineState.RUNNING: "running",
    MachineState.IDLE: "idle",
    MachineState.FAULT: "fault",
    MachineState.OFF: "off",
}


class Windows:
    """The accounts of every configured device. Times in ns on the gateway's time line.

    An entry that was never found has a placeholder account under the entry's id; the devices that are
    found there replace it.
    """

    def __init__(self, window_s: int, entries: Iterable[str], now_ns: int, *, counts: bool = True) -> None:
        self.window_s, self._counts = window_s, counts
        self.entries = tuple(entries)
        self.accounts: dict[str, Account] = {}
        self.closed_ns = now_ns // NS_PER_S // window_s * window_s * NS_PER_S
        self.again_until_ns = 0
        """Windows before this were written before the clock was set back."""
        self.links_behind_ns = 0
        """How far the clock that links read, which never jumps, stands behind the time line."""
        self.shed: Counts[str] = Counts()
        self._announced: dict[str, int] = {}
        """Announcement of every device that was ended: its last records still name it."""
        for entry in self.entries:
            self.open(entry, entry, now_ns)

    def open(self, device_id: str, entry: str, watched_from_ns: int) -> Account:
        """A new account, watched from an instant on."""
        account = Account(device_id, entry, self.window_s)
        account.closed_ns, account.later.again_until_ns = self.closed_ns, self.again_until_ns
        account.counts = self._counts
        account.watch(watched_from_ns)
        self.accounts[device_id] = account
        return account

    def remember(self, device_id: str, announcement: int, serial: str, now_ns: int) -> None:
        """A device of an earlier run: its records go on while it is silent, if it is still configured."""
        entry = device_id.split("/", 1)[0]
        account = self.accounts.get(device_id)
        if account is None:
            if entry not in self.entries:
                return
            account = self.open(device_id, entry, now_ns)
        account.announcement, account.serial = announcement, serial
        if device_id != entry and entry in self.accounts and self.accounts[entry].announcement == 0:
            del self.accounts[entry]

    def configure(self, entries: Iterable[str], changed: frozenset[str], now_ns: int) -> None:
        """Keep the accounts of these entries from now on.

        A new entry gets a placeholder; the devices of one that is gone end with their open window; those of
        a changed one take no samples until they are introduced again, for their tags may be others.
        """
        self.entries = tuple(entries)
        for account in self.accounts.values():
            if account.entry not in self.entries:
                account.end(now_ns)
            else:
                account.begin_again(now_ns)
                if account.entry in changed:
                    account.device = None
        served = {account.entry for account in self.accounts.values()}
        for entry in self.entries:
            if entry not in served:
                self.open(entry, entry, now_ns)

    def introduce(self, device: Device, announcement: int, now_ns: int) -> bool:
        """Take in a device that was found. False where its entry is not configured or is full."""
        account = self.accounts.get(device.id)
        if account is None:
            siblings = sum(a.entry == device.entry for a in self.accounts.values())
            if device.entry not in self.entries or siblings >= MAX_DEVICES_PER_ENTRY:
                self.shed["device_refused"] += 1
                return False
            placeholder = self.accounts.get(device.entry)
            account = self.open(device.id, device.entry, now_ns)
            if placeholder is not None and placeholder.device is None and placeholder.announcement == 0:
                account.track.watched = list(placeholder.track.watched)
                del self.accounts[device.entry]
        for other in self.accounts.values():
            # an entry is one device of its own name or several of longer ones: what it was before ends
            if (
                other.entry == device.entry
                and other.device is None
                and (other.id == other.entry) != (device.id == device.entry)
            ):
                other.end(now_ns)
        account.announcement = announcement
        account.begin_again(now_ns)
        account.describe(device, now_ns)
        return True

    def take(self, proofs: Sequence[Proof], samples: Sequence[tuple[str, Samples]]) -> int:
        """Count what one batch brought: proofs, then samples. Returns how many samples were accepted; the
        others are in `shed`."""
        if self.links_behind_ns:
            proofs, samples = self._on_the_line(proofs, samples)
        live: set[str] = set()
        for proof in proofs:
            if proof.lasts_s:
                live.add(proof.device)
            account = self.accounts.get(proof.device)
            if account is None or account.ended_ns:
                self.shed["unknown_device_proof"] += 1
            else:
                account.prove(proof)
        accepted = 0
        for device_id, columns in samples:
            account = self.accounts.get(device_id)
            if account is None or account.device is None or account.ended_ns:
                self.shed["unknown_device"] += len(columns)
                continue
            late, unknown = account.take(columns, device_id in live)
            accepted += len(columns) - late - unknown
            if late:
                self.shed["late"] += late
            if unknown:
                self.shed["unknown_tag"] += unknown
            if dropped := account.dropped_readings():
                self.shed["counter_implausible"] += dropped
        return accepted

    def _on_the_line(
        self, proofs: Sequence[Proof], samples: Sequence[tuple[str, Samples]]
    ) -> tuple[Sequence[Proof], Sequence[tuple[str, Samples]]]:
        by_ns = self.links_behind_ns
        return (
            [replace(proof, at_ns=proof.at_ns + by_ns) for proof in proofs],
            [(device, replace(columns, received_ns=columns.received_ns + by_ns)) for device, columns in samples],
        )

    def shed_counts(self) -> dict[str, int]:
        """Everything dropped since the outbox was made, by reason."""
        return {reason: n for reason, n in self.shed.items() if n}

    def blind(self, from_ns: int, to_ns: int) -> None:
        """The whole gateway was not watching in this time."""
        for account in self.accounts.values():
            account.unwatch(from_ns, to_ns)

    def clock_behind_ns(self, device_id: str) -> int | None:
        """How far a device's own clock stands behind the time line; None where it never gave its time."""
        account = self.accounts.get(device_id)
        return None if account is None else account.offset.behind_ns

    def forget_gaps(self) -> int:
        """Forget the shortest quarter of all gaps that are over, at least one; how many, 0 where there are none."""
        ended = [(gap.length_ns, account) for account in self.accounts.values() for gap in account.late.ended()]
        ended.sort(key=lambda found: found[0])
        chosen = Counts(account.id for _, account in ended[: -(-len(ended) // 4)])
        for device_id, n in chosen.items():
            self.accounts[device_id].late.forget(n)
        self.shed["gap_forgotten"] += chosen.total()
        return chosen.total()

    # Closing ------------------------------------------------------------------------------------

    def next_due_ns(self) -> int:
        """When the next window closes, or late data has been gathered for long enough."""
        late_ns = min((account.late.due_ns() for account in self.accounts.values()), default=OPEN_END)
        return min(self.closed_ns + self.window_s * NS_PER_S + GRACE_NS, late_ns)

    def close_due(self, now_ns: int, flags: Flag = NO_FLAGS) -> list[Row]:
        """Close every window that ended 2 s ago or earlier; its records and supplements whose time has
        come, in order of their starts."""
        window_ns = self.window_s * NS_PER_S
        rows = self._close((now_ns - GRACE_NS) // window_ns * window_ns, now_ns, flags)
        return rows + self._late([a for a in self.accounts.values() if a.late.due_ns() <= now_ns], now_ns)

    def close_short(self, now_ns: int, flags: Flag = NO_FLAGS) -> list[Row]:
        """Close all windows now, the last ones before their end."""
        window_ns = self.window_s * NS_PER_S
        rows = self._close(now_ns // window_ns * window_ns, now_ns, flags)
        rows += self._close((now_ns // window_ns + 1) * window_ns, now_ns, flags | Flag.CLOSED_SHORT)
        return rows + self._late(list(self.accounts.values()), now_ns)

    def _late(self, accounts: Sequence[Account], now_ns: int) -> list[Row]:
        """The supplements of late data gathered for closed windows."""
        rows: list[Row] = []
        for account in accounts:
            account.write_late(now_ns)
            rows += account.later.take()
            self._count_past_last_part(account)
        rows.sort(key=lambda row: row.start)
        return rows

    def _count_past_last_part(self, account: Account) -> None:
        if dropped := account.later.take_past_last():
            self.shed["past_last_part"] += dropped

    def _close(self, end_ns: int, now_ns: int, flags: Flag) -> list[Row]:
        if end_ns <= self.closed_ns:
            return []
        rows: list[Row] = []
        ended: list[Account] = []
        for account in self.accounts.values():
            rows.extend(account.later.take())
            found = (account.row(start_s, now_ns, flags) for start_s in account.due_starts(end_ns))
            rows.extend(row for row in found if row is not None)
            account.close(end_ns)
            self._count_past_last_part(account)
            if 0 < account.ended_ns <= end_ns:
                ended.append(account)
        self.closed_ns = end_ns
        for account in ended:
            rows += self._late([account], now_ns)
            self._announced[account.id] = account.announcement
            del self.accounts[account.id]
        rows.sort(key=lambda row: row.start)
        return rows

    def batches(self, rows: Sequence[Row]) -> list[tuple[list[DeviceRef], Records]]:
        """Rows as batches for the wire, each with its table of devices."""
        return [self._batch(rows[i : i + MAX_ROWS]) for i in range(0, len(rows), MAX_ROWS)]

    def _batch(self, rows: Sequence[Row]) -> tuple[list[DeviceRef], Records]:
        index = {device: i for i, device in enumerate(dict.fromkeys(row.device for row in rows))}
        refs = [
            DeviceRef(d, self.accounts[d].announcement if d in self.accounts else self._announced.get(d, 0))
            for d in index
        ]
        columns = {
            c.name: np.array(
                [index[row.device] if c.name == "device" else getattr(row, c.name) for row in rows], np.dtype(c.dtype)
            )
            for c in RECORD_COLUMNS
        }
        return refs, Records.from_columns(columns)

    # The time line is set -------------------------------------------------------------------------

    def begin_undated(self, *, since_known: bool) -> None:
        """The time line may be wrong from now on; every window that was open before is closed.

        `since_known`: whether it was right until then.
        """
        for account in self.accounts.values():
            account.begin_undated(since_known=since_known)

    def come_again_until(self, end_ns: int) -> None:
        """Windows before `end_ns` have records already: what is written for them is another part."""
        self.again_until_ns = max(self.again_until_ns, end_ns)
        for account in self.accounts.values():
            account.later.again_until_ns = self.again_until_ns

    def skip_to(self, now_ns: int) -> None:
        """Every window before the one that holds `now_ns` is closed: nobody watched."""
        window_ns = self.window_s * NS_PER_S
        self.closed_ns = max(self.closed_ns, now_ns // window_ns * window_ns)
        for account in self.accounts.values():
            account.skip_to(self.closed_ns)

    def follow(self, by_ns: int) -> None:
        """The time line is set on by `by_ns`. What is open happened then, for it was measured by monotonic time; what
        is closed stays, and a window that comes again gets another part."""
        self._shift(by_ns, 1, self.closed_ns)

    def redate(self, by_ns: int, from_s: int, dated_until_s: int) -> int:
        """The time line was not known since `from_s` and is set on by `by_ns`: what happened since then happened later.

        Closed windows from that start on are moved as well: they are not at the county yet. Windows with right dates
        end at `dated_until_s`. Returns by how many s (whole windows) windows were moved.
        """
        before_ns, from_ns = self.closed_ns, max(1, from_s * NS_PER_S)
        self._shift(by_ns, from_ns, dated_until_s * NS_PER_S)
        by_s = (self.closed_ns - before_ns) // NS_PER_S
        for account in self.accounts.values():
            account.date_parts(by_s, from_s)
            account.end_undated()
        return by_s

    def _shift(self, by_ns: int, from_ns: int, written_until_ns: int) -> None:
        window_ns = self.window_s * NS_PER_S
        self.closed_ns = (self.closed_ns + by_ns) // window_ns * window_ns
        self.links_behind_ns += by_ns
        if written_until_ns > self.closed_ns:
            self.again_until_ns = max(self.again_until_ns, written_until_ns)
        for account in self.accounts.values():
            account.shift(by_ns, from_ns, self.again_until_ns)

    # Presence -----------------------------------------------------------------------------------

    def judged(self, now_ns: int) -> list[tuple[str, int]]:
        """Every device and since when it is judged as it is: differs from before when presence does."""
        return [(a.id, a.presence(now_ns)[2]) for a in self.accounts.values() if not a.ended_ns]

    def presence(self, now_ns: int) -> list[DevicePresence]:
        """How every device is judged now, in the order of their ids."""
        found = []
        for device_id in sorted(self.accounts):
            account = self.accounts[device_id]
            if account.ended_ns:
                continue
            connected, state, since_ns = account.presence(now_ns)
            found.append(
                DevicePresence(device_id, connected, STATE_NAMES[state], since_ns, account.track.last_proof_ns)
            )
        return found
