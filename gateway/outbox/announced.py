"""What devices said of themselves: numbered, and sent until the county has taken it."""

from __future__ import annotations

import msgspec

from gateway.outbox.database import Database
from gateway.wire import Announcement

_LATEST = "SELECT max(number) FROM announcements GROUP BY device"


class Announced:
    """The announcements of an outbox."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, announcement: Announcement) -> int:
        """Number what a device says of itself; the number it already has where nothing changed."""
        latest = self._db.one(
            "SELECT body FROM announcements WHERE device = ? ORDER BY number DESC LIMIT 1", (announcement.device,)
        )
        if latest is not None:
            known = msgspec.msgpack.decode(latest, type=Announcement)
            if _said(known) == _said(announcement):
                return known.number
        with self._db.transaction():
            number = int(self._db.one("SELECT coalesce(max(number), 0) FROM announcements")) + 1
            numbered = msgspec.structs.replace(announcement, number=number)
            self._db.execute(
                "INSERT INTO announcements (number, device, body) VALUES (?, ?, ?)",
                (number, announcement.device, msgspec.msgpack.encode(numbered)),
            )
        return number

    def unsent(self, at_most: int = 200) -> list[Announcement]:
        """Announcements that the county has not taken yet, in order."""
        rows = self._db.execute("SELECT body FROM announcements WHERE sent = 0 ORDER BY number LIMIT ?", (at_most,))
        return [msgspec.msgpack.decode(body, type=Announcement) for (body,) in rows]

    def mark_sent(self, up_to: int) -> None:
        """The county has taken every announcement up to this number."""
        self._db.execute("UPDATE announcements SET sent = 1 WHERE number <= ? AND sent = 0", (up_to,))

    def send_again(self) -> None:
        """Send the latest announcement of every device once more."""
        self._db.execute(f"UPDATE announcements SET sent = 0 WHERE number IN ({_LATEST})")  # noqa: S608 (ours)

    def latest(self) -> list[Announcement]:
        """The latest announcement of every device ever found."""
        rows = self._db.execute(
            f"SELECT body FROM announcements WHERE number IN ({_LATEST}) ORDER BY number"  # noqa: S608 (ours)
        )
        return [msgspec.msgpack.decode(body, type=Announcement) for (body,) in rows]

    def move(self, from_ns: int, by_ns: int) -> None:
        """What was said at or after `from_ns` and is not sent was said `by_ns` later."""
        for said in self.unsent(at_most=1 << 30):
            if said.at_ns >= from_ns:
                moved = msgspec.structs.replace(said, at_ns=said.at_ns + by_ns)
                self._db.execute(
                    "UPDATE announcements SET body = ? WHERE number = ?", (msgspec.msgpack.encode(moved), said.number)
                )


def _said(announcement: Announcement) -> Announcement:
    return msgspec.structs.replace(announcement, number=0, at_ns=0)
