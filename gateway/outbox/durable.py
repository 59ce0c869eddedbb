"""Renames that survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def put_in_place(source: Path, target: Path) -> None:
    """Rename a file that is synced, over an older one of that name, and sync the folders. Raises OSError."""
    os.replace(source, target)
    for folder in {source.parent, target.parent}:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
