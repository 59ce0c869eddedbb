"""One process owns a store's folder. The lock is the kernel's, so it never outlives its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from api.store.port import StoreLockedError


class FolderLock:
    """An exclusive lock on a file that names its holder. Raises StoreLockedError while another process has it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise StoreLockedError(
                f"{path.parent}: 已被进程占用 in use by process {holder}; 请先停止该服务 stop that service first"
            ) from None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let the next process have it."""
        self._file.close()
