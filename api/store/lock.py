"""One process owns a store's folder. The lock is the kernel's, so it never outlives its holder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO, Final

from api.store.port import StoreLockedError

_POLL_S: Final = 0.05


class FolderLock:
    """An exclusive lock on a file that names its holder.

    Raises StoreLockedError when another one has it for all of `wait_s`.
    """

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("a+", encoding="utf-8")
        end_s = time.monotonic() + wait_s
        while not self._taken():
            if time.monotonic() < end_s:
                time.sleep(_POLL_S)
                continue
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise StoreLockedError(
                f"{path.parent}: 已被进程占用 in use by process {holder}; 请先停止该服务 stop that service first"
            )
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next process have it."""
        self._file.close()
