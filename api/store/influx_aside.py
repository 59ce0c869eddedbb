"""Lines that the server refuses, one file: kept for inspection, counted, never dropped.

Each is written once however often it is refused, after a comment with the server's words, so that the file can be
written to InfluxDB as it is once the cause is removed. Beyond a limit nothing more is set aside: then the fault
is no single record's, and the journal keeps everything until it is mended.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from api.store.port import StoreError

_MAX_LINES: Final = 100_000


class SetAside:
    """The file. It is made with the first line. Raises StoreError where it cannot be read."""

    def __init__(self, path: Path, max_lines: int = _MAX_LINES) -> None:
        self.path = path
        self._max_lines = max_lines
        self._known: set[bytes] = set()
        self.read_again()

    def read_again(self) -> None:
        """Read the file, which another process may have written to. Raises StoreError."""
        path = self.path
        try:
            if path.exists():
                whole = path.read_bytes()
                kept = whole[: whole.rfind(b"\n") + 1]
                if len(kept) < len(whole):  # a line that a crash cut short was never counted as set aside
                    os.truncate(path, len(kept))
                self._known.update(_digest(line) for line in kept.splitlines() if not line.startswith(b"#"))
        except OSError as error:
            raise StoreError(f"{path}: 无法读取 cannot be read: {error}") from error

    @property
    def count(self) -> int:
        """How many lines are set aside."""
        return len(self._known)

    def keep(self, line: bytes, status: int, said: str) -> None:
        """Set a line aside, synced to disk. Raises StoreError where that cannot be done, or there are too many."""
        digest = _digest(line)
        if digest in self._known:
            return
        if len(self._known) >= self._max_lines:
            raise StoreError(
                f"{self.path}: 已另存 {len(self._known)} 行，不再继续；请查明 InfluxDB 拒收原因（{status} {said}） "
                f"{len(self._known)} lines are set aside and no more will be: find out why InfluxDB refuses them"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(f"# {status} {said}\n".encode() + line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"{self.path}: 无法另存被拒数据行，请检查磁盘 "
                f"a refused line cannot be set aside, check the disk: {error}"
            ) from error
        self._known.add(digest)


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()
