"""A summary of a running gateway as one small JSON file, replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec


def write(path: Path, summary: dict[str, Any]) -> None:
    """Replace the file atomically. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    os.replace(partial, path)
