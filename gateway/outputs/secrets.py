"""Secrets of outputs: in files, read each time one is needed, so that a replaced one works without a restart."""

from __future__ import annotations

from pathlib import Path

from collectors.causes import cause_of
from collectors.model import LinkError


def secret_in(path: Path | None) -> str:
    """The one line of a file; blank where none is named. Raises LinkError where it cannot be read."""
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LinkError(
            "output_secret_unreadable",
            f"文件 {path} 无法读取（{cause_of(error).zh}）。",
            f"the file {path} cannot be read ({cause_of(error).en}).",
            "请检查路径和权限。",
            "Check its path and permissions.",
        ) from error
