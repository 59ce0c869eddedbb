"""Writing a file that only its owner reads: whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

MODE = 0o600


class Writer(Protocol):
    """Puts the text in place."""

    def __call__(self, text: str) -> None: ...


@contextmanager
def secret_file(path: Path) -> Iterator[Writer]:
    """Make sure that a secret can be written before it is asked for, then write it.

    The block gets a function that replaces the file, mode 600, synced. Raises OSError: on entering where the folder
    cannot be written, or from the function. Where the function is not called nothing stays behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)  # of a process of this number that was killed: in a container it is always the same
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    try:
        os.fchmod(descriptor, MODE)

        def write(text: str) -> None:
            left = text.encode()
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
            _keep_owner(descriptor, path)
            os.replace(part, path)
            _sync_folder(path.parent)

        yield write
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            part.unlink()


def _keep_owner(descriptor: int, path: Path) -> None:
    """Run as root, the file must stay readable for the gateway's own user: the file's before, else the folder's."""
    if os.geteuid() != 0:
        return
    before = path.stat() if path.exists() else path.parent.stat()
    os.fchown(descriptor, before.st_uid, before.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
