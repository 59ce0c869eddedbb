"""Passwords come from files, one line each, whatever the protocol."""

from __future__ import annotations

from pathlib import Path

from collectors.causes import cause_of
from collectors.model import ConfigError


def password_in(file: Path, protocol: str) -> str:
    """The password in a file, without the end of its line. Raises ConfigError `<protocol>.password-file`."""
    try:
        return file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{protocol}.password-file",
            f"无法读取密码文件 {file}（{cause_of(error).zh}）。",
            f"cannot read the password file {file} ({cause_of(error).en}).",
            "请检查 password_file 的路径和权限；文件只含密码一行，UTF-8。",
            "Check path and permissions of password_file; it holds the password as one line, UTF-8.",
        ) from error
