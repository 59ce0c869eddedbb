"""Power that is cut: an ext4 file system on a loop mount that is shut down without writing its log. Needs root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

EXT4_IOC_SHUTDOWN: Final = 0x8004587D
NO_LOG_FLUSH: Final = b"\x02\x00\x00\x00"


class Card:
    """A card that can lose its power at any moment; `folder` is where it is mounted."""

    def __init__(self, folder: Path, size_mb: int = 512) -> None:
        self.folder, self._image = folder / "mount", folder / "disk"
        self.folder.mkdir()
        subprocess.run(["truncate", "-s", f"{size_mb}M", str(self._image)], check=True)
        subprocess.run([shutil.which("mkfs.ext4") or "/sbin/mkfs.ext4", "-q", "-F", str(self._image)], check=True)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """The card is in use. When the block ends, nobody may have a file open on it."""
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.folder)], check=True)
        try:
            yield
        except BaseException:  # whoever failed may have left files open
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
            raise
        subprocess.run(["sync", "-f", str(self.folder)], check=False, stderr=subprocess.DEVNULL)  # without power: EIO
        subprocess.run(["umount", str(self.folder)], check=True)
        if self._is_held():
            copy = self._image.with_name("copy")
            subprocess.run(["cp", "--sparse=always", str(self._image), str(copy)], check=True)
            copy.replace(self._image)

    def _is_held(self) -> bool:
        """Whether the file system lives on: in the mount namespace that some other process made meanwhile.

        Mounted again it would be the same one, without power.
        """
        held_files = [found.read_text().strip() for found in Path("/sys/block").glob("loop*/loop/backing_file")]
        return str(self._image) in held_files

    def sync(self) -> None:
        """All that was written is on the card: what people did before the gateway came."""
        subprocess.run(["sync", "-f", str(self.folder)], check=True)

    def cut_power(self) -> None:
        """Whatever was not synced is lost. Unlike a real cut this one lets processes live on: they get errors."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(handle)
